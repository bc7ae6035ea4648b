"""Places at a model server, given to tenants in turn: who sends a thousand requests waits for their own.

Each tenant has a line of its own; a free place goes to the next tenant, first come first served within one.
Turns alone help nobody where places are held for minutes: there, no tenant has more than `each`. When the
lines together are too long, the longest one loses its last.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque

from openglm.errors import Overloaded

MOST_WAITING = 1024
LONGEST_WAIT_S = 60.0


class FairQueue:
    """`await enter(tenant)`, work, `leave(tenant)`. On one loop. `places` may change. None: no bound."""

    def __init__(
        self,
        places: int | None,
        *,
        each: int | None = None,
        most_waiting: int | None = MOST_WAITING,
        longest_wait_s: float | None = LONGEST_WAIT_S,
        what: str = "this model",
    ):
        self.places = places
        self._each = each
        self._what = what
        self._most_waiting = most_waiting
        self._longest_wait_s = longest_wait_s
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}  # in the order of their turns
        self._held: Counter[str] = Counter()  # places of each tenant that has one
        self.waiting = 0

    @property
    def taken(self) -> int:
        return self._held.total()

    @property
    def full(self) -> bool:
        return self.places is not None and self.taken >= self.places

    async def enter(self, tenant: str) -> None:
        """Wait for a place. Raises Overloaded where the line is too long; cancelling leaves the line."""
        # Who waits while a place is free has all that a tenant may have, so nobody is passed by.
        if not self.full and self._may(tenant):
            self._held[tenant] += 1
            return
        place = self._join(tenant)
        timer = None
        if self._longest_wait_s is not None:
            timer = asyncio.get_running_loop().call_later(self._longest_wait_s, self._refuse, place)
        try:
            await place
        except BaseException:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.leave(tenant)  # it was given at the moment that we were cancelled
            else:
                self._forget(tenant, place)
            raise
        finally:
            if timer:
                timer.cancel()

    def leave(self, tenant: str) -> None:
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]
        self.admit()

    def admit(self) -> None:
        """Hand out free places, in turn. Call it after `places` has grown."""
        while not self.full:
            tenant = next((tenant for tenant in self._lines if self._may(tenant)), None)
            if tenant is None:
                return
            line = self._lines.pop(tenant)
            place = line.popleft()
            self.waiting -= 1
            if line:
                self._lines[tenant] = line  # behind the others
            if not place.done():
                self._held[tenant] += 1
                place.set_result(None)

    def _may(self, tenant: str) -> bool:
        return self._each is None or self._held[tenant] < self._each

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
