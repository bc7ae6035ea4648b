"""Work that comes round again for as long as the platform runs, looked after in one place.

A round that fails, whatever the error, is logged and made again, later each time: being stopped is all that
ends one of these loops.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from openglm.errors import OpenGLMError

logger = logging.getLogger(__name__)

LONGEST_PAUSE_S = 8.0  # after failures, of rounds that come more often: a lease must not run out meanwhile


class Rounds:
    """`work` is done every `every_s` seconds and whenever somebody wakes it, one round at a time. On one
    event loop."""

    def __init__(self, what: str, work: Callable[[], Awaitable[Any]], every_s: float):
        self._what = what
        self._work = work
        self._every_s = every_s
        self._woken = asyncio.Event()
        self._going: asyncio.Task[None] | None = None

    def start(self, *, at_once: bool = False) -> None:
        """`at_once`: the first round comes now, not after its time."""
        self._woken = asyncio.Event()
        if at_once:
            self._woken.set()
        self._going = asyncio.create_task(self._go(), name=self._what)

    def wake(self) -> None:
        """Let the next round come now."""
        self._woken.set()

    async def stop(self) -> None:
        """End the loop, in the middle of a round if need be."""
        going, self._going = self._going, None
        if going is not None:
            going.cancel()
            await asyncio.wait([going])

    async def _go(self) -> None:
        failures = 0
        while True:
            await self._pause(failures)
            self._woken.clear()
            try:
                await self._work()
                failures = 0
            except Exception as error:
                failures += 1
                if isinstance(error, OpenGLMError):
                    logger.warning("%s: will be tried again: %s", self._what, error.message)
                else:
                    logger.error("%s: will be tried again", self._what, exc_info=error)

    async def _pause(self, failures: int) -> None:
        """Until the next round. Nobody can wake what has just failed."""
        if failures:
            longer = self._every_s * 2.0 ** min(failures - 1, 10)
            await asyncio.sleep(max(self._every_s, min(longer, LONGEST_PAUSE_S)))
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._every_s):
                await self._woken.wait()
