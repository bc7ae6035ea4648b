"""The room: its parts by name, the answers that are being written here, and who is told of what.

What listeners hear of an answer, and what a reader of the conversation sees, comes from the same draft; both
are taken without anything in between, so that a number of the feed and a text always belong together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from openglm.chat.attachments import Attachments
from openglm.chat.conversations import SEEN, Conversations, forget
from openglm.chat.feed import Feeds
from openglm.chat.generation import SURFACE, Generation
from openglm.chat.keeper import Keeper
from openglm.chat.memory import Memory
from openglm.chat.owner import Owner
from openglm.chat.pictures import talkers
from openglm.chat.pieces import PIECES, pieces_of
from openglm.chat.shapes import Conversation, Message, Row, conversation_of, message_of
from openglm.chat.shares import Shares
from openglm.chat.shelf import Shelf
from openglm.chat.takeover import Takeover
from openglm.chat.titles import title_of
from openglm.chat.tree import Tree
from openglm.chat.turns import Begun, Turns
from openglm.errors import NotFound, Overloaded

if TYPE_CHECKING:
    from openglm.chat.owner import Asker
    from openglm.maas.database import Transaction
    from openglm.maas.identity import Caller
    from openglm.maas.platform import Platform

LOOK_AGAIN_S = 0.2  # at an answer that another node writes and shall stop


@dataclass(frozen=True, slots=True)
class Shown:
    """Messages, where the part of the path before them ends, and the feed's last event that is in them."""

    messages: list[Message]
    earlier: str | None
    at: str


