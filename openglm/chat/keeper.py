"""The beat of the room: every second it saves what running answers have said since, hears who was stopped on
another node, finds answers whose node has died, and forgets temporary conversations that nobody closed.

What is saved are pieces, so a second of a long answer costs what it wrote in that second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from openglm.chat.bill import bill_of
from openglm.chat.draft import Piece
from openglm.chat.elsewhere import Elsewhere
from openglm.chat.pieces import PIECES, pieces_of
from openglm.chat.search import index, words_of
from openglm.maas.rounds import Rounds

if TYPE_CHECKING:
    from openglm.chat.generation import Generation
    from openglm.chat.room import Chat
    from openglm.maas.database import Transaction

TICK_S = 1.0
LOOK_EVERY = 2  # ticks, for the answers of dead nodes
FORGET_EVERY = 600  # ticks
TEMPORARY_MS = 24 * 3600 * 1000
AT_ONCE = 100


class Keeper:
    def __init__(self, chat: Chat):
        self._chat = chat
        self._elsewhere = Elsewhere(chat)
        self._beats = 0
        self._rounds = Rounds("the chat's checkpoints", self._beat, TICK_S)

    async def start(self) -> None:
        """On SQLite one process serves, so whoever else was answering is dead; elsewhere leases tell."""
        if self._chat.database.kind == "sqlite":
            for row in await self._chat.database.read(
                "SELECT DISTINCT node_id FROM chat_message WHERE state = 'running' AND node_id <> :me",
                me=self._chat.node_id,
            ):
                await self._chat.platform.billing.recover(row["node_id"])
                await self._interrupt("node_id = :node", node=row["node_id"])
        self._rounds.start()

    async def stop(self) -> None:
        await self._rounds.stop()

    async def save(self, generations: Sequence[Generation]) -> None:
        """A checkpoint of these answers."""
        taken = [(one, one.draft.unsaved(), not one.draft.parts_saved) for one in generations]
        work = _Checkpoint(self._chat.node_id, [_Saved.of(*one) for one in taken])
        for one, _, _ in taken:
            one.draft.parts_saved = True
        try:
            unwanted = await self._chat.database.write(work.write)
        except BaseException:
            for one, pieces, parts in taken:
                one.draft.give_back(pieces)
                one.draft.parts_saved &= not parts
            raise
        for one in generations:
            one.draft.pieces += len(work.pieces_of(one.draft.id))
            if one.draft.id in unwanted:
                one.stop("stopped")

    async def look(self) -> None:
        """Answers whose node has given its lease back, or lost it and had its bills settled."""
        await self._interrupt(
            "node_id NOT IN (SELECT id FROM money_node) AND node_id <> :me", me=self._chat.node_id
        )

    async def forget(self) -> None:
        """Temporary conversations of yesterday, and files that were never sent."""
        await self._chat.attachments.forget_unsent()
        before = self._chat.clock() - TEMPORARY_MS
        for row in await self._chat.database.read(
            "SELECT id FROM chat_conversation WHERE temporary = 1 AND created_at < :before LIMIT :most",
            before=before,
            most=AT_ONCE,
        ):
            await self._chat.drop(row["id"])

    async def _interrupt(self, where: str, **given: Any) -> None:
        rows = await self._chat.database.read(
            "SELECT id, conversation_id FROM chat_message"
            f" WHERE state = 'running' AND {where} LIMIT {AT_ONCE}",
            **given,
        )
        for row in rows:
            await self._chat.database.write(partial(interrupt, message_id=row["id"]), durable=True)
            await self._chat.changed(row["conversation_id"], row["id"])

    async def _beat(self) -> None:
        self._beats += 1
        if running := list(self._chat.generations.values()):
            await self.save(running)
        if self._chat.database.kind != "sqlite":
            await self._elsewhere.look()
        if self._beats % LOOK_EVERY == 0:
            await self.look()
        if self._beats % FORGET_EVERY == 1:
            await self.forget()


def interrupt(tx: Transaction, message_id: str) -> None:
    """The end of an answer that nobody writes any more: the text of its last checkpoint, and its bill."""
    row = tx.one("SELECT * FROM chat_message WHERE id = :id AND state = 'running'", id=message_id)
    if row is None:
        return
    bill = bill_of(tx, row["request_id"])
    texts = pieces_of(tx.all(PIECES, id=message_id))
    tx.run(
        "UPDATE chat_message SET state = :state, node_id = NULL, version = version + 1, text = :text,"
        " reasoning = :reasoning, bill = :bill WHERE id = :id",
        state="stopped" if row["stop_at"] is not None else "interrupted",
        text=texts["text"],
        reasoning=texts["reasoning"],
        bill=None if bill is None else msgspec.json.encode(bill).decode(),
        id=message_id,
    )
    tx.run("DELETE FROM chat_piece WHERE message_id = :id", id=message_id)
    index(tx, message_id, words_of(texts["text"]))


@dataclass(frozen=True, slots=True)
class _Saved:
    """What of one answer is to be written."""

    id: str
    version: int
    pieces: list[Mapping[str, Any]]
    parts: str | None

    @classmethod
    def of(cls, generation: Generation, pieces: Sequence[Piece], parts: bool) -> _Saved:
        draft = generation.draft
        return cls(
            draft.id,
            draft.version,
            [
                {"id": draft.id, "number": draft.pieces + number, "kind": kind, "text": text}
                for number, (kind, text) in enumerate(pieces)
            ],
            msgspec.json.encode(draft.parts).decode() if parts else None,
        )


class _Checkpoint:
    """Pieces of all answers of this node in one transaction, and which of them nobody wants any more: they
    were stopped or deleted, perhaps on another node."""

    def __init__(self, node_id: str, saved: Sequence[_Saved]):
        self._node_id = node_id
        self._saved = saved

    def pieces_of(self, message_id: str) -> Sequence[Mapping[str, Any]]:
        return next(one.pieces for one in self._saved if one.id == message_id)

    def write(self, tx: Transaction) -> set[str]:
        unwanted: set[str] = set()
        for one in self._saved:
            # A piece after the end would lie there for ever: the row is asked first.
            alive = tx.run(
                "UPDATE chat_message SET version = :version WHERE id = :id AND state = 'running'",
                version=one.version,
                id=one.id,
            )
            if not alive:
                unwanted.add(one.id)
                continue
            tx.many(
                "INSERT INTO chat_piece (message_id, number, kind, text) VALUES (:id, :number, :kind, :text)",
                one.pieces,
            )
            if one.parts is not None:
                tx.run("UPDATE chat_message SET parts = :parts WHERE id = :id", parts=one.parts, id=one.id)
        rows = tx.all(
            "SELECT id FROM chat_message WHERE state = 'running' AND node_id = :me AND stop_at IS NOT NULL",
            me=self._node_id,
        )
        return unwanted | {row["id"] for row in rows}
