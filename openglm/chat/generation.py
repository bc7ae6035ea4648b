"""One answer, made by the server whoever listens: from the prompt to the last row.

It takes the gateway's road, so it is held, limited, judged and paid as any request. Stopping it lets go of
the upstream in order, which is what makes its usage exact; the row is written when the bill is.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from openglm.chat.bill import bill_of
from openglm.chat.draft import Draft, kept
from openglm.chat.pictures import Drawing, draws
from openglm.chat.prompt import attached, history, request_of, shorter, turn_of
from openglm.chat.search import index, words_apart
from openglm.chat.setting import Setting, setting_of
from openglm.chat.shapes import Failure, Message, Row, State
from openglm.chat.tools import RoomTools
from openglm.dialects import openai
from openglm.errors import InvalidRequest, OpenGLMError, PromptTooLong
from openglm.maas.database import DatabaseDown
from openglm.maas.gateway import Call, Surface, open_answer
from openglm.maas.ids import new_id
from openglm.maas.knowledge import Question
from openglm.messages import Event, ReasoningDelta, TextDelta
from openglm.messages import Message as Turn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openglm.chat.owner import Asker
    from openglm.chat.room import Chat
    from openglm.maas.database import Transaction
    from openglm.maas.gateway import Exchange, Loop
    from openglm.messages import ChatRequest

logger = logging.getLogger(__name__)

SURFACE = Surface("chat", lambda error, request_id: openai.encode_error(error), payer="either")
PATH = "/api/chat"  # as usage rows name it
GATHER_S = 0.025  # that deltas wait for company
TRIES = 6  # at a prompt that is too long
KNOWLEDGE_CHARS, QUOTE_CHARS = 20_000, 1_000  # of what knowledge bases know: in a prompt, of one citation
AGAIN_S = 1.0  # before a row that the database did not take is written again


class Generation:
    def __init__(
        self,
        chat: Chat,
        *,
        asker: Asker,
        conversation_id: str,
        message: Message,
        settings: dict[str, Any],
    ):
        self.conversation_id = conversation_id
        self.caller = asker.caller
        self.owner = asker.owner
        self.draft = Draft(message)
        self.over = asyncio.Event()
        self._chat = chat
        self._message = message
        self._settings = settings
        self._answering: asyncio.Task[None] | None = None
        self._stopped: Literal["stopped", "interrupted"] | None = None
        self._exchange: Exchange | Loop | None = None
        self._drawing: Drawing | None = None
        self._request_id: str | None = None
        self._begun_ms = chat.clock()
        self._first_ms: int | None = None
        self._thinking = False
        self._thought_ms: int | None = None  # from the first thought to the first word
        self._marks = 0  # of citations
        self._left_out = 0  # of the oldest messages, before the model's window was asked
        self._told_at = 0.0
        self._telling: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """The answer to its end, whatever that is. Nobody waits for one that broke."""
        try:
            await self._run()
        finally:
            self._chat.generations.pop(self.draft.id, None)
            self.over.set()

    async def _run(self) -> None:
        error: Exception | None = None
        if self._stopped is None:
            self._answering = asyncio.create_task(self._answer())
            await asyncio.wait({self._answering})
            error = None if self._answering.cancelled() else self._answering.exception()  # type: ignore[assignment]
        if self._exchange is not None and (settling := self._exchange.close()):
            await asyncio.wait({settling})
        await self._end(*self._outcome(error))
        if self._stopped is not None and self._drawing and self._drawing.work:
            self._chat.platform.go_on(self._late(self._drawing.work))

    def stop(self, state: Literal["stopped", "interrupted"]) -> None:
        """Let go of the upstream; `over` is set once the bill and the row are written."""
        if self._stopped is None and not (self._answering and self._answering.done()):
            self._stopped = state
            if self._answering is not None:
                self._answering.cancel()

    def tell(self) -> None:
        """Tell listeners what they have not heard yet."""
        if self._telling:
            self._telling.cancel()
            self._telling = None
        self._told_at = asyncio.get_running_loop().time()
        if delta := self.draft.untold():
            self._chat.feeds.tell(self.conversation_id, "delta", delta)

    async def _answer(self) -> None:
        setting = await self._setting()
        if await draws(self._chat.platform, self._message.model or ""):
            await self._draw(setting)
            return
        request = await self._prompt(setting)
        self._exchange = await self._open(request, setting)
        async for _, events in self._exchange:
            self._read(events)

    async def _draw(self, setting: Setting) -> None:
        """Pictures of what was said last; what was said before is not told to models that draw."""
        assert self._message.parent_id is not None, "an answer follows a message"
        asked = await self._chat.tree.message(self.conversation_id, self._message.parent_id)
        if attached(asked):
            raise InvalidRequest(
                "this model draws from words alone, and files came with them",
                hint="send the words without files, or ask another model",
            )
        self._drawing = Drawing(self._chat, await self._call(), self.owner, asked)
        number = setting.settings.get("pictures") or 1
        for part in await self._drawing.parts(self._message.model or "", number):
            self.draft.add_part(part)
        self.draft.finish = "stop"

    async def _setting(self) -> Setting:
        conversation = await self._chat.conversations.row(self.owner, self.conversation_id)
        return await setting_of(self._chat, self.owner, conversation, self._settings)

    async def _prompt(self, setting: Setting) -> ChatRequest:
        """What was said, with attachments and, before the question, what knowledge bases know of it."""
        chat, parent_id = self._chat, self._message.parent_id
        assert parent_id is not None, "an answer follows a message"
        rows, self._left_out = await history(chat.tree, self.conversation_id, parent_id)
        turns = [turn for row in rows if (turn := await self._turn(row))]
        # A base that was deleted since says nothing.
        if bases := await chat.platform.knowledge.there(self.caller, setting.knowledge):
            turns.insert(-1, await self._knowledge(bases, rows[-1]["text"]))
        model = self._message.model or ""
        return request_of(model, turns, setting.settings, instructions=setting.instructions)

    async def _turn(self, row: Row) -> Turn | None:
        files = attached(row)
        if row["role"] == "user" and files:
            return await self._chat.attachments.turn(self.owner, row["text"], files, images=True)
        return turn_of(row)

    async def _knowledge(self, bases: Sequence[str], question: str) -> Turn:
        """The spans that answer the question, each a citation of the message under the mark it is told by."""
        found = await self._chat.platform.knowledge.retrieve(self.caller, Question(question[:1000]), bases)
        told = []
        for one in found:
            mark = self._cite(
                {
                    "title": one.document,
                    "document_id": one.document_id,
                    "url": one.url,
                    "start": one.start,
                    "end": one.end,
                    "quote": kept(one.text[:QUOTE_CHARS]),
                }
            )
            told.append(f"[{mark}] {one.document}\n{one.text}")
        text = "\n\n".join(told)[:KNOWLEDGE_CHARS] or "Nothing was found that belongs to the question."
        return Turn.of("system", f"Knowledge. Cite it by its marks where you use it.\n\n{text}")

    def _cite(self, citation: dict[str, Any]) -> int:
        """Show where something is from; the mark that the model is told to cite it by."""
        self._marks += 1
        self.draft.add_part({"type": "citation", "id": str(self._marks), **citation})
        self._tell_whole()
        return self._marks

    async def _open(self, request: ChatRequest, setting: Setting) -> Exchange | Loop:
        """The answer's road. Where the model's window is too small, the oldest turns stay out, and a part of
        the message says so."""
        whole = len(request.messages)
        for _ in range(TRIES):
            try:
                call = await self._call()
                exchange = await open_answer(
                    self._chat.platform,
                    call,
                    request,
                    setting.servers,
                    ours=self._tools(call, setting),
                    affinity=self.conversation_id,
                )
            except PromptTooLong as error:
                less = shorter(request, error)
                if less is None:
                    raise
                request = less
                continue
            if left_out := self._left_out + whole - len(request.messages):
                self.draft.add_part({"type": "cut", "messages": left_out})
                self._tell_whole()
            return exchange
        raise PromptTooLong("the conversation does not fit into the model's window", hint="begin a new one")

    def _tools(self, call: Call, setting: Setting) -> tuple[RoomTools, ...]:
        if not setting.tools:
            return ()
        chat = self._chat
        return (
            RoomTools(
                chat.platform,
                chat.memory,
                call=call,
                owner=self.owner,
                offered=setting.tools,
                cite=self._cite,
            ),
        )

    async def _call(self) -> Call:
        """The request as the gateway knows it. Its id is in the row before anything is held, so that whoever
        finds the row after a crash finds its bill."""
        now = self._chat.clock()
        self._request_id = request_id = new_id("req", now)
        await self._chat.database.write(
            lambda tx: tx.run(
                "UPDATE chat_message SET request_id = :request WHERE id = :id",
                request=request_id,
                id=self.draft.id,
            )
        )
        return Call({"type": "http", "headers": [], "path": PATH}, b"", self.caller, SURFACE, request_id, now)

    def _read(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, TextDelta | ReasoningDelta):
                now = self._chat.clock()
                if self._first_ms is None:
                    self._first_ms = now
                if isinstance(event, ReasoningDelta):
                    self._thinking = True
                elif self._thinking and self._thought_ms is None:
                    self._thought_ms = now - self._first_ms
        if self.draft.read(events):
            self._tell_whole()
        elif asyncio.get_running_loop().time() - self._told_at >= GATHER_S:
            self.tell()
        elif self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(GATHER_S, self.tell)

    def _tell_whole(self) -> None:
        self.tell()
        self._chat.feeds.tell(self.conversation_id, "message", self.draft.message())

    def _outcome(self, error: Exception | None) -> tuple[State, Failure | None]:
        if self._stopped is not None:
            return self._stopped, None
        if error is not None:
            if not isinstance(error, OpenGLMError):
                logger.error("the answer %s failed", self.draft.id, exc_info=error)
            return "failed", failure_of(error)
        if self.draft.failure is not None:
            told = openai.encode_failure(self.draft.failure).body["error"]
            return "failed", Failure(told["code"], told["message"], None)
        return "done", None

    async def _end(self, state: State, failure: Failure | None) -> None:
        """Write the row, then tell it: in this order, always, and until it is written."""
        self.tell()
        self.draft.version += 1
        words = await words_apart(self.draft.text())
        while True:
            try:
                await self._chat.database.write(
                    lambda tx: self._write(tx, state, failure, words), durable=True
                )
                break
            except DatabaseDown:
                await asyncio.sleep(AGAIN_S)
        await self._chat.ended(self)

    async def _late(self, work: asyncio.Task[list[dict[str, Any]]]) -> None:
        """Pictures that were being drawn when the answer was stopped are paid for, so they are shown."""
        try:
            parts = await work
        except OpenGLMError:
            return
        chat = self._chat
        parts = [{**part, "at": 0} for part in parts]

        def write(tx: Transaction) -> int:
            bill = bill_of(tx, self._request_id)
            tx.run(  # pages that listen to no answer any more hear of it by its conversation
                "UPDATE chat_conversation SET updated_at = :now WHERE id = :id",
                now=chat.clock(),
                id=self.conversation_id,
            )
            return tx.run(
                "UPDATE chat_message SET parts = :parts, bill = :bill, version = version + 1 WHERE id = :id",
                parts=msgspec.json.encode(parts).decode(),
                bill=None if bill is None else msgspec.json.encode(bill).decode(),
                id=self.draft.id,
            )

        if await chat.database.write(write, durable=True):
            await chat.changed(self.conversation_id, self.draft.id)
        else:  # the conversation was deleted meanwhile
            await chat.attachments.drop("conversation_id = :id", id=self.conversation_id)

    def _write(self, tx: Transaction, state: State, failure: Failure | None, words: Sequence[str]) -> None:
        draft, now = self.draft, self._chat.clock()
        bill = bill_of(tx, self._request_id)
        thought = self._thought_ms
        if thought is None and self._thinking and self._first_ms is not None:
            thought = now - self._first_ms
        tx.run(
            "UPDATE chat_message SET state = :state, text = :text, reasoning = :reasoning, parts = :parts,"
            " finish = :finish, error = :error, bill = :bill, ttft_ms = :ttft, reasoning_ms = :thought,"
            " duration_ms = :duration, version = :version, node_id = NULL"
            " WHERE id = :id AND state = 'running'",
            state=state,
            text=draft.text("text"),
            reasoning=draft.text("reasoning"),
            parts=msgspec.json.encode(draft.parts).decode(),
            finish=draft.finish,
            error=None if failure is None else msgspec.json.encode(failure).decode(),
            bill=None if bill is None else msgspec.json.encode(bill).decode(),
            ttft=None if self._first_ms is None else self._first_ms - self._begun_ms,
            thought=thought,
            duration=now - self._begun_ms,
            version=draft.version,
            id=draft.id,
        )
        tx.run("DELETE FROM chat_piece WHERE message_id = :id", id=draft.id)
        index(tx, draft.id, words)


def failure_of(error: Exception) -> Failure:
    """What the platform says of an error, with its code and hint."""
    told = openai.encode_error(error).body["error"]
    if isinstance(error, OpenGLMError):
        return Failure(told["code"], error.message, error.hint)
    return Failure(told["code"], told["message"], None)
