"""Models of the catalogue that this process fetches: how far each is, until it is asked to stop.

A fetch is a thread, for downloads wait. What has arrived stays on the disk, so one that was stopped, that
failed, or whose process died goes on where it was when it is begun again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from openglm import hub
from openglm.errors import ModelNotFound, OpenGLMError

logger = logging.getLogger(__name__)

State = Literal["running", "done", "failed", "stopped"]
RATE_S = 5.0  # of which the speed is the mean


@dataclass(frozen=True, slots=True)
class Fetch:
    """`total` is null until the hub has listed the files, or where only the whole is fetched; bytes, bytes a
    second, and seconds."""

    state: State
    done: int
    total: int | None
    rate: int | None
    left_s: int | None
    error: str | None
    hint: str | None


class Fetching:
    def __init__(self, *, cache: Path | None = None, patience: hub.Patience | None = None):
        self._cache = cache
        self._patience = patience
        self._of: dict[str, _Work] = {}

    def seen(self, name: str) -> Fetch | None:
        work = self._of.get(name)
        return work.seen() if work else None

    def start(self, name: str) -> Fetch:
        """Begin, or go on; one that runs goes on running."""
        if name not in hub.catalogue().entries:
            raise ModelNotFound(f"the catalogue has no model {name[:80]!r}", param="name")
        work = self._of.get(name)
        if work is None or work.state != "running":
            work = self._of[name] = _Work(name)
            threading.Thread(target=self._run, args=(work,), name=f"fetch {name}", daemon=True).start()
        return work.seen()

    def stop(self, name: str) -> Fetch:
        """What has arrived is kept."""
        work = self._of.get(name)
        if work is None:
            raise ModelNotFound(f"{name[:80]!r} is not being fetched", param="name")
        work.end("stopped")
        return work.seen()

    def stop_all(self) -> None:
        for work in self._of.values():
            work.end("stopped")

    def _run(self, work: _Work) -> None:
        try:
            hub.pull(work.name, cache=self._cache, progress=work, patience=self._patience)
            work.end("done")
        except _Stopped:
            pass
        except OpenGLMError as error:
            work.end("failed", error.message, error.hint)
        except Exception as error:
            logger.error("fetching %s broke", work.name, exc_info=error)
            work.end("failed", f"{type(error).__name__}: {error}")


class _Stopped(Exception):
    pass


class _Work:
    """A fetch as its download tells of it; raises there where nobody wants it any more."""

    def __init__(self, name: str):
        self.name = name
        self.state: State = "running"
        self._lock = threading.Lock()
        self._error: str | None = None
        self._hint: str | None = None
        self._total: int | None = None
        self._whole = 0  # bytes of files that are here
        self._file = 0  # bytes of the file that comes
        self._came: deque[tuple[float, int]] = deque()  # when, and how many bytes

    # What a download tells

    def say(self, text: str) -> None:
        self._go_on()

    def expect(self, total: int) -> None:
        self._total = total
        self._go_on()

    def have(self, count: int) -> None:
        self._whole += count
        self._go_on()

    def start(self, name: str, total: int, done: int = 0) -> None:
        self._file = done
        self._go_on()

    def advance(self, count: int) -> None:
        now = time.monotonic()
        with self._lock:
            self._file += count
            self._came.append((now, count))
            while self._came[0][0] < now - RATE_S:
                self._came.popleft()
        self._go_on()

    def restart(self) -> None:
        self._file = 0

    def finish(self) -> None:
        self._whole, self._file = self._whole + self._file, 0

    def close(self) -> None: ...

    # What others see

    def end(self, state: State, error: str | None = None, hint: str | None = None) -> None:
        with self._lock:
            if self.state == "running":
                self.state, self._error, self._hint = state, error, hint

    def seen(self) -> Fetch:
        with self._lock:
            done, rate = self._whole + self._file, self._rate()
            left = None
            if rate and self._total is not None:
                left = round(max(0, self._total - done) / rate)
            return Fetch(self.state, done, self._total, rate, left, self._error, self._hint)

    def _rate(self) -> int | None:
        now = time.monotonic()
        recent = [(when, count) for when, count in self._came if when >= now - RATE_S]
        if self.state != "running" or not recent:
            return None
        return round(sum(count for _, count in recent) / max(now - recent[0][0], 0.1))

    def _go_on(self) -> None:
        if self.state != "running":
            raise _Stopped
