"""The events of a response that is being made in the background, for readers who come and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator


class Line:
    """One writer tells events, any number of readers hear them from any place on."""

    def __init__(self) -> None:
        self._events: list[bytes] = []
        self._ended = False
        self._news = asyncio.Event()

    def tell(self, frames: bytes) -> None:
        """Some events, each with its empty line at the end."""
        self._events += [event + b"\n\n" for event in frames.split(b"\n\n") if event]
        self._wake()

    def end(self) -> None:
        self._ended = True
        self._wake()

    async def read(self, start: int = 0) -> AsyncIterator[bytes]:
        """The events from that number on, as they come, until the last."""
        while True:
            news = self._news
            if start < len(self._events):
                fresh, start = self._events[start:], len(self._events)
                yield b"".join(fresh)
            elif self._ended:
                return
            else:
                await news.wait()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
