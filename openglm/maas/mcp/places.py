"""Places for answers that have MCP servers open: given to tenants in turn, and to one tenant a few alone.

A place is held from before the first connection to the end of the answer, which may be minutes for a tool
that hangs; so nobody waits for a connection while they hold others, and no tenant can take all places.
"""

from __future__ import annotations

from openglm.maas.limits.fair_queue import FairQueue

AT_ONCE = 64  # answers; each has at most MAX_SERVERS streams and as many calls open as a turn may make
OF_ONE = 16  # tenant


class Places:
    """`await enter(tenant)`, answer, `leave(tenant)`. On one event loop."""

    def __init__(self) -> None:
        self._all = FairQueue(AT_ONCE, what="the client of MCP servers")
        self._own: dict[str, FairQueue] = {}  # of tenants that have places or wait for them

    @property
    def taken(self) -> int:
        return self._all.taken

    async def enter(self, tenant: str) -> None:
        own = self._own.setdefault(tenant, FairQueue(OF_ONE, what="your organisation's MCP servers"))
        try:
            await own.enter(tenant)
            try:
                await self._all.enter(tenant)
            except BaseException:
                own.leave()
                raise
        finally:
            self._forget(tenant, own)

    def leave(self, tenant: str) -> None:
        own = self._own[tenant]
        self._all.leave()
        own.leave()
        self._forget(tenant, own)

    def _forget(self, tenant: str, own: FairQueue) -> None:
        if not own.taken and not own.waiting:
            self._own.pop(tenant, None)
