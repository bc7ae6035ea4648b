"""Answers that another node writes, for those who listen here: told by what is saved of them every second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openglm.chat.pieces import pieces_of
from openglm.chat.shapes import Row
from openglm.errors import NotFound

if TYPE_CHECKING:
    from openglm.chat.room import Chat

_RUNNING = (
    "SELECT id, parent_id, version FROM chat_message"
    " WHERE conversation_id = :id AND state = 'running' AND node_id <> :me ORDER BY id"
)
_PIECES = (
    "SELECT number, kind, text FROM chat_piece WHERE message_id = :id AND number >= :next ORDER BY number"
)


class Elsewhere:
    """Look as often as answers are saved."""

    def __init__(self, chat: Chat):
        self._chat = chat
        self._told: dict[str, dict[str, int]] = {}  # conversation -> message -> the next piece

    async def look(self) -> None:
        listened = {key for key in self._chat.feeds.listened() if isinstance(key, str)}
        for conversation_id in self._told.keys() - listened:
            del self._told[conversation_id]
        for conversation_id in listened:
            await self._look_at(conversation_id)

    async def _look_at(self, conversation_id: str) -> None:
        chat, told = self._chat, self._told.setdefault(conversation_id, {})
        rows = await chat.database.read(_RUNNING, id=conversation_id, me=chat.node_id)
        for row in rows:
            await self._tell(conversation_id, row, told)
        ended = told.keys() - {row["id"] for row in rows}
        for message_id in ended:
            del told[message_id]
        if ended:
            try:
                await chat.changed(conversation_id, *ended)
            except NotFound:  # deleted through that node
                chat.feeds.drop(conversation_id)

    async def _tell(self, conversation_id: str, row: Row, told: dict[str, int]) -> None:
        chat, known = self._chat, row["id"] in told
        pieces = await chat.database.read(_PIECES, id=row["id"], next=told.get(row["id"], 0))
        told[row["id"]] = pieces[-1]["number"] + 1 if pieces else told.get(row["id"], 0)
        if not known:
            await chat.changed(conversation_id, *filter(None, (row["parent_id"], row["id"])))
        elif pieces:
            said = {kind: text for kind, text in pieces_of(pieces).items() if text}
            chat.feeds.tell(conversation_id, "delta", {"id": row["id"], "version": row["version"], **said})
