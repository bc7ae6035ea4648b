"""How a run goes, for people, on stderr: one bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol, TextIO

LINE_INTERVAL_S = 10.0  # plain lines: at most one for each of these, but always one with a validation loss


class Progress(Protocol):
    def say(self, text: str) -> None: ...
    def row(self, row: Mapping[str, Any]) -> None: ...
    def close(self) -> None: ...


class Lines:
    def __init__(self, stream: TextIO):
        self._stream = stream
        self._clock = Clock()
        self._last = -LINE_INTERVAL_S

    def say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def row(self, row: Mapping[str, Any]) -> None:
        left, now = self._clock.left(row), time.monotonic()
        is_due = now - self._last >= LINE_INTERVAL_S or row["step"] == row["total_steps"]
        if is_due or "validation_loss" in row:
            self._last = now
            self.say(f"step {row['step']} of {row['total_steps']}: {described(row)}, {left} left")

    def close(self) -> None: ...


class Bar:
    """Drawn by rich."""

    def __init__(self, stream: TextIO):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (
            TextColumn("step {task.completed} of {task.total}"),
            BarColumn(),
            TextColumn("{task.description}"),
        )
        self._progress = Progress(*columns, console=Console(file=stream))
        self._task = self._progress.add_task("", visible=False, total=None)
        self._clock = Clock()

    def say(self, text: str) -> None:
        self._progress.console.print(text, highlight=False, markup=False)

    def row(self, row: Mapping[str, Any]) -> None:
        self._progress.start()
        self._progress.update(
            self._task,
            visible=True,
            completed=row["step"],
            total=row["total_steps"],
            description=f"{described(row)}, {self._clock.left(row)} left",
        )

    def close(self) -> None:
        self._progress.stop()


class Clock:
    """How long it will take, from the steps since the first row."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def left(self, row: Mapping[str, Any]) -> str:
        now, step = time.monotonic(), row["step"]
        if self._first is None:
            self._first = (now, step)
        began, first = self._first
        if step == first:
            return "some time" if step < row["total_steps"] else "0 s"
        seconds = (now - began) / (step - first) * (row["total_steps"] - step)
        return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def described(row: Mapping[str, Any]) -> str:
    text = f"loss {row['loss']:.3f}"
    if "validation_loss" in row:
        text += f", validation {row['validation_loss']:.3f}"
    return f"{text}, {row['tokens_per_second']:,.0f} tokens/s"


def progress_for(stream: TextIO | None = None) -> Progress:
    """A bar where `stream` (stderr by default) is a terminal, else plain lines."""
    stream = stream or sys.stderr
    return Bar(stream) if stream.isatty() else Lines(stream)
