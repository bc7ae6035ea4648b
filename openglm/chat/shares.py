"""Shares: a link to a conversation as it was then. Who has the link reads it, until it is revoked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from openglm.chat.owner import OWN, Owner
from openglm.errors import InvalidRequest, NotFound
from openglm.maas.ids import new_id
from openglm.maas.secrets import fingerprint, new_token

if TYPE_CHECKING:
    from openglm.chat.shapes import Message, Row
    from openglm.maas.database import Database, Transaction
    from openglm.maas.ids import Clock

MOST = 100  # of one conversation


@dataclass(frozen=True, slots=True)
class Share:
    """`token` and `url` are seen when it is made, and never again."""

    id: str
    expires_at: int | None
    created_at: int
    token: str | None = None
    url: str | None = None


class Shares:
    def __init__(self, database: Database, clock: Clock):
        self._database = database
        self._clock = clock

    async def add(
        self, owner: Owner, conversation: Row, path: list[Message], expires_at: int | None, address: str
    ) -> Share:
        now, token = self._clock(), new_token("share")
        if expires_at is not None and expires_at <= now:
            raise InvalidRequest("expires_at must lie ahead", param="expires_at")
        made = Share(new_id("share", now), expires_at, now, token, f"{address}/share/{token}")
        snapshot = {
            "title": conversation["title"],
            "created_at": now,
            "messages": [_shown(message) for message in path if message.state != "running"],
        }

        def insert(tx: Transaction) -> None:
            known = tx.one(
                "SELECT count(*) AS number FROM chat_share WHERE conversation_id = :id", id=conversation["id"]
            )
            if known and known["number"] >= MOST:
                raise InvalidRequest(f"a conversation has at most {MOST} shares", hint="revoke one")
            tx.run(
                "INSERT INTO chat_share (id, org_id, user_id, conversation_id, token_hash, expires_at,"
                " created_at, snapshot)"
                " VALUES (:id, :org, :user, :conversation, :hash, :expires, :now, :snapshot)",
                id=made.id,
                conversation=conversation["id"],
                hash=fingerprint(token),
                expires=expires_at,
                now=now,
                snapshot=msgspec.json.encode(snapshot).decode(),
                **owner.ids,
            )

        await self._database.write(insert, durable=True)
        return made

    async def list(self, conversation_id: str) -> list[Share]:
        rows = await self._database.read(
            "SELECT id, expires_at, created_at FROM chat_share WHERE conversation_id = :id ORDER BY id",
            id=conversation_id,
        )
        return [Share(row["id"], row["expires_at"], row["created_at"]) for row in rows]

    async def revoke(self, owner: Owner, share_id: str) -> None:
        if not await self._database.write(
            lambda tx: tx.run(f"DELETE FROM chat_share WHERE id = :id AND {OWN}", id=share_id, **owner.ids),
            durable=True,
        ):
            raise NotFound(f"there is no share {share_id[:80]!r} here")

    async def shown(self, token: str) -> dict[str, Any]:
        """The snapshot, for whoever has the token."""
        row = None
        if token.isascii() and len(token) <= 100:
            row = await self._database.read_one(
                "SELECT snapshot FROM chat_share WHERE token_hash = :hash"
                " AND (expires_at IS NULL OR expires_at > :now)",
                hash=fingerprint(token),
                now=self._clock(),
            )
        if row is None:
            raise NotFound("there is nothing shared here, or no more")
        return msgspec.json.decode(row["snapshot"])


def _shown(message: Message) -> dict[str, Any]:
    """What others see of a message: no ids of files, no costs."""
    parts = [
        {name: value for name, value in part.items() if name not in ("file_id", "document_id")}
        for part in message.parts
    ]
    return {
        "role": message.role,
        "text": message.text,
        "reasoning": message.reasoning,
        "parts": parts,
        "model": message.model,
        "state": message.state,
        "created_at": message.created_at,
    }
