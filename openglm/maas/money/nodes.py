"""Which nodes are alive: each renews its lease every second, and is dead some seconds after its last time.

The seconds are those of whoever looks: a lease says only that it changed since the last look. So neither a
clock that is wrong nor one that jumps makes a node that works look dead. Nor does an outage of the database:
who could not look for a while counts anew. They are renewed by a thread: a loop that is kept busy for a while
still serves.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from openglm.errors import Overloaded
from openglm.maas.database import Database, DatabaseDown, Transaction
from openglm.maas.ids import Clock

logger = logging.getLogger(__name__)

BEAT_S = 1.0
LEASE_S = 5.0  # without a renewal, after which a node is dead
LOOK_S = 2.0  # between two looks at the others
BLIND_S = 2 * LOOK_S  # since the last look, after which nothing is known of the time between
_LEASE_MS = 5_000


@dataclass(frozen=True, slots=True)
class Dead:
    """A node, and the lease it had when it was last seen: None if it never had one, or gave it back."""

    node_id: str
    lease: int | None


class Nodes:
    """The leases as one node sees them."""

    def __init__(self, database: Database, own_id: str, clock: Clock, ticks: Callable[[], float]):
        self._database = database
        self._own_id = own_id
        self._clock = clock
        self._ticks = ticks
        self._seen: dict[str, tuple[int, float]] = {}  # each node's lease, and since when it is that
        self._looked = ticks()
        self._renewing: threading.Thread | None = None
        self._enough = threading.Event()

    async def beat(self) -> None:
        """Renew our lease once."""
        await self._database.write(self._renew)

    def keep_beating(self) -> None:
        """Renew our lease from now on, whatever the loop does."""
        self._enough = threading.Event()
        self._renewing = threading.Thread(target=self._beats, name="openglm-lease", daemon=True)
        self._renewing.start()

    async def rest(self) -> None:
        """Renew it no more. A renewal that hangs is not waited for long: its thread ends with it."""
        self._enough.set()
        if self._renewing:
            await asyncio.to_thread(self._renewing.join, LEASE_S)
            self._renewing = None

    async def leave(self, node_id: str | None = None) -> None:
        """Give our lease back, or that of a node that is known to be dead."""
        gone = node_id or self._own_id
        await self._database.write(
            lambda tx: tx.run("DELETE FROM money_node WHERE id = :id", id=gone), durable=True
        )

    async def dead(self) -> list[Dead]:
        """Other nodes that have died, and strangers whose holds are open."""
        # In this order: a node has its lease before its first hold.
        holders = await self._database.read("SELECT DISTINCT node_id FROM hold WHERE state = 'open'")
        rows = await self._database.read("SELECT id, lease_until FROM money_node")
        leases: dict[str, int] = {row["id"]: row["lease_until"] for row in rows if row["id"] != self._own_id}
        now = self._ticks()
        known = self._seen if now - self._looked <= BLIND_S else {}
        self._looked = now
        self._seen = {
            node_id: seen if (seen := known.get(node_id)) and seen[0] == lease else (lease, now)
            for node_id, lease in leases.items()
        }
        strangers = {row["node_id"] for row in holders} - leases.keys() - {self._own_id}
        return [Dead(node_id, None) for node_id in sorted(strangers)] + [
            Dead(node_id, lease)
            for node_id, (lease, since) in sorted(self._seen.items())
            if now - since >= LEASE_S
        ]

    def _beats(self) -> None:
        while not self._enough.wait(BEAT_S):
            try:
                self._database.write_now(self._renew)
            except DatabaseDown as error:
                logger.warning("the lease could not be renewed: %s", error.message)
            except Overloaded:  # the database is closed: whoever opened it needs us no more
                return

    def _renew(self, tx: Transaction) -> None:
        """It always grows, also where the clock was set back."""
        tx.run(
            "INSERT INTO money_node (id, lease_until) VALUES (:id, :until)"
            " ON CONFLICT (id) DO UPDATE SET lease_until = CASE"
            " WHEN excluded.lease_until > money_node.lease_until THEN excluded.lease_until"
            " ELSE money_node.lease_until + 1 END",
            id=self._own_id,
            until=self._clock() + _LEASE_MS,
        )

    async def forget(self, dead: Dead) -> None:
        """Delete the lease of a dead node, unless it has come back to life."""
        await self._database.write(
            lambda tx: tx.run(
                "DELETE FROM money_node WHERE id = :id AND lease_until = :lease",
                id=dead.node_id,
                lease=dead.lease,
            )
        )
