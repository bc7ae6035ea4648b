"""Work that any node may take up, one node at a time: rows with `lease_owner` and `lease_until`.

A node that dies loses its leases, whatever clocks say: money/nodes.py sees who lives, and a dead one's holds
are freed first. Time is for rows that wait for their hour, and for those that their own node lost sight of.
Tenants take turns: of the rows that wait, the first of every organisation comes before the second of any, and
those that it has at work already count. Between equals comes first whom this node has served least lately:
however many old rows others have, a newcomer's turn comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from openglm.maas.database import Database, Row
from openglm.maas.ids import Clock

LEASE_MS = 30_000
REMEMBERED = 10_000  # organisations whose last turn is known: whoever is forgotten has waited longest
# A condition with :me and :now, of rows that nobody works on.
FREE = (
    "(CASE WHEN lease_owner IS NULL OR lease_owner = :me THEN lease_until <= :now"
    " ELSE lease_owner NOT IN (SELECT id FROM money_node) END)"
)


def free_but(working: Iterable[str]) -> tuple[str, dict[str, str]]:
    """FREE without the rows that this node works on, whose leases may have run out; and its parameters."""
    names = {f"working{number}": row_id for number, row_id in enumerate(working)}
    return f"({FREE} AND id NOT IN ({', '.join(f':{name}' for name in names)}))" if names else FREE, names


def most_of(places: int) -> int:
    """How many of a node's places one organisation may have: some are always left for another."""
    return max(1, places - max(1, places // 4))


class Leases:
    """Of one table. `waits` is the SQL condition of rows that still have work in them; `columns` are read."""

    def __init__(
        self, database: Database, table: str, waits: str, *, columns: str, node_id: str, clock: Clock
    ):
        self._database = database
        self._table = table
        self._waits = waits
        self._columns = columns
        self.node_id = node_id
        self._clock = clock
        self._turns = 0
        self._served: dict[str, int] = {}  # the turn in which an organisation was served here last

    async def claim(self, most: int, *, each: int = 1 << 30, working: Iterable[str] = ()) -> list[Row]:
        """Take the leases of up to `most` rows that nobody works on; of one organisation, with those that
        this node works on already, at most `each`. `working` are those, whatever became of their leases."""
        if most <= 0:
            return []
        now = self._clock()
        free, names = free_but(working)
        # Which is a matter for readers; the writer only sees to it that nobody else has them.
        found = await self._database.read(
            "SELECT w.id, w.org_id, w.turn + coalesce(r.running, 0) AS turn FROM (SELECT id, org_id,"
            " row_number() OVER (PARTITION BY org_id ORDER BY id) AS turn"
            f" FROM {self._table} WHERE {self._waits} AND {free}) w"
            " LEFT JOIN (SELECT org_id, count(*) AS running,"
            " sum(CASE WHEN lease_owner = :me THEN 1 ELSE 0 END) AS mine"
            f" FROM {self._table} WHERE {self._waits} AND lease_owner IS NOT NULL AND NOT {free}"
            " GROUP BY org_id) r ON r.org_id = w.org_id"
            " WHERE w.turn <= :most AND w.turn + coalesce(r.mine, 0) <= :each",
            now=now,
            me=self.node_id,
            each=each,
            most=most,
            **names,
        )
        if not found:
            return []
        chosen = self._in_turn(found, most)
        take = (
            f"UPDATE {self._table} SET lease_owner = :me, lease_until = :until"
            f" WHERE id = :id AND {self._waits} AND {FREE} RETURNING {self._columns}"
        )
        return await asyncio.shield(
            self._database.write(
                lambda tx: [
                    row
                    for one in chosen
                    if (row := tx.one(take, id=one["id"], me=self.node_id, until=now + LEASE_MS, now=now))
                ]
            )
        )

    def _in_turn(self, waiting: Sequence[Row], most: int) -> Sequence[Row]:
        chosen = sorted(
            waiting, key=lambda row: (row["turn"], self._served.get(row["org_id"], 0), row["id"])
        )[:most]
        for row in chosen:
            self._turns += 1
            self._served.pop(row["org_id"], None)  # so that they stand in the order of their turns
            self._served[row["org_id"]] = self._turns
            if len(self._served) > REMEMBERED:
                del self._served[next(iter(self._served))]
        return chosen

    async def renew(self, ids: Iterable[str]) -> set[str]:
        """Prolong what this node works on; which of them are still its own."""
        working, until = sorted(ids), self._clock() + LEASE_MS
        if not working:
            return set()
        prolong = (
            f"UPDATE {self._table} SET lease_until = :until"
            f" WHERE id = :id AND lease_owner = :me AND {self._waits}"
        )
        return await asyncio.shield(
            self._database.write(
                lambda tx: {
                    name for name in working if tx.run(prolong, id=name, me=self.node_id, until=until)
                }
            )
        )

    async def put_off(self, row_id: str, until_ms: int) -> None:
        """Let go of a row that nobody shall take up before `until_ms`."""
        await asyncio.shield(
            self._database.write(
                lambda tx: tx.run(
                    f"UPDATE {self._table} SET lease_owner = NULL, lease_until = :until"
                    " WHERE id = :id AND lease_owner = :me",
                    id=row_id,
                    me=self.node_id,
                    until=until_ms,
                )
            )
        )

    async def give_up(self) -> None:
        """Let go of all that this node holds, so that others go on at once."""
        await self._database.write(
            lambda tx: tx.run(
                f"UPDATE {self._table} SET lease_owner = NULL, lease_until = 0"
                f" WHERE lease_owner = :me AND {self._waits}",
                me=self.node_id,
            )
        )
