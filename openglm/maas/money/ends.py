"""Ends of holds on their way into the database: each is tried until it is written, whoever has left by then.

While the database fails, what was delivered is still to be billed, and only this process knows of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import Future

from openglm.errors import Overloaded
from openglm.maas.database import Database, DatabaseDown, Transaction
from openglm.maas.money.ask import Receipt

FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 2.0  # before another try, doubling

log = logging.getLogger(__name__)


class _End:
    __slots__ = ("failed", "lock", "tries", "work", "written")

    def __init__(self, work: Callable[[Transaction], Receipt], lock: str, failed: Callable[[], None]):
        self.work = work
        self.lock = lock
        self.failed = failed
        self.tries = 0
        self.written: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()


class Ends:
    """Use it on one event loop."""

    def __init__(self, database: Database):
        self._database = database
        self._going_on: set[_End] = set()

    def begin(
        self, work: Callable[[Transaction], Receipt], *, lock: str, failed: Callable[[], None]
    ) -> asyncio.Future[Receipt]:
        """Carry out an end, which must be one that changes nothing the second time; await it shielded, or not
        at all. `failed` is called once if the database does not take it at once."""
        end = _End(work, lock, failed)
        self._going_on.add(end)
        self._try(end)
        return end.written

    async def finished(self, timeout_s: float) -> None:
        """Wait for all that go on. What the database does not take by then is for the next start."""
        if self._going_on:
            await asyncio.wait([end.written for end in self._going_on], timeout=timeout_s)
        if self._going_on:
            log.error("%d requests are not settled: the next start does it", len(self._going_on))

    def _try(self, end: _End) -> None:
        loop = asyncio.get_running_loop()
        try:
            writing = self._database.submit(end.work, durable=True, lock=end.lock)
        except Overloaded as error:  # the database is closed
            self._over(end, error)
            return

        def written(done: Future[Receipt]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has closed, and nobody waits
                loop.call_soon_threadsafe(self._tried, end, done)

        writing.add_done_callback(written)

    def _tried(self, end: _End, done: Future[Receipt]) -> None:
        error = done.exception()
        if isinstance(error, DatabaseDown):
            end.tries += 1
            if end.tries == 1:
                end.failed()
            wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(end.tries - 1, 10))
            asyncio.get_running_loop().call_later(wait_s, self._try, end)
        else:
            self._over(end, error or done.result())

    def _over(self, end: _End, outcome: Receipt | BaseException) -> None:
        self._going_on.discard(end)
        if isinstance(outcome, Receipt):
            end.written.set_result(outcome)
        else:
            end.written.set_exception(outcome)
            end.written.exception()  # seen, also where nobody waits for it
