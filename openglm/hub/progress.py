"""Show how a transfer goes: bars on a terminal, plain lines otherwise, on stderr in both cases."""

from __future__ import annotations

import sys
import time
from typing import Protocol, TextIO

LINE_INTERVAL_S = 10.0  # plain lines: at most one for each of these


class Progress(Protocol):
    """What a transfer tells. Sizes are in bytes. `expect`: of all files; `have`: of one that need not
    come. `close` ends the display, whatever happened."""

    def say(self, text: str) -> None: ...
    def expect(self, total: int) -> None: ...
    def have(self, count: int) -> None: ...
    def start(self, name: str, total: int, done: int = 0) -> None: ...
    def advance(self, count: int) -> None: ...
    def restart(self) -> None: ...
    def finish(self) -> None: ...
    def close(self) -> None: ...


class Silent:
    def say(self, text: str) -> None: ...
    def expect(self, total: int) -> None: ...
    def have(self, count: int) -> None: ...
    def start(self, name: str, total: int, done: int = 0) -> None: ...
    def advance(self, count: int) -> None: ...
    def restart(self) -> None: ...
    def finish(self) -> None: ...
    def close(self) -> None: ...


class Lines:
    """One line when a file starts, one every ten seconds with rate and time left, one when it is here."""

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.name = ""
        self.total = self.done = self.first = 0
        self.started = self.last = 0.0

    def say(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def expect(self, total: int) -> None: ...
    def have(self, count: int) -> None: ...

    def start(self, name: str, total: int, done: int = 0) -> None:
        self.name, self.total, self.done, self.first = name, total, done, done
        self.started = self.last = time.monotonic()
        resumed = f", {megabytes(done)} already here" if done else ""
        self.say(f"{name}: {megabytes(total)}{resumed}")

    def advance(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if now - self.last >= LINE_INTERVAL_S and self.done > self.first:
            self.last = now
            rate = (self.done - self.first) / (now - self.started)
            left_s = (self.total - self.done) / rate
            share = 100 * self.done / max(self.total, 1)
            self.say(f"{self.name}: {share:.0f}% at {megabytes(rate)}/s, {left_s:.0f} s left")

    def restart(self) -> None:
        self.done = self.first = 0

    def finish(self) -> None:
        self.say(f"{self.name}: done")

    def close(self) -> None: ...


class Bars:
    """A bar for each file, drawn by rich."""

    def __init__(self, stream: TextIO):
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=Console(file=stream))
        self.task = self.progress.add_task("", visible=False, start=False)

    def say(self, text: str) -> None:
        self.progress.console.print(text, highlight=False, markup=False)

    def expect(self, total: int) -> None: ...
    def have(self, count: int) -> None: ...

    def start(self, name: str, total: int, done: int = 0) -> None:
        self.progress.start()
        self.task = self.progress.add_task(name, total=total, completed=done)

    def advance(self, count: int) -> None:
        self.progress.advance(self.task, count)

    def restart(self) -> None:
        self.progress.reset(self.task)

    def finish(self) -> None:
        self.progress.stop_task(self.task)

    def close(self) -> None:
        self.progress.stop()


def progress_for(stream: TextIO | None = None) -> Progress:
    """Bars where `stream` (stderr by default) is a terminal, else plain lines."""
    stream = stream or sys.stderr
    return Bars(stream) if stream.isatty() else Lines(stream)


def megabytes(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
