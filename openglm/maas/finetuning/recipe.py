"""The recipe that `glm train` is given: TOML in the job's folder. What is not said there, it derives."""

from __future__ import annotations

import json
from pathlib import Path

LOGGED = 500  # steps that a curve shows at most, about
SAVED = 20  # checkpoints of a training, about, so that a kill costs a twentieth of it at most,
SAVE_AT_MOST_EVERY = 50  # steps: adapters are small


def recipe_text(
    *,
    model: str,
    train: Path,
    validation: Path | None,
    output: Path,
    seed: int,
    epochs: int,
    batch_size: int | None,
    learning_rate: float | None,
    steps: int | None,
) -> str:
    """`model` is what the base's server opens; None is left to the trainer."""
    tables: dict[str, dict[str, object]] = {
        "model": {"name": model},
        "data": {"train": str(train), "validation": str(validation) if validation else None},
        "optimizer": {"learning_rate": learning_rate},
        "run": {
            "output": str(output),
            "epochs": epochs,
            "batch_size": batch_size,
            "seed": seed,
            "save_every_steps": max(1, min(SAVE_AT_MOST_EVERY, steps // SAVED)) if steps else None,
            "log_every_steps": max(1, steps // LOGGED) if steps else None,
        },
    }
    lines = []
    for name, table in tables.items():
        lines.append(f"[{name}]")
        # JSON's strings and numbers are TOML's, too.
        lines += [
            f"{key} = {json.dumps(value, ensure_ascii=False)}"
            for key, value in table.items()
            if value is not None
        ]
    return "\n".join(lines) + "\n"
