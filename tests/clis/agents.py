"""Each agent program: its settings for our platform, how it is asked, and its own tools for one small job.

The settings are those of docs/clients.md, read from there, and what keeps a program on loopback: updates and
telemetry are switched off, and what it would still fetch meets a proxy that refuses and remembers.
"""

from __future__ import annotations

import json
import re
import shlex
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from tests.clis.model import Turn

MODEL = "glm"
PAGE = Path(__file__).parent.parent.parent / "docs" / "clients.md"
COUNT = "wc -l < notes.txt > count.txt && echo counted"  # the command of the job


class Agent(ABC):
    """The job: read notes.txt, put pears in the place of apples, count the lines into count.txt."""

    name: str
    base: str  # of our routes
    dialect: str  # as usage rows spell it

    @abstractmethod
    def settings(self, home: Path, url: str, key: str) -> dict[str, str]:
        """Write its files into its home; what it needs in the environment comes back."""

    @abstractmethod
    def asked(self, prompt: str) -> list[str]: ...

    @abstractmethod
    def asked_further(self, prompt: str) -> list[str]:
        """The same conversation goes on."""

    @abstractmethod
    def job(self, folder: Path) -> list[Turn]: ...

    def __str__(self) -> str:
        return self.name


class ClaudeCode(Agent):
    name, base, dialect = "claude-code", "/api/anthropic", "anthropic"

    def settings(self, home: Path, url: str, key: str) -> dict[str, str]:
        (script,) = documented("Claude Code", "sh", url, key)
        words = [word for word in shlex.split(script) if word != "export"]
        return {
            **dict(word.split("=", 1) for word in words),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_ERROR_REPORTING": "1",
        }

    def asked(self, prompt: str) -> list[str]:
        return ["claude", "-p", prompt, "--output-format", "text", "--allowedTools", "Read,Edit,Bash"]

    def asked_further(self, prompt: str) -> list[str]:
        return [*self.asked(prompt), "--continue"]

    def job(self, folder: Path) -> list[Turn]:
        notes = str(folder / "notes.txt")
        edit = {"file_path": notes, "old_string": "apples", "new_string": "pears"}
        return [
            # Tools whose schemas come later, and a search among them.
            Turn("Look.", "Searching.", (("ToolSearch", {"query": "select:TaskStop", "max_results": 1}),)),
            Turn(
                "Read.", "Reading.", (("Read", {"file_path": notes}), _picture(folder, "Read", "file_path"))
            ),
            Turn(
                "Edit.",
                "Editing.",
                (("Edit", edit), ("Bash", {"command": COUNT, "description": "Counts lines"})),
            ),
            Turn("Done.", "All is done."),
        ]


class OpenCode(Agent):
    def __init__(self, base: str, dialect: str):
        self.name, self.base, self.dialect = f"opencode-{dialect}", base, dialect

    def settings(self, home: Path, url: str, key: str) -> dict[str, str]:
        (text,) = documented("OpenCode", "json", url, key)
        settings = {**json.loads(text), "autoupdate": False, "share": "disabled"}
        provider = settings["provider"]["openglm"]
        provider["options"]["baseURL"] = url + self.base
        provider["models"][MODEL]["modalities"] = {"input": ["text", "image"], "output": ["text"]}
        _write(home / ".config/opencode/opencode.json", json.dumps(settings))
        return {
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
            "npm_config_offline": "true",  # it would fetch the types of its plugins
        }

    def asked(self, prompt: str) -> list[str]:
        return ["opencode", "run", prompt]

    def asked_further(self, prompt: str) -> list[str]:
        return ["opencode", "run", "--continue", prompt]

    def job(self, folder: Path) -> list[Turn]:
        notes = str(folder / "notes.txt")
        edit = {"filePath": notes, "oldString": "apples", "newString": "pears"}
        return [
            Turn("Read.", "Reading.", (("read", {"filePath": notes}), _picture(folder, "read", "filePath"))),
            Turn(
                "Edit.",
                "Editing.",
                (("edit", edit), ("bash", {"command": COUNT, "description": "Counts lines"})),
            ),
            Turn("Done.", "All is done."),
        ]


class Codex(Agent):
    """With a catalogue, which says that the model takes patches as plain text; or without, as it comes."""

    base, dialect = "/v1", "openai"

    def __init__(self, *, catalogue: bool):
        self.name = "codex-catalogue" if catalogue else "codex"
        self._catalogue = catalogue

    def settings(self, home: Path, url: str, key: str) -> dict[str, str]:
        (toml,) = documented("Codex", "toml", url, key)
        (catalogue,) = documented("Codex", "json", url, key)
        _write(home / "models.json", catalogue.replace('["text"]', '["text", "image"]'))
        lines = [
            f'model_catalog_json = "{home / "models.json"}"' if self._catalogue else "",
            "check_for_update_on_startup = false",
            "analytics.enabled = false",
            "features.plugins = false",  # a market on the web
            toml,
            f"supports_websockets = {str(not self._catalogue).lower()}",  # refused, and then it does without
            "[mcp_servers.loud]",
            'command = "python3"',
            f'args = ["{Path(__file__).with_name("mcp_server.py")}"]',
        ]
        _write(home / ".codex/config.toml", "\n".join(lines))
        return {"OPENGLM_API_KEY": key}

    def asked(self, prompt: str) -> list[str]:
        return [*self._program(), prompt]

    def asked_further(self, prompt: str) -> list[str]:
        return [*self._program(), "resume", "--last", prompt]

    def _program(self) -> list[str]:
        # Its sandbox needs rights that containers lack; the folder is a test's own.
        return ["codex", "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]

    def job(self, folder: Path) -> list[Turn]:
        patch = "*** Begin Patch\n*** Update File: notes.txt\n@@\n-apples\n+pears\n*** End Patch\n"
        shell = f"apply_patch <<'EOF'\n{patch}EOF"
        edit = ("apply_patch", {"input": patch}) if self._catalogue else ("exec_command", {"cmd": shell})
        return [
            Turn(
                "Read.",
                "Reading.",
                (
                    ("exec_command", {"cmd": "cat notes.txt"}),
                    _picture(folder, "view_image", "path"),
                    ("mcp__loud__shout", {"word": "hello"}),
                ),
            ),
            Turn("Edit.", "Editing.", (edit,)),
            Turn("Count.", "Counting.", (("exec_command", {"cmd": COUNT}),)),
            Turn("Done.", "All is done."),
        ]


AGENTS = (
    ClaudeCode(),
    OpenCode("/v1", "openai"),
    OpenCode("/api/coding/paas/v4", "coding"),
    Codex(catalogue=False),
    Codex(catalogue=True),
)


def documented(title: str, language: str, url: str, key: str) -> list[str]:
    """The blocks of one language under a heading of docs/clients.md, for this platform."""
    section = re.search(
        rf"^## {title}.*?(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert section, f"{PAGE} has no heading {title}"
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", section[0], re.MULTILINE | re.DOTALL)
    return [re.sub(r"\bKEY\b", key, block.replace("HOST", url).replace("glm-4.7", MODEL)) for block in blocks]


def _picture(folder: Path, tool: str, argument: str) -> tuple[str, dict[str, Any]]:
    return tool, {argument: str(folder / "dot.png")}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
