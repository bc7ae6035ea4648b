"""Conversations with agents: a row for each, and one for each turn, kept for thirty days after the last.

A turn is written in the transaction of its bill, which may be written twice: so each has an id, and is kept
once. One whose conversation was deleted meanwhile is not kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from openglm.errors import NotFound
from openglm.maas.database import Database, Transaction
from openglm.maas.files.files import is_id
from openglm.maas.ids import Clock, new_id, wall_clock
from openglm.maas.rounds import Rounds

KEEP_MS = 30 * 86_400_000
FORGET_EVERY_S = 600.0
AT_ONCE = 200
_OWN = "id = :id AND org_id = :org AND agent_id = :agent AND expires_at > :now"


@dataclass(frozen=True, slots=True)
class Turn:
    """`asked` are the user's words as they came, `answered` the agent's messages, `text` its answer alone."""

    asked: list[dict[str, Any]]
    answered: list[dict[str, Any]]
    text: str
    id: str = ""  # those kept at first have none


class Conversations:
    """`start` forgets old ones from then on."""

    def __init__(self, database: Database, *, clock: Clock = wall_clock):
        self._database = database
        self._clock = clock
        self._forgetting = Rounds("old conversations are deleted", self._forget_all, FORGET_EVERY_S)

    async def start(self) -> None:
        self._forgetting.start(at_once=True)

    async def stop(self) -> None:
        await self._forgetting.stop()

    async def open(self, org_id: str, agent_id: str) -> str:
        """A new one; its id."""
        now = self._clock()
        conversation_id = new_id("conv", now)
        await self._database.write(
            lambda t: t.run(
                "INSERT INTO agent_conversation (id, org_id, agent_id, expires_at)"
                " VALUES (:id, :org, :agent, :expires)",
                id=conversation_id,
                org=org_id,
                agent=agent_id,
                expires=now + KEEP_MS,
            )
        )
        return conversation_id

    async def turns(self, org_id: str, agent_id: str, conversation_id: str) -> list[Turn]:
        """What was said so far, oldest first."""
        row = None
        if is_id(conversation_id):
            row = await self._database.read_one(
                f"SELECT id FROM agent_conversation WHERE {_OWN}",
                id=conversation_id,
                org=org_id,
                agent=agent_id,
                now=self._clock(),
            )
        if row is None:
            raise _no_conversation(conversation_id)
        rows = await self._database.read(
            "SELECT body FROM agent_turn WHERE conversation_id = :id ORDER BY number", id=conversation_id
        )
        return [Turn(**msgspec.json.decode(row["body"])) for row in rows]

    def added(
        self,
        conversation_id: str,
        asked: Sequence[Mapping[str, Any]],
        answered: Sequence[Mapping[str, Any]],
        text: str,
    ) -> Callable[[Transaction], None]:
        """What writes the next turn, for the transaction of its bill."""
        turn_id = new_id("turn", self._clock())
        body = msgspec.json.encode({"id": turn_id, "asked": asked, "answered": answered, "text": text})

        def add(transaction: Transaction) -> None:
            alive = transaction.run(
                "UPDATE agent_conversation SET expires_at = :expires WHERE id = :id",
                expires=self._clock() + KEEP_MS,
                id=conversation_id,
            )
            if alive:
                transaction.run(
                    "INSERT INTO agent_turn (conversation_id, number, body) SELECT :id, (SELECT"
                    " coalesce(max(number), 0) + 1 FROM agent_turn WHERE conversation_id = :id), :body"
                    " WHERE NOT EXISTS"
                    " (SELECT 1 FROM agent_turn WHERE conversation_id = :id AND body = :body)",
                    id=conversation_id,
                    body=body,
                )

        return add

    async def delete(self, org_id: str, conversation_id: str) -> None:
        def work(transaction: Transaction) -> int:
            gone = transaction.run(
                "DELETE FROM agent_conversation WHERE id = :id AND org_id = :org",
                id=conversation_id,
                org=org_id,
            )
            if gone:
                transaction.run("DELETE FROM agent_turn WHERE conversation_id = :id", id=conversation_id)
            return gone

        if not is_id(conversation_id) or not await self._database.write(work, durable=True):
            raise _no_conversation(conversation_id)

    async def forget_old(self) -> int:
        """Delete some that nobody went on with; how many they were."""
        now = self._clock()
        rows = await self._database.read(
            "SELECT id FROM agent_conversation WHERE expires_at <= :now ORDER BY expires_at LIMIT :most",
            now=now,
            most=AT_ONCE,
        )

        def work(transaction: Transaction) -> None:
            for row in rows:
                if transaction.run(
                    "DELETE FROM agent_conversation WHERE id = :id AND expires_at <= :now",
                    id=row["id"],
                    now=now,
                ):
                    transaction.run("DELETE FROM agent_turn WHERE conversation_id = :id", id=row["id"])

        await self._database.write(work)
        return len(rows)

    async def _forget_all(self) -> None:
        while await self.forget_old():
            await asyncio.sleep(0)


def _no_conversation(conversation_id: str) -> NotFound:
    return NotFound(
        f"there is no conversation {conversation_id[:80]!r}", hint="they are kept for 30 days, by agent"
    )
