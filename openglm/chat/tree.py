"""The tree of a conversation: paths from the root to a leaf, read from their end, and who stands beside whom.

A path is walked along parents, a row each, so a page of it costs what the page holds, however long it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openglm.chat.owner import OWN, Owner
from openglm.chat.shapes import Row
from openglm.errors import NotFound

if TYPE_CHECKING:
    from openglm.maas.database import Database

DEEPEST = 1_000_000  # nodes of a path; more than a conversation may have
_PATH = """
WITH RECURSIVE path (id, parent_id, height) AS (
    SELECT id, parent_id, 0 FROM chat_message WHERE id = :leaf AND conversation_id = :conversation
    UNION ALL
    SELECT m.id, m.parent_id, p.height + 1 FROM path p JOIN chat_message m ON m.id = p.parent_id
    WHERE p.height + 1 < :most
)
SELECT m.* FROM path p JOIN chat_message m ON m.id = p.id ORDER BY p.height DESC
"""
_HEIGHT = """
WITH RECURSIVE path (id, parent_id) AS (
    SELECT id, parent_id FROM chat_message WHERE id = :leaf AND conversation_id = :conversation
    UNION ALL
    SELECT m.id, m.parent_id FROM path p JOIN chat_message m ON m.id = p.parent_id
)
SELECT count(*) AS number FROM path
"""
_DOWN = """
WITH RECURSIVE down (id, depth) AS (
    SELECT CAST(:id AS TEXT), 0
    UNION ALL
    SELECT (SELECT c.id FROM chat_message c WHERE c.conversation_id = :conversation AND c.parent_id = d.id
            ORDER BY c.id DESC LIMIT 1), d.depth + 1
    FROM down d WHERE d.id IS NOT NULL AND d.depth < :most
)
SELECT id FROM down WHERE id IS NOT NULL ORDER BY depth DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Path:
    """A stretch of a path, oldest first. `siblings` are by parent; `earlier` is its first message, where
    others stand before it."""

    rows: Sequence[Row]
    siblings: dict[str | None, list[str]]

    @property
    def earlier(self) -> str | None:
        return self.rows[0]["id"] if self.rows and self.rows[0]["parent_id"] is not None else None


class Tree:
    def __init__(self, database: Database):
        self._database = database

    async def path(self, conversation_id: str, leaf_id: str | None, most: int) -> Path:
        """The last `most` messages up to and with a leaf."""
        if leaf_id is None:
            return Path((), {})
        rows = await self._database.read(_PATH, leaf=leaf_id, conversation=conversation_id, most=most)
        parents = {row["parent_id"] for row in rows}
        return Path(rows, await self.siblings(conversation_id, parents))

    async def stretch(self, conversation_id: str, leaf_id: str, most: int) -> Sequence[Row]:
        """As `path`, without who stands beside: what a prompt is made of."""
        return await self._database.read(_PATH, leaf=leaf_id, conversation=conversation_id, most=most)

    async def height(self, conversation_id: str, message_id: str) -> int:
        """How many messages the path up to and with one has."""
        row = await self._database.read_one(_HEIGHT, leaf=message_id, conversation=conversation_id)
        return row["number"] if row else 0

    async def siblings(self, conversation_id: str, parents: set[str | None]) -> dict[str | None, list[str]]:
        """The children of each of these, in the order of their making."""
        found: dict[str | None, list[str]] = {parent: [] for parent in parents}
        named = sorted(parent for parent in parents if parent is not None)
        asked = {f"p{number}": parent for number, parent in enumerate(named)}
        wheres = [f"parent_id IN ({', '.join(f':{name}' for name in asked)})"] if asked else []
        wheres += ["parent_id IS NULL"] if None in parents else []
        for where in wheres:
            for row in await self._database.read(
                "SELECT id, parent_id FROM chat_message"
                f" WHERE conversation_id = :conversation AND {where} ORDER BY id",
                conversation=conversation_id,
                **(asked if ":p0" in where else {}),
            ):
                found[row["parent_id"]].append(row["id"])
        return found

    async def message(self, conversation_id: str, message_id: str) -> Row:
        row = await self._database.read_one(
            "SELECT * FROM chat_message WHERE id = :id AND conversation_id = :conversation",
            id=message_id,
            conversation=conversation_id,
        )
        if row is None:
            raise no_message(message_id)
        return row

    async def owned(self, owner: Owner, message_id: str) -> Row:
        """A message of the owner's, whatever conversation it is in."""
        row = await self._database.read_one(
            "SELECT m.* FROM chat_message m JOIN chat_conversation c ON c.id = m.conversation_id"
            f" WHERE m.id = :id AND {OWN}",
            id=message_id,
            **owner.ids,
        )
        if row is None:
            raise no_message(message_id)
        return row

    async def leaf_below(self, conversation_id: str, message_id: str) -> str:
        """The end of the newest branch from a message on."""
        row = await self._database.read_one(_DOWN, id=message_id, conversation=conversation_id, most=DEEPEST)
        assert row is not None, "a message is at least its own leaf"
        return row["id"]


def no_message(message_id: str) -> NotFound:
    return NotFound(f"there is no message {message_id[:80]!r} here")
