"""Conversations of an owner: made, listed, changed, deleted. What is in them is the tree's business."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from openglm.chat.owner import OWN, Owner
from openglm.chat.shapes import Conversation, Row, conversation_of
from openglm.errors import InvalidRequest, NotFound
from openglm.maas.ids import new_id
from openglm.maas.quotas import check

if TYPE_CHECKING:
    from openglm.maas.database import Database, Transaction
    from openglm.maas.ids import Clock

PINNED = 200  # at most, on the first page
SEEN = (
    "SELECT c.*, EXISTS (SELECT 1 FROM chat_message m WHERE m.conversation_id = c.id AND m.state = 'running')"
    " AS running FROM chat_conversation c"
)
COLUMNS = (
    "title",
    "titled_by",
    "model",
    "project_id",
    "assistant_id",
    "pinned_at",
    "archived_at",
    "settings",
    "leaf_id",
)


@dataclass(frozen=True, slots=True)
class Listed:
    items: list[Conversation]
    next: str | None


class Conversations:
    def __init__(self, database: Database, clock: Clock):
        self._database = database
        self._clock = clock

    async def create(
        self, owner: Owner, given: Mapping[str, Any], *, temporary: bool = False
    ) -> Conversation:
        """A new one; `given` are columns."""
        now = self._clock()
        values = {
            "id": new_id("conv", now),
            "title": "",
            "titled_by": "words",
            "model": None,
            "project_id": None,
            "assistant_id": None,
            "settings": "{}",
            **given,
            "temporary": int(temporary),
            "now": now,
        }

        def insert(tx: Transaction) -> None:
            check(tx, owner.org_id, now, conversations=1)
            tx.run(
                "INSERT INTO chat_conversation (id, org_id, user_id, title, titled_by, model, project_id,"
                " assistant_id, temporary, settings, created_at, updated_at)"
                " VALUES (:id, :org, :user, :title, :titled_by, :model, :project_id, :assistant_id,"
                " :temporary, :settings, :now, :now)",
                **values,
                **owner.ids,
            )

        await self._database.write(insert, durable=True, lock=owner.org_id)
        return conversation_of(await self.row(owner, values["id"]))

    async def row(self, owner: Owner, conversation_id: str) -> Row:
        row = await self._database.read_one(
            f"{SEEN} WHERE c.id = :id AND {OWN}", id=conversation_id, **owner.ids
        )
        if row is None:
            raise no_conversation(conversation_id)
        return row

    async def list(
        self,
        owner: Owner,
        *,
        project: str | None = None,
        archived: bool = False,
        before: str | None = None,
        limit: int = 50,
    ) -> Listed:
        """A page by last change, the pinned ones on top of the first; never temporary ones."""
        where = f"{OWN} AND temporary = 0 AND archived_at IS {'NOT ' if archived else ''}NULL"
        given: dict[str, Any] = dict(owner.ids)
        if project is not None:
            where += " AND project_id = :project"
            given["project"] = project
        pinned = []
        if before is None and not archived:
            pinned = list(
                await self._database.read(
                    f"{SEEN} WHERE {where} AND pinned_at IS NOT NULL ORDER BY pinned_at DESC LIMIT {PINNED}",
                    **given,
                )
            )
        if not archived:
            where += " AND pinned_at IS NULL"
        if before is not None:
            where += " AND (updated_at < :at OR (updated_at = :at AND id < :id))"
            given |= _cursor(before)
        rows = await self._database.read(
            f"{SEEN} WHERE {where} ORDER BY updated_at DESC, id DESC LIMIT :most", most=limit + 1, **given
        )
        last = rows[limit - 1] if len(rows) > limit else None
        return Listed(
            [conversation_of(row) for row in (*pinned, *rows[:limit])],
            f"{last['updated_at']}.{last['id']}" if last else None,
        )

    async def change(self, owner: Owner, conversation_id: str, given: Mapping[str, Any]) -> Conversation:
        """Set columns; that it was changed moves it nowhere in the list."""
        assert set(given) <= set(COLUMNS), given
        if given:
            sets = ", ".join(f"{name} = :{name}" for name in given)
            touched = await self._database.write(
                lambda tx: tx.run(
                    f"UPDATE chat_conversation SET {sets} WHERE id = :id AND {OWN}",
                    **given,
                    id=conversation_id,
                    **owner.ids,
                ),
                durable=True,
            )
            if not touched:
                raise no_conversation(conversation_id)
        return conversation_of(await self.row(owner, conversation_id))

    async def leave(self, owner: Owner, column: str, value: str) -> None:
        """Take all conversations out of a project."""
        assert column in COLUMNS, column
        await self._database.write(
            lambda tx: tx.run(
                f"UPDATE chat_conversation SET {column} = NULL WHERE {column} = :value AND {OWN}",
                value=value,
                **owner.ids,
            ),
            durable=True,
        )


def settings_of(row: Row) -> dict[str, Any]:
    return msgspec.json.decode(row["settings"])


def forget(tx: Transaction, conversation_id: str) -> None:
    """All rows of a conversation."""
    tx.run(
        "DELETE FROM chat_piece WHERE message_id IN"
        " (SELECT id FROM chat_message WHERE conversation_id = :id AND state = 'running')",
        id=conversation_id,
    )
    for table in ("chat_message", "chat_send", "chat_share", "chat_term"):
        tx.run(f"DELETE FROM {table} WHERE conversation_id = :id", id=conversation_id)
    tx.run("DELETE FROM chat_conversation WHERE id = :id", id=conversation_id)


def no_conversation(conversation_id: str) -> NotFound:
    return NotFound(f"there is no conversation {conversation_id[:80]!r} here")


def _cursor(before: str) -> dict[str, Any]:
    at, _, name = before.partition(".")
    if not (at.isascii() and at.isdigit() and len(at) < 19):
        raise InvalidRequest(f"before must be what a page gave as next, got {before[:60]!r}", param="before")
    return {"at": int(at), "id": name}
