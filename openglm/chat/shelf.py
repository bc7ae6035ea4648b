"""What people keep beside their conversations: projects, assistants, prompts, memories.

Items of one table, by kind. Others of the organisation, or everybody, see what its owner shows them; nobody
else changes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from openglm.chat.owner import OWN, Owner
from openglm.chat.shapes import Row
from openglm.errors import Conflict, NotFound
from openglm.maas.ids import new_id

if TYPE_CHECKING:
    from openglm.maas.database import Database, Transaction
    from openglm.maas.ids import Clock
    from openglm.maas.secrets import Secrets

Kind = Literal["project", "assistant", "prompt", "memory"]
Visibility = Literal["private", "organisation", "listed"]
PREFIX: dict[Kind, str] = {"project": "chatproj", "assistant": "asst", "prompt": "prompt", "memory": "mem"}
MOST = 1_000  # of one kind and owner
_SHOWN = f"(({OWN}) OR (visibility = 'organisation' AND org_id = :org) OR visibility = 'listed')"
_PURPOSE = "chat-item"


class Shelf:
    def __init__(self, database: Database, secrets: Secrets, clock: Clock):
        self._database = database
        self._secrets = secrets
        self._clock = clock

    async def list(self, owner: Owner, kind: Kind, *, shown: bool = False) -> list[dict[str, Any]]:
        """The owner's; with `shown`, what others show them too."""
        rows = await self._database.read(
            f"SELECT * FROM chat_item WHERE kind = :kind AND {_SHOWN if shown else OWN}"
            f" ORDER BY id LIMIT {MOST}",
            kind=kind,
            **owner.ids,
        )
        return [seen(row, owner) for row in rows]

    async def row(self, owner: Owner, kind: Kind, item_id: str, *, shown: bool = False) -> Row:
        row = await self._database.read_one(
            f"SELECT * FROM chat_item WHERE id = :id AND kind = :kind AND {_SHOWN if shown else OWN}",
            id=item_id,
            kind=kind,
            **owner.ids,
        )
        if row is None:
            raise NotFound(f"there is no {kind} {item_id[:80]!r} here")
        return row

    async def add(
        self, owner: Owner, kind: Kind, body: Mapping[str, Any], *, sealed: object = None
    ) -> dict[str, Any]:
        now = self._clock()
        item_id = new_id(PREFIX[kind], now)
        values = {**self._values(item_id, body, sealed), "id": item_id, "kind": kind, "now": now, **owner.ids}

        def insert(tx: Transaction) -> None:
            known = tx.one(
                f"SELECT count(*) AS number FROM chat_item WHERE kind = :kind AND {OWN}",
                kind=kind,
                **owner.ids,
            )
            if known and known["number"] >= MOST:
                raise Conflict(f"there are {MOST} of these already", hint="delete some first")
            tx.run(
                "INSERT INTO chat_item (id, kind, org_id, user_id, visibility, body, sealed, created_at,"
                " updated_at) VALUES (:id, :kind, :org, :user, :visibility, :body, :sealed, :now, :now)",
                **values,
            )

        await self._database.write(insert, durable=True)
        return seen(await self.row(owner, kind, item_id), owner)

    async def change(
        self, owner: Owner, kind: Kind, item_id: str, given: Mapping[str, Any], *, sealed: object = None
    ) -> dict[str, Any]:
        """What is not given stays."""
        row = await self.row(owner, kind, item_id)
        body = {"visibility": row["visibility"], **msgspec.json.decode(row["body"]), **given}
        values = self._values(item_id, body, sealed)
        if sealed is None:
            values["sealed"] = row["sealed"]
        await self._database.write(
            lambda tx: tx.run(
                "UPDATE chat_item SET body = :body, sealed = :sealed, visibility = :visibility,"
                f" updated_at = :now WHERE id = :id AND {OWN}",
                **values,
                now=self._clock(),
                id=item_id,
                **owner.ids,
            ),
            durable=True,
        )
        return seen(await self.row(owner, kind, item_id), owner)

    async def delete(self, owner: Owner, kind: Kind, item_id: str) -> None:
        await self.row(owner, kind, item_id)
        await self._database.write(
            lambda tx: tx.run("DELETE FROM chat_item WHERE id = :id", id=item_id), durable=True
        )

    def unsealed(self, row: Row) -> Any:
        """The secrets of an item."""
        if row["sealed"] is None:
            return None
        return msgspec.json.decode(self._secrets.unseal(_PURPOSE, bytes(row["sealed"]), context=row["id"]))

    def _values(self, item_id: str, body: Mapping[str, Any], sealed: object) -> dict[str, Any]:
        kept = {name: value for name, value in body.items() if name != "visibility"}
        secret = None
        if sealed is not None:
            secret = self._secrets.seal(_PURPOSE, msgspec.json.encode(sealed), context=item_id)
        return {
            "visibility": body.get("visibility") or "private",
            "body": msgspec.json.encode(kept).decode(),
            "sealed": secret,
        }


def seen(row: Row, owner: Owner) -> dict[str, Any]:
    """An item as its reader sees it."""
    return {
        "id": row["id"],
        **msgspec.json.decode(row["body"]),
        "visibility": row["visibility"],
        "mine": (row["org_id"], row["user_id"]) == (owner.org_id, owner.user_id),
        "created_at": row["created_at"],
        "updated_at": row["updated_at"],
    }
