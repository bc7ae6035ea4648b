"""What a job tells while it runs: messages, and the figures of each step that was logged.

A step is told once, however often it is reported: a training that goes on after a kill repeats some.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from openglm.errors import InvalidRequest
from openglm.maas.database import Database, Row, Transaction
from openglm.maas.money.usage_table import csv_line

Level = Literal["info", "warn", "error"]
MAX_PAGE = 100


@dataclass(frozen=True, slots=True)
class Event:
    """`figures` are those of a step; a plain message has none."""

    job_id: str
    number: int
    level: str
    message: str
    figures: dict[str, Any] | None
    at_ms: int

    @property
    def id(self) -> str:
        return f"ftevent_{self.job_id.removeprefix('ftjob_')}_{self.number}"

    def wire(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "fine_tuning.job.event",
            "created_at": self.at_ms // 1000,
            "level": self.level,
            "message": self.message,
            "type": "metrics" if self.figures else "message",
            "data": self.figures or {},
        }

    def zhipu_wire(self) -> dict[str, Any]:
        data = None
        if self.figures:
            names = {"train_loss": "loss", "valid_loss": "eval_loss", "tokens": "trained_tokens"}
            names |= {"step": "current_steps"}
            data = {names.get(name, name): value for name, value in self.figures.items()}
            for name in ("elapsed", "remaining"):
                if (seconds := data.pop(f"{name}_s", None)) is not None:
                    data[f"{name}_time"] = _clock(seconds)
        return {**self.wire(), "data": data}


def figures_of(row: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """A trainer's row under the names that clients know, and as a message."""
    names = {"loss": "train_loss", "validation_loss": "valid_loss"}
    figures = {names.get(name, name): value for name, value in row.items()}
    message = f"step {row['step']}/{row['total_steps']}: training loss {row['loss']:.4f}"
    if "valid_loss" in figures:
        message += f", validation loss {figures['valid_loss']:.4f}"
    return figures, message


def tell(
    tx: Transaction,
    job_id: str,
    now: int,
    message: str,
    *,
    level: Level = "info",
    figures: dict[str, Any] | None = None,
) -> bool:
    """Add an event inside a transaction; False if its step was told already."""
    step = figures["step"] if figures else None
    return bool(
        tx.run(
            "INSERT INTO fine_tuning_event (job_id, number, step, level, message, data, created_at)"
            " SELECT :job, coalesce(max(number), 0) + 1, :step, :level, :message, :data, :now"
            " FROM fine_tuning_event WHERE job_id = :job ON CONFLICT DO NOTHING",
            job=job_id,
            step=step,
            level=level,
            message=message,
            data=msgspec.json.encode(figures).decode() if figures else None,
            now=now,
        )
    )


async def page(
    database: Database, job_id: str, *, limit: int = 20, after: str | None = None
) -> tuple[list[Event], bool]:
    """Events newest first, and whether there are more. `after` is the last id of the page before."""
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidRequest(f"limit must be from 1 to {MAX_PAGE}, got {limit}", param="limit")
    before = 2**62
    if after:
        job_part, _, number = after.rpartition("_")
        if job_part != f"ftevent_{job_id.removeprefix('ftjob_')}" or not number.isdecimal():
            raise InvalidRequest(f"after must be the id of an event, got {after[:60]!r}", param="after")
        before = min(before, int(number[:18]))
    rows = await database.read(
        "SELECT * FROM fine_tuning_event WHERE job_id = :job AND number < :before"
        " ORDER BY number DESC LIMIT :most",
        job=job_id,
        before=before,
        most=limit + 1,
    )
    return [_event(row) for row in rows[:limit]], len(rows) > limit


async def messages(database: Database, job_id: str, *, limit: int) -> list[Event]:
    """Events without figures, newest first."""
    rows = await database.read(
        "SELECT * FROM fine_tuning_event WHERE job_id = :job AND step IS NULL"
        " ORDER BY number DESC LIMIT :most",
        job=job_id,
        most=limit,
    )
    return [_event(row) for row in rows]


async def curve(database: Database, job_id: str) -> list[dict[str, Any]]:
    """The figures of all steps that were logged, in order."""
    rows = await database.read(
        "SELECT data FROM fine_tuning_event WHERE job_id = :job AND step IS NOT NULL ORDER BY step",
        job=job_id,
    )
    return [msgspec.json.decode(row["data"]) for row in rows]


def curve_csv(points: list[dict[str, Any]]) -> str:
    """The result file of a job."""
    columns = ("step", "train_loss", "valid_loss", "learning_rate", "epoch", "tokens")
    lines = [csv_line(list(columns))]
    lines += [csv_line([point.get(name, "") for name in columns]) for point in points]
    return "".join(lines)


def _event(row: Row) -> Event:
    figures = msgspec.json.decode(row["data"]) if row["data"] else None
    return Event(row["job_id"], row["number"], row["level"], row["message"], figures, row["created_at"])


def _clock(seconds: int) -> str:
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
