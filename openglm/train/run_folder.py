"""The output folder of a run: its recipe, what it read, its metrics, checkpoints, and at the end the adapter.

    recipe.toml     with every derived value         checkpoint/     to go on from
    inputs.json     hashes of data and model         adapter/        the result, in PEFT's layout
    metrics.jsonl   a line for each logged step      manifest.json   hashes of all that, once it is finished

Only one process at a time works in it. A folder that holds another run is never written to.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openglm.errors import RecipeError
from openglm.model.shards import write_whole
from openglm.train.checkpoint import MANIFEST, clear_parts, hashes
from openglm.train.recipe import Recipe, changed, differences, read_recipe, write_recipe

RECIPE, INPUTS, METRICS = "recipe.toml", "inputs.json", "metrics.jsonl"
# What may differ when a run goes on: where things lie. Data and model are compared by content.
WHEREABOUTS = {"run.output", "data.train", "data.validation", "model.device"}
# Derived from the machine, and they change the last bits of a sum: a run keeps those that it began with.
OF_THE_MACHINE = (("model", "dtype"), ("run", "micro_batch_tokens"), ("run", "recompute"))


class RunFolder:
    """Open it with the recipe as given, then `begin` it with the whole one."""

    def __init__(self, path: Path):
        self.path = path
        self.checkpoints = path / "checkpoint"
        self.adapter = path / "adapter"

    def as_begun(self, given: Recipe) -> Recipe:
        """The recipe, with the machine's values of the run that is here, where it leaves them open."""
        if not (self.path / RECIPE).exists():
            return given
        begun = read_recipe(self.path / RECIPE)
        for table, key in OF_THE_MACHINE:
            if getattr(getattr(given, table), key) is None:
                given = changed(given, table, **{key: getattr(getattr(begun, table), key)})
        return given

    def begin(self, recipe: Recipe, inputs: Mapping[str, Any]) -> None:
        """Claim the folder for this run. Raises RecipeError if another run is here, or at work here."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock()
        clear_parts(self.path)
        if (self.path / RECIPE).exists():
            self._compare(recipe, inputs)
            return
        found = sorted(p.name for p in self.path.iterdir() if not p.name.startswith(".") and p.name != INPUTS)
        if found:
            raise RecipeError(
                f"{self.path} is not empty and holds no run: {', '.join(found[:5])}",
                hint="choose a new folder as run.output",
            )
        write_whole(self.path / INPUTS, [json.dumps(inputs, indent=2).encode()])
        write_whole(self.path / RECIPE, [write_recipe(recipe).encode()])

    def result(self) -> dict[str, Any] | None:
        """What a finished run came to."""
        try:
            return json.loads((self.path / MANIFEST).read_bytes())["result"]
        except FileNotFoundError:
            return None

    def finish(self, result: Mapping[str, Any]) -> None:
        files = [RECIPE, INPUTS, METRICS, *(f"adapter/{p.name}" for p in sorted(self.adapter.iterdir()))]
        manifest = {"result": result, "files": hashes(self.path, *files)}
        write_whole(self.path / MANIFEST, [json.dumps(manifest, indent=2).encode()])

    def rows(self) -> list[dict[str, Any]]:
        """The metrics so far; a line that was cut by a crash is none."""
        rows = []
        try:
            for line in (self.path / METRICS).read_bytes().splitlines():
                rows.append(json.loads(line))
        except (FileNotFoundError, ValueError):
            pass
        return rows

    def rewind(self, step: int) -> None:
        """Forget the metrics of later steps, which will be done again."""
        kept = [row for row in self.rows() if row["step"] <= step]
        write_whole(self.path / METRICS, [(json.dumps(row) + "\n").encode() for row in kept])

    def log(self, row: Mapping[str, Any], durable: bool) -> None:
        """Add a line; `durable`: on the disk before this returns."""
        with open(self.path / METRICS, "ab") as file:
            file.write(json.dumps(row).encode() + b"\n")
            if durable:
                file.flush()
                os.fsync(file.fileno())

    def _lock(self) -> None:
        self._held = open(self.path / ".lock", "wb")  # noqa: SIM115 - until the process ends
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RecipeError(f"another process is training in {self.path}") from None

    def _compare(self, recipe: Recipe, inputs: Mapping[str, Any]) -> None:
        changes = differences(read_recipe(self.path / RECIPE), recipe)
        changes = [key for key in changes if key not in WHEREABOUTS]
        begun = json.loads((self.path / INPUTS).read_bytes())
        changes += [f"the {name}" for name in inputs if begun.get(name) != inputs[name]]
        if changes:
            raise RecipeError(
                f"{self.path} holds another run, which differs in {', '.join(changes)}",
                hint="choose a new folder as run.output, or go on with the recipe that is in there",
            )
