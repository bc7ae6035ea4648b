"""The recipe that `glm train` is given: TOML in the job's folder. What is not said there, it derives."""

from __future__ import annotations

import json
from pathlib import Path

from openglm.maas.finetuning.hyperparameters import Decided

LEARNING_RATE = 2e-4  # at multiplier 1: the usual peak for LoRA, 10 to 20 times that of full training
LOGGED = 500  # steps that a curve shows at most, about
SAVED = 20  # checkpoints of a training, about, so that a kill costs a twentieth of it at most,
SAVE_AT_MOST_EVERY = 50  # steps: adapters are small


def steps_of(examples: int, decided: Decided) -> int:
    return -(-examples // decided.batch_size) * decided.n_epochs


def recipe_text(
    *,
    model: str,
    train: Path,
    validation: Path | None,
    output: Path,
    decided: Decided,
    seed: int,
    examples: int,
) -> str:
    """`model` is what the base's server opens."""
    steps = steps_of(examples, decided)
    tables: dict[str, dict[str, object]] = {
        "model": {"name": model},
        "data": {"train": str(train), **({"validation": str(validation)} if validation else {})},
        "optimizer": {"learning_rate": LEARNING_RATE * decided.learning_rate_multiplier},
        "run": {
            "output": str(output),
            "epochs": decided.n_epochs,
            "batch_size": decided.batch_size,
            "seed": seed,
            "save_every_steps": max(1, min(SAVE_AT_MOST_EVERY, steps // SAVED)),
            "log_every_steps": max(1, steps // LOGGED),
        },
    }
    lines = []
    for name, table in tables.items():
        lines.append(f"[{name}]")
        # JSON's strings and numbers are TOML's, too.
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"
