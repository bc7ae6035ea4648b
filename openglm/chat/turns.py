"""Turns: what a user says, and the answers that are begun for it, as rows of the tree.

A turn is one transaction of a few rows. It has a name that the browser gave it, so that sending it again,
after a lost connection or on another node, gives the same messages and starts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from openglm.chat.conversations import no_conversation
from openglm.chat.owner import OWN, Owner
from openglm.chat.search import index, words_apart
from openglm.chat.tree import no_message
from openglm.errors import Conflict, InvalidRequest
from openglm.maas.ids import new_id

if TYPE_CHECKING:
    from openglm.maas.database import Database, Transaction
    from openglm.maas.ids import Clock

MOST_MESSAGES = 200_000  # of one conversation
TITLE_CHARS = 60


@dataclass(frozen=True, slots=True)
class Said:
    """What the user says: words, and parts such as attachments."""

    text: str
    parts: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Answers of these models, by these settings; `client_id` is the browser's name for the turn."""

    models: Sequence[str]
    settings: Mapping[str, Any]
    client_id: str


@dataclass(frozen=True, slots=True)
class Begun:
    """Ids of the turn's messages; `fresh` unless it had been sent before."""

    user_id: str | None
    answer_ids: list[str]
    fresh: bool


class Turns:
    def __init__(self, database: Database, *, node_id: str, clock: Clock):
        self._database = database
        self._node_id = node_id
        self._clock = clock

    async def begin(
        self, owner: Owner, conversation_id: str, parent_id: str | None, said: Said | None, wanted: Wanted
    ) -> Begun:
        """A user's message below `parent_id` with answers below it; without `said`, answers alone."""
        words = await words_apart(said.text) if said else []
        turn = _Turn(conversation_id, parent_id, said, wanted, words, self._node_id, self._clock())
        return await self._database.write(
            lambda tx: turn.write(tx, owner), durable=True, lock=conversation_id
        )


@dataclass(frozen=True, slots=True)
class _Turn:
    conversation_id: str
    parent_id: str | None
    said: Said | None
    wanted: Wanted
    words: Sequence[str]  # of what is said
    node_id: str
    now: int

    def write(self, tx: Transaction, owner: Owner) -> Begun:
        conversation = tx.one(
            f"SELECT title, messages FROM chat_conversation WHERE id = :id AND {OWN}",
            id=self.conversation_id,
            **owner.ids,
        )
        if conversation is None:
            raise no_conversation(self.conversation_id)
        sent = tx.one(
            "SELECT * FROM chat_send WHERE conversation_id = :id AND client_id = :name",
            id=self.conversation_id,
            name=self.wanted.client_id,
        )
        if sent is not None:
            return Begun(sent["user_message_id"], msgspec.json.decode(sent["answer_ids"]), False)
        made = len(self.wanted.models) + (self.said is not None)
        if conversation["messages"] + made > MOST_MESSAGES:
            raise Conflict(f"a conversation has at most {MOST_MESSAGES} messages", hint="begin a new one")
        self._check_parent(tx)
        user_id = self._say(tx) if self.said else None
        answers = [self._answer(tx, user_id or self.parent_id, *one) for one in self._answers()]
        self._note(tx, user_id, answers)
        tx.run(
            "UPDATE chat_conversation SET leaf_id = :leaf, messages = messages + :made, updated_at = :now,"
            " title = :title, model = :model WHERE id = :id",
            leaf=answers[0],
            made=made,
            now=self.now,
            title=conversation["title"] or (first_words(self.said.text) if self.said else ""),
            model=self.wanted.models[0],
            id=self.conversation_id,
        )
        return Begun(user_id, answers, True)

    def _check_parent(self, tx: Transaction) -> None:
        """A user speaks after an answer that has ended, or at the beginning; an answer follows a user."""
        if self.parent_id is None:
            if self.said is None:
                raise InvalidRequest("an answer needs a message to answer", param="parent_id")
            return
        parent = tx.one(
            "SELECT role, state FROM chat_message WHERE id = :id AND conversation_id = :conversation",
            id=self.parent_id,
            conversation=self.conversation_id,
        )
        if parent is None:
            raise no_message(self.parent_id)
        if parent["state"] == "running":
            raise Conflict("the answer before is still being written", hint="wait for its end, or stop it")
        wanted = "assistant" if self.said else "user"
        if parent["role"] != wanted:
            raise InvalidRequest(
                f"parent_id must be a message of role {wanted}, got one of {parent['role']}",
                param="parent_id",
            )

    def _say(self, tx: Transaction) -> str:
        assert self.said is not None, "somebody speaks"
        message_id = new_id("msg", self.now)
        tx.run(
            "INSERT INTO chat_message (id, conversation_id, parent_id, role, state, created_at, parts, text)"
            " VALUES (:id, :conversation, :parent, 'user', 'done', :now, :parts, :text)",
            id=message_id,
            conversation=self.conversation_id,
            parent=self.parent_id,
            now=self.now,
            parts=msgspec.json.encode(list(self.said.parts)).decode(),
            text=self.said.text,
        )
        index(tx, message_id, self.words)
        return message_id

    def _answers(self) -> list[tuple[str, str]]:
        """Ids in order: behind the question's, and those compared side by side as they were asked for."""
        ids = sorted(new_id("msg", self.now + 1) for _ in self.wanted.models)
        return list(zip(ids, self.wanted.models, strict=True))

    def _answer(self, tx: Transaction, parent_id: str | None, message_id: str, model: str) -> str:
        tx.run(
            "INSERT INTO chat_message (id, conversation_id, parent_id, role, state, model, node_id,"
            " created_at, settings)"
            " VALUES (:id, :conversation, :parent, 'assistant', 'running', :model, :node, :now, :settings)",
            id=message_id,
            conversation=self.conversation_id,
            parent=parent_id,
            model=model,
            node=self.node_id,
            now=self.now,
            settings=msgspec.json.encode(self.wanted.settings).decode(),
        )
        return message_id

    def _note(self, tx: Transaction, user_id: str | None, answers: list[str]) -> None:
        tx.run(
            "INSERT INTO chat_send (conversation_id, client_id, user_message_id, answer_ids)"
            " VALUES (:id, :name, :user, :answers)",
            id=self.conversation_id,
            name=self.wanted.client_id,
            user=user_id,
            answers=msgspec.json.encode(answers).decode(),
        )


def first_words(text: str) -> str:
    """A title until there is a better one: the beginning of what was said, cut at a word if it has some."""
    line = " ".join(text.split())
    if len(line) <= TITLE_CHARS:
        return line
    cut = line[:TITLE_CHARS]
    return (cut.rpartition(" ")[0] or cut) + "…"