class Chat:
    """One for each platform."""

    def __init__(self, platform: Platform):
        self.platform = platform
        self.database = platform.database
        self.clock = platform.clock
        self.node_id = platform.billing.node_id
        self.conversations = Conversations(self.database, self.clock)
        self.tree = Tree(self.database)
        self.turns = Turns(self.database, node_id=self.node_id, clock=self.clock)
        self.shelf = Shelf(self.database, platform.secrets, self.clock)
        self.memory = Memory(self.database, self.shelf)
        self.attachments = Attachments(platform)
        self.shares = Shares(self.database, self.clock)
        self.takeover = Takeover(self.database)
        self.keeper = Keeper(self)
        self.feeds = Feeds()
        self.feeds.busy = lambda key: any(one.conversation_id == key for one in self.generations.values())
        self.generations: dict[str, Generation] = {}  # by message
        self._stopping = False

    async def start(self) -> None:
        """After the platform."""
        await self.keeper.start()

    async def ending(self) -> None:
        """While the server's last requests end: listeners go, answers may go on."""
        self._stopping = True
        self.feeds.end()
        await self._written()

    def refuse(self) -> None:
        """The grace is over: what is still being written is interrupted where it stands."""
        self._stopping = True
        for one in list(self.generations.values()):
            one.stop("interrupted")

    async def stop(self) -> None:
        """Before the platform."""
        self.refuse()
        await self._written()
        await self.keeper.stop()
        self.feeds.end()

    async def _written(self) -> None:
        for one in list(self.generations.values()):
            await one.over.wait()

    async def default_model(self, caller: Caller) -> str:
        """What answers where nobody chose, in words if it can; empty where nothing is there."""
        names = await talkers(self.platform, caller) or self.platform.models_of(caller)
        return self.platform.models.preferred(names) or ""

    # Answers

    def check_open(self) -> None:
        if self._stopping:
            raise Overloaded("the server is stopping", hint="try again in a moment")

    async def begin(
        self, asker: Asker, conversation_id: str, begun: Begun, settings: Mapping[str, Any]
    ) -> tuple[Message | None, list[Message]]:
        """Start the answers of a turn, if they are not there already: the user's message, and the answers."""
        ids = [*([begun.user_id] if begun.user_id else []), *begun.answer_ids]
        rows = [await self.tree.message(conversation_id, name) for name in ids]
        siblings = await self.tree.siblings(conversation_id, {row["parent_id"] for row in rows})
        if begun.fresh:
            for row in rows:
                message = message_of(row, siblings[row["parent_id"]])
                if row["role"] == "assistant":
                    self._go(asker, conversation_id, message, settings)
                self.feeds.tell(conversation_id, "message", message)
            await self.changed(conversation_id)
        messages = self._over(rows, siblings)
        return (messages.pop(0) if begun.user_id else None), messages

    def _go(self, asker: Asker, conversation_id: str, message: Message, settings: Mapping[str, Any]) -> None:
        one = Generation(
            self,
            asker=asker,
            conversation_id=conversation_id,
            message=message,
            settings=dict(settings),
        )
        self.generations[message.id] = one
        self.platform.go_on(one.run())

    async def ended(self, one: Generation) -> None:
        """The row of an answer is written: from here on it is what everybody reads."""
        try:
            row = await self.tree.message(one.conversation_id, one.draft.id)
        except NotFound:  # deleted meanwhile
            del self.generations[one.draft.id]
            return
        siblings = await self.tree.siblings(one.conversation_id, {row["parent_id"]})
        del self.generations[one.draft.id]
        message = message_of(row, siblings[row["parent_id"]])
        self.feeds.tell(one.conversation_id, "message", message)
        await self.changed(one.conversation_id)
        if message.state == "done" and message.text and not self._stopping:
            self.platform.go_on(self._title(one, message))

    async def stop_answer(self, message_id: str) -> None:
        """Stop it wherever it is written; back when its row is."""
        if one := self.generations.get(message_id):
            one.stop("stopped")
            await one.over.wait()
            return

        def ask(tx: Transaction) -> int:
            return tx.run(
                "UPDATE chat_message SET stop_at = :now WHERE id = :id AND state = 'running'",
                now=self.clock(),
                id=message_id,
            )

        if await self.database.write(ask):
            while await self.database.read_one(
                "SELECT 1 FROM chat_message WHERE id = :id AND state = 'running'", id=message_id
            ):
                await asyncio.sleep(LOOK_AGAIN_S)

    async def drop(self, conversation_id: str) -> None:
        """Delete a conversation, whoever's; what is being written in it stops."""
        for one in [one for one in self.generations.values() if one.conversation_id == conversation_id]:
            one.stop("stopped")
        await self.attachments.drop("conversation_id = :id", id=conversation_id)
        await self.database.write(lambda tx: forget(tx, conversation_id), durable=True)
        self.feeds.drop(conversation_id)

    # What readers see

    async def shown(self, conversation_id: str, leaf_id: str | None, limit: int) -> Shown:
        """The end of the path to a leaf, with what is being written in it as it stands now."""
        while True:
            path = await self.tree.path(conversation_id, leaf_id, limit)
            rows = await self._from_elsewhere(path.rows)
            # One that ended between the reading and now is neither here nor in what was read.
            if all(row["node_id"] != self.node_id or row["id"] in self.generations for row in _running(rows)):
                messages = self._over(rows, path.siblings)
                return Shown(messages, path.earlier, self.feeds.of(conversation_id).at)

    async def running(self, conversation_id: str) -> list[Message]:
        """The messages that are being written, whole, as of the feed's last event."""
        rows = await self.database.read(
            "SELECT * FROM chat_message WHERE conversation_id = :id AND state = 'running' ORDER BY id",
            id=conversation_id,
        )
        siblings = await self.tree.siblings(conversation_id, {row["parent_id"] for row in rows})
        rows = await self._from_elsewhere(rows)
        known = {row["id"] for row in rows}
        late = []  # begun between the reading and now
        for one in self.generations.values():
            if one.conversation_id == conversation_id and one.draft.id not in known:
                one.tell()
                late.append(one.draft.message())
        here = [row for row in rows if row["node_id"] != self.node_id or row["id"] in self.generations]
        return [*self._over(here, siblings), *late]

    async def whole(self, conversation_id: str) -> list[Message]:
        """All messages of the tree, parents first."""
        rows = await self.database.read(
            "SELECT * FROM chat_message WHERE conversation_id = :id ORDER BY id", id=conversation_id
        )
        return self._over(await self._from_elsewhere(rows), {})

    async def encoded(self, data: object) -> bytes:
        """As JSON, away from the loop: a tree may be large."""
        return await asyncio.to_thread(msgspec.json.encode, data)

    def _over(self, rows: Sequence[Row], siblings: Mapping[str | None, list[str]]) -> list[Message]:
        """Rows as messages; those that are written here as their drafts stand, everything told."""
        messages = []
        for row in rows:
            one = self.generations.get(row["id"]) if row["state"] == "running" else None
            if one is not None:
                one.tell()
                messages.append(one.draft.message(siblings.get(row["parent_id"])))
            else:
                messages.append(message_of(row, siblings.get(row["parent_id"], ())))
        return messages

    async def _from_elsewhere(self, rows: Sequence[Row]) -> list[Row]:
        """Answers that another node writes have their text in pieces so far."""
        return [
            {**row, **pieces_of(await self.database.read(PIECES, id=row["id"]))}
            if row["state"] == "running" and row["node_id"] != self.node_id
            else row
            for row in rows
        ]

    # Who is told

    async def changed(self, conversation_id: str, *message_ids: str) -> None:
        """Tell of messages that were changed in the database, and of the conversation's row."""
        for message_id in message_ids:
            row = await self.tree.message(conversation_id, message_id)
            siblings = await self.tree.siblings(conversation_id, {row["parent_id"]})
            for message in self._over(await self._from_elsewhere([row]), siblings):
                self.feeds.tell(conversation_id, "message", message)
        found = await self.database.read_one(f"{SEEN} WHERE c.id = :id", id=conversation_id)
        if found is not None:
            self.tell_conversation(Owner(found["org_id"], found["user_id"]), conversation_of(found))

    def tell_conversation(self, owner: Owner, conversation: Conversation) -> None:
        self.feeds.tell(conversation.id, "conversation", conversation)
        if not conversation.temporary:
            self.feeds.tell(owner, "conversation", conversation)

    async def _title(self, one: Generation, answer: Message) -> None:
        """After the first exchange, unless the user has named the conversation."""
        assert answer.parent_id is not None, "an answer follows a message"
        asked = await self.tree.message(one.conversation_id, answer.parent_id)
        found = await self.database.read_one(
            "SELECT titled_by, temporary FROM chat_conversation WHERE id = :id", id=one.conversation_id
        )
        if asked["parent_id"] is not None or not found or found["titled_by"] != "words" or found["temporary"]:
            return
        title = await title_of(
            self, one.caller, SURFACE, answer.model or "", asked=asked["text"], answered=answer.text
        )
        if title is None:
            return
        await self.database.write(
            lambda tx: tx.run(
                "UPDATE chat_conversation SET title = :title, titled_by = 'model'"
                " WHERE id = :id AND titled_by = 'words'",
                title=title,
                id=one.conversation_id,
            )
        )
        await self.changed(one.conversation_id)


def _running(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["state"] == "running"]
