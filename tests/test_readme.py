"""README.md kept true: its commands run, its links lead somewhere, its tree is the tree."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from openglm.cli import VERBS
from openglm.hub import catalogue

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
GLM = [sys.executable, "-m", "openglm.cli"]
SERVERS = ("glm serve", "glm up")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Path:
    """One folder for all commands: later ones use what earlier ones wrote."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "recipes", folder / "recipes")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [c for c in commands() if c.startswith("glm ") and not c.startswith(SERVERS)]
)
def test_a_command_of_the_readme_runs(desk, smollm2, command):
    arguments = shlex.split(command, comments=True)[1:]
    done = subprocess.run(
        [*GLM, *arguments],
        cwd=desk,
        input="correct horse battery staple\n" if "--password-file" in arguments else "/exit\n",
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout or arguments[0] == "chat"


@pytest.fixture(scope="module")
def served(smollm2) -> Iterator[str]:
    """The README's server, on a free port instead of 8000."""
    (command,) = [c for c in commands() if c.startswith("glm serve")]
    arguments = shlex.split(command.replace("8000", "0"))[1:]
    with subprocess.Popen([*GLM, *arguments], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        line = program.stdout.readline()
        assert line.startswith("ready "), line
        yield line.removeprefix("ready ").strip()
        program.terminate()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("curl"), reason="curl is missing")
def test_the_curl_example_gets_an_answer(served):
    (script,) = blocks("bash")
    script = script.replace("http://127.0.0.1:8000", served)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert '"content"' in done.stdout, done.stderr


@pytest.mark.slow
def test_the_openai_example_prints_an_answer(served):
    (code,) = blocks("python")
    code = code.replace("http://127.0.0.1:8000", served)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_its_tree_is_the_tree():
    (tree,) = blocks("text")
    named = re.findall(r"(?:^|\s{2,})([\w.]+(?:/|\.py|\.toml))(?=\s)", tree, re.MULTILINE)
    package = {name for name in named if (ROOT / "openglm" / name).exists()}
    top = {name for name in named if (ROOT / name).exists()}
    assert set(named) == package | top
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    folders = {line.split("/")[0] + "/" for line in tracked.splitlines() if "/" in line and line[0] != "."}
    assert folders <= top
    inside = {line.split("/")[1] for line in tracked.splitlines() if line.startswith("openglm/")}
    rooms = {f"{name}/" if (ROOT / "openglm" / name).is_dir() else name for name in inside} - {"__init__.py"}
    assert rooms == package


def test_it_names_every_verb_and_every_alias():
    for verb in VERBS:
        assert re.search(rf"glm {verb}\b", README), verb
    for alias in catalogue().entries:
        assert f"`{alias}`" in README or alias in README.split(), alias
