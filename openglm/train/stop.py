"""SIGTERM and Ctrl-C end a run after its running step; a second one ends it at once."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType


class Stop:
    """As a context: signals are noted instead of obeyed. Until `working` is set they end the program."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.working = False

    def __call__(self) -> bool:
        """Whether somebody asked for an end."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        return 128 + (self.signal or 0)

    def __enter__(self) -> Stop:
        self._before = {
            number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None or not self.working:
            raise SystemExit(128 + number)
        self.signal = number
