"""Where responses are kept: a row for each, a conversation as a chain of rows.

A chain that is continued stays as long as its newest turn. Old rows are deleted some at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import msgspec

from openglm.errors import Conflict, NotFound
from openglm.maas.database import Database, Transaction
from openglm.maas.ids import Clock, wall_clock
from openglm.maas.quotas.quota import look
from openglm.maas.rounds import Rounds

KEEP_MS = 7 * 86_400_000
LONGEST_CHAIN = 1_000
FORGET_EVERY_S = 600.0
LOOK_EVERY_S = 5.0  # for responses of dead nodes
AT_ONCE = 500
RUNNING = ("queued", "in_progress")
ORPHAN_ERROR = {"code": "server_error", "message": "the server that made this response stopped"}
_ORPHANED = "status IN ('queued', 'in_progress') AND node_id NOT IN (SELECT id FROM money_node)"


@dataclass(frozen=True, slots=True)
class Kept:
    body: dict[str, Any]
    items: list[dict[str, Any]]
    previous_id: str | None


class Responses:
    def __init__(self, database: Database, *, node_id: str, clock: Clock = wall_clock):
        self._database = database
        self._node_id = node_id
        self._clock = clock
        self._forgetting = Rounds("old responses are deleted", self.forget_old, FORGET_EVERY_S)
        self._looking = Rounds("responses of dead nodes are ended", self.fail_orphans, LOOK_EVERY_S)

    async def start(self) -> None:
        """From now on, say of those that a dead node left running that they failed, and forget old ones."""
        self._forgetting.start()
        self._looking.start()

    async def stop(self) -> None:
        await self._forgetting.stop()
        await self._looking.stop()

    async def look_for_room(self, org_id: str) -> None:
        """Before an answer is made that is to be kept: then it is kept, whatever was kept meanwhile."""
        await look(self._database, org_id, self._clock(), response_bytes=1)

    async def save(
        self,
        org_id: str,
        body: Mapping[str, Any],
        items: Sequence[Mapping[str, Any]],
        previous_id: str | None,
    ) -> None:
        """Keep a response. One that is kept already stays as it is."""
        await self._database.write(self.saving(org_id, body, items, previous_id), durable=True)

    def saving(
        self,
        org_id: str,
        body: Mapping[str, Any],
        items: Sequence[Mapping[str, Any]],
        previous_id: str | None,
    ) -> Callable[[Transaction], None]:
        """What keeps a response, for the transaction of its bill."""
        values = {
            "id": body["id"],
            "org": org_id,
            "previous": previous_id,
            "node": self._node_id,
            "status": body["status"],
            "body": msgspec.json.encode(body),
            "items": msgspec.json.encode(items),
            "expires": self._clock() + KEEP_MS,
        }

        def insert(transaction: Transaction) -> None:
            transaction.run(
                "INSERT INTO response (id, org_id, previous_id, node_id, status, body, items, expires_at)"
                " VALUES (:id, :org, :previous, :node, :status, :body, :items, :expires)"
                " ON CONFLICT (id) DO NOTHING",
                **values,
            )

        return insert

    async def finish(self, org_id: str, body: Mapping[str, Any]) -> None:
        """The end of one that was saved while it ran, unless it was cancelled or deleted meanwhile."""
        await self._database.write(self.finishing(org_id, body), durable=True)

    def finishing(self, org_id: str, body: Mapping[str, Any]) -> Callable[[Transaction], None]:
        """As `finish`, for the transaction of the bill. Its own node's word holds, though others took that
        node for dead."""
        values = {
            "status": body["status"],
            "body": msgspec.json.encode(body),
            "id": body["id"],
            "org": org_id,
            "me": self._node_id,
        }

        def update(transaction: Transaction) -> None:
            transaction.run(
                "UPDATE response SET status = :status, body = :body WHERE id = :id AND org_id = :org"
                " AND (status IN ('queued', 'in_progress') OR (status = 'failed' AND node_id = :me))",
                **values,
            )

        return update

    async def get(self, org_id: str, response_id: str) -> Kept:
        row = await self._database.read_one(
            "SELECT * FROM response WHERE id = :id AND org_id = :org AND expires_at > :now",
            id=response_id,
            org=org_id,
            now=self._clock(),
        )
        if row is None:
            raise NotFound(f"there is no response {response_id[:80]!r}", hint="they are kept for 7 days")
        body = msgspec.json.decode(row["body"])
        if row["status"] == "failed" and body["status"] in RUNNING:  # `fail_orphans` has said so
            body["error"] = ORPHAN_ERROR
        return Kept({**body, "status": row["status"]}, msgspec.json.decode(row["items"]), row["previous_id"])

    async def chain(self, org_id: str, response_id: str) -> list[dict[str, Any]]:
        """All items of a conversation up to and with a response, oldest first."""
        turns: list[list[dict[str, Any]]] = []
        ids: list[str] = []
        at: str | None = response_id
        while at is not None:
            if len(ids) == LONGEST_CHAIN:
                raise Conflict(
                    f"the conversation has more than {LONGEST_CHAIN} turns", hint="start a new one"
                )
            kept = await self.get(org_id, at)
            if kept.body["status"] in RUNNING:
                raise Conflict(f"the response {at} has not ended yet", hint="wait for it, or cancel it")
            turns.append([*kept.items, *kept.body["output"]])
            ids.append(at)
            at = kept.previous_id
        until = self._clock() + KEEP_MS

        def prolong(transaction: Transaction) -> None:
            transaction.many(
                "UPDATE response SET expires_at = :until WHERE id = :id",
                [{"id": name, "until": until} for name in sorted(ids)],
            )

        await self._database.write(prolong)
        return [item for turn in reversed(turns) for item in turn]

    async def delete(self, org_id: str, response_id: str) -> None:
        await self.get(org_id, response_id)
        await self._database.write(
            lambda t: t.run(
                "DELETE FROM response WHERE id = :id AND org_id = :org", id=response_id, org=org_id
            ),
            durable=True,
        )

    async def cancel(self, org_id: str, response_id: str) -> Kept:
        """Mark one that runs as cancelled; one that has ended stays as it is."""
        kept = await self.get(org_id, response_id)
        if kept.body["status"] in RUNNING:
            body = {**kept.body, "status": "cancelled"}
            await self.finish(org_id, body)
        return await self.get(org_id, response_id)

    async def forget_old(self) -> int:
        """Delete what is past its days, one organisation's at a time: each has a row of counts, and what
        locks several waits for other nodes in a ring."""
        forgotten, now = 0, self._clock()
        remove = "DELETE FROM response WHERE id = :id AND expires_at <= :now"
        while rows := await self._database.read(
            "SELECT id, org_id FROM response WHERE expires_at <= :now ORDER BY org_id, id LIMIT :most",
            now=now,
            most=AT_ONCE,
        ):
            for org_id, of_org in groupby(rows, lambda row: row["org_id"]):
                gone = [{"id": row["id"], "now": now} for row in of_org]
                await self._database.write(partial(Transaction.many, sql=remove, rows=gone), lock=org_id)
            forgotten += len(rows)
        return forgotten

    async def given_up(self, ids: Iterable[str]) -> list[str]:
        """Those of these that nobody wants any more: cancelled or deleted, perhaps on another node."""
        names = {f"id{number}": response_id for number, response_id in enumerate(ids)}
        if not names:
            return []
        rows = await self._database.read(
            "SELECT id FROM response WHERE status <> 'cancelled'"
            f" AND id IN ({', '.join(f':{name}' for name in names)})",
            **names,
        )
        wanted = {row["id"] for row in rows}
        return [response_id for response_id in names.values() if response_id not in wanted]

    async def fail_orphans(self) -> int:
        """Say of those whose node has no lease any more that they failed. Billing takes the leases of dead
        nodes away, so no clock is asked here."""
        if not await self._database.read(f"SELECT id FROM response WHERE {_ORPHANED} LIMIT 1"):
            return 0
        return await self._database.write(
            lambda t: t.run(f"UPDATE response SET status = 'failed' WHERE {_ORPHANED}")
        )
