"""Who may import whom: the layers of the design, kept true."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "openglm"
BASE = {"messages", "errors", "runtime", "hub"}
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "messages": set(),
    "errors": set(),
    "logs": set(),
    "runtime": {"errors"},
    "hub": {"errors", "runtime"},
    "kernels": {"runtime", "errors"},
    "tokenizer": {"messages", "errors"},
    "model": {"runtime", "errors", "kernels"},
    "engine": {"model", "tokenizer", "kernels"} | BASE,
    "dialects": {"messages", "errors"},
    "train": {"model", "tokenizer", "kernels", "dialects"} | BASE,
    "asgi": {"errors", "messages", "dialects"},
    "serve": {"asgi", "engine", "tokenizer", "dialects"} | BASE,
    "maas": {"asgi", "chat", "messages", "errors", "logs", "runtime", "hub", "dialects"},
    "chat": {"asgi", "maas", "messages", "errors", "dialects"},
    "commands": {"asgi", "maas", "serve", "engine", "train", "model", "tokenizer", "kernels", "logs"} | BASE,
    "cli": {"commands", "errors"},
}
WITHOUT_TORCH = ["openglm", "openglm.messages", "openglm.errors", "openglm.hub", "openglm.cli"]
WITHOUT_TORCH += [
    "openglm.tokenizer",
    "openglm.tokenizer.chat",
    "openglm.dialects",
    "openglm.dialects.openai",
]
WITHOUT_TORCH += ["openglm.maas", "openglm.maas.database", "openglm.chat"]
WITHOUT_TORCH += ["openglm.train.recipe", "openglm.train.samples", "openglm.train.chats"]
WITHOUT_TORCH += ["openglm.engine.scheduler", "openglm.engine.request", "openglm.commands.serve"]


def layer_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_layers(path: Path) -> Iterator[str]:
    """Layers that a file imports, anywhere in it: lazily and for types too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            top, _, rest = name.partition(".")
            if top == "openglm" and rest != "__version__":
                yield rest.partition(".")[0]


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if "static" not in path.parts)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_layer_may(path):
    layer = layer_of(path)
    assert layer in MAY_IMPORT, f"{layer} is a new layer: say here what it may import"
    wrong = set(imported_layers(path)) - MAY_IMPORT[layer] - {layer}
    assert not wrong, f"{layer} may not import {', '.join(sorted(wrong))}"


def test_only_the_command_line_imports_the_command_line():
    for path in SOURCES:
        if layer_of(path) not in ("cli", "commands"):
            assert not {"cli", "commands"} & set(imported_layers(path)), path


@pytest.mark.parametrize(("room", "other"), [("chat", "maas"), ("maas", "chat")])
def test_chat_and_platform_meet_at_their_faces(room, other):
    """A face is a room's package or module, as `openglm.maas.identity`, never a file inside of it."""
    for path in SOURCES:
        for name in imported_modules(path) if layer_of(path) == room else ():
            parts = name.split(".")
            if parts[:2] == ["openglm", other]:
                assert len(parts) <= 3, f"{path} reaches into {name}"


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_importing_it_loads_no_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_program_shows_its_help_without_the_heavy_libraries():
    heavy = {"torch", "numpy", "requests", "transformers", "starlette", "uvicorn", "tokenizers"}
    code = "import sys\nfrom openglm.cli import run\nrun(['--help'])\n"
    code += f"sys.exit(bool({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "serve" in done.stdout
