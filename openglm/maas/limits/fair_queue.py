"""Places at a model server, given to tenants in turn: who sends a thousand requests waits for their own.

Each tenant has a line of its own; a free place goes to the next tenant, first come first served within one.
When the lines together are too long, the longest one loses its last.
"""

from __future__ import annotations

import asyncio
from collections import deque

from openglm.errors import Overloaded

MOST_WAITING = 1024
LONGEST_WAIT_S = 60.0


class FairQueue:
    """`await enter(tenant)`, work, `leave()`. On one event loop. `places` may change. None: no bound."""

    def __init__(
        self,
        places: int | None,
        *,
        most_waiting: int | None = MOST_WAITING,
        longest_wait_s: float | None = LONGEST_WAIT_S,
        what: str = "this model",
    ):
        self.places = places
        self._what = what
        self._most_waiting = most_waiting
        self._longest_wait_s = longest_wait_s
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}  # in the order of their turns
        self.taken = 0
        self.waiting = 0

    @property
    def full(self) -> bool:
        return self.waiting > 0 or (self.places is not None and self.taken >= self.places)

    async def enter(self, tenant: str) -> None:
        """Wait for a place. Raises Overloaded where the line is too long; cancelling leaves the line."""
        if not self.full:
            self.taken += 1
            return
        place = self._join(tenant)
        timer = None
        if self._longest_wait_s is not None:
            timer = asyncio.get_running_loop().call_later(self._longest_wait_s, self._refuse, place)
        try:
            await place
        except BaseException:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.leave()  # it was given at the moment that we were cancelled
            else:
                self._forget(tenant, place)
            raise
        finally:
            if timer:
                timer.cancel()

    def leave(self) -> None:
        self.taken -= 1
        self.admit()

    def admit(self) -> None:
        """Hand out free places, in turn. Call it after `places` has grown."""
        while self._lines and (self.places is None or self.taken < self.places):
            tenant, line = next(iter(self._lines.items()))
            place = line.popleft()
            self.waiting -= 1
            del self._lines[tenant]
            if line:
                self._lines[tenant] = line  # behind the others
            if not place.done():
                self.taken += 1
                place.set_result(None)

    def _join(self, tenant: str) -> asyncio.Future[None]:
        if self._most_waiting is not None and self.waiting >= self._most_waiting:
            mine = len(self._lines.get(tenant, ()))
            longest = max(self._lines.values(), key=len, default=None)
            if longest is None or len(longest) <= mine + 1:
                raise Overloaded(f"too many requests wait for {self._what}")
            self.waiting -= 1
            self._refuse(longest.pop())  # it is longer than one, so its line stays
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(tenant, deque()).append(place)
        self.waiting += 1
        return place

    def _forget(self, tenant: str, place: asyncio.Future[None]) -> None:
        line = self._lines.get(tenant)
        if line is not None and place in line:
            line.remove(place)
            self.waiting -= 1
            if not line:
                del self._lines[tenant]

    def _refuse(self, place: asyncio.Future[None]) -> None:
        if not place.done():
            place.set_exception(Overloaded(f"{self._what} is busy; the request waited too long for a place"))
