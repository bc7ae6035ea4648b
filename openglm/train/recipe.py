"""A training recipe: a TOML file with one table per subject, each of them a flat dataclass here.

What a recipe leaves out stays None until `plan` derives it. An unknown table or key is an error that names
the nearest one. Paths in a file are relative to that file, paths in `--set` to the working directory.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from openglm.errors import RecipeError

Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, lt=1)]
NotNegative = Annotated[float, Meta(ge=0)]
Schedule = Literal["linear", "cosine", "constant"]


@dataclass(frozen=True, slots=True)
class ModelTable:
    name: str  # whatever `glm serve` opens
    device: str | None = None
    dtype: Literal["float32", "bfloat16"] | None = None  # of weights and activations; adapters are float32


@dataclass(frozen=True, slots=True)
class DataTable:
    train: str  # JSONL of chats
    validation: str | None = None
    max_length: Annotated[int, Meta(ge=2)] | None = None  # tokens of one chat; longer ones are cut


@dataclass(frozen=True, slots=True)
class LoraTable:
    rank: Count = 8
    alpha: Annotated[float, Meta(gt=0)] = 16.0
    dropout: Share = 0.0
    targets: tuple[str, ...] | None = None  # published projections; None: all of attention and MLP


@dataclass(frozen=True, slots=True)
class OptimizerTable:
    """AdamW."""

    learning_rate: Annotated[float, Meta(gt=0)] | None = None  # the peak
    weight_decay: NotNegative = 0.0
    warmup_ratio: Share = 0.05  # of all steps
    schedule: Schedule = "linear"  # behind the warm-up: down to 0, or not
    beta1: Share = 0.9
    beta2: Share = 0.999
    epsilon: Annotated[float, Meta(gt=0)] = 1e-8
    max_grad_norm: Annotated[float, Meta(gt=0)] = 1.0


@dataclass(frozen=True, slots=True)
class RunTable:
    output: str  # a folder
    epochs: Count = 3
    batch_size: Count | None = None  # chats in one step
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    log_every_steps: Count = 1
    save_every_steps: Count | None = None
    validate_every_steps: Count | None = None
    micro_batch_tokens: Count | None = None  # computed at once; a step's chats are split to fit
    recompute: bool | None = None  # activations in the backward pass, instead of keeping them


@dataclass(frozen=True, slots=True)
class Recipe:
    model: ModelTable
    data: DataTable
    run: RunTable
    lora: LoraTable = field(default_factory=LoraTable)
    optimizer: OptimizerTable = field(default_factory=OptimizerTable)


TABLES: Mapping[str, type] = {
    "model": ModelTable,
    "data": DataTable,
    "lora": LoraTable,
    "optimizer": OptimizerTable,
    "run": RunTable,
}
PATHS = (("data", "train"), ("data", "validation"), ("run", "output"))


def read_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """The recipe in a file, with `table.key=value` changes."""
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # not TOML, or not UTF-8
        raise RecipeError(f"{path} is not TOML: {error}") from error
    for name, table in tables.items():
        if name in TABLES and not isinstance(table, dict):
            raise RecipeError(f"{path}: [{name}] must be a table, got {name} = {table!r}")
    _anchor(tables, path.absolute().parent)
    for change in changes:
        _apply(tables, change)
    _anchor(tables, Path.cwd())
    return _checked(tables, str(path))


def write_recipe(recipe: Recipe) -> str:
    """The recipe as TOML; `read_recipe` gives it back."""
    parts = []
    for name, table in asdict(recipe).items():
        lines = [f"{key} = {_toml(value)}" for key, value in table.items() if value is not None]
        parts.append("\n".join([f"[{name}]", *lines]))
    return "\n\n".join(parts) + "\n"


def differences(first: Recipe, second: Recipe) -> list[str]:
    """The keys that differ, as table.key."""
    one, other = asdict(first), asdict(second)
    return [f"{name}.{key}" for name in one for key in one[name] if one[name][key] != other[name][key]]


def changed(recipe: Recipe, table: str, **values: Any) -> Recipe:
    """A copy with other values in one table."""
    return replace(recipe, **{table: replace(getattr(recipe, table), **values)})


def _anchor(tables: dict[str, Any], folder: Path) -> None:
    """Make the relative paths among the values absolute."""
    for table, key in PATHS:
        value = tables.get(table, {}).get(key)
        if isinstance(value, str):
            tables[table][key] = os.path.normpath(folder / Path(value).expanduser())


def _apply(tables: dict[str, Any], change: str) -> None:
    name, equals, text = change.partition("=")
    table, dot, key = name.strip().partition(".")
    if not (equals and dot and table and key):
        raise RecipeError(f"--set takes table.key=value, got {change!r}", hint="--set run.epochs=5")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, KeyError):
        value = text  # a word without quotes
    tables.setdefault(table, {})[key] = value


def _checked(tables: Mapping[str, Any], where: str) -> Recipe:
    for name, table in tables.items():
        if name not in TABLES:
            raise RecipeError(f"{where}: there is no table [{name}]", hint=_nearest(name, TABLES))
        known = [f.name for f in fields(TABLES[name])]
        for key in table:
            if key not in known:
                raise RecipeError(f"{where}: [{name}] has no key {key!r}", hint=_nearest(key, known))
    for name, key in (("model", "name"), ("data", "train"), ("run", "output")):
        if key not in tables.get(name, {}):
            raise RecipeError(f"{where}: [{name}] must say {key}", hint=f"--set {name}.{key}=…")
    return Recipe(**{name: _table(name, table, where) for name, table in tables.items()})


def _table(name: str, table: Mapping[str, Any], where: str) -> Any:
    for key, value in table.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise RecipeError(f"{where}: {name}.{key} must be a finite number, got {value}")
    try:
        return msgspec.convert(table, TABLES[name])
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$.")
        raise RecipeError(f"{where}: {name}.{place.rstrip('`')}: {_lower(what)}") from error


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _nearest(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(names)}"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
