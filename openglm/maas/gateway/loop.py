"""Answers of several turns: the model calls tools of MCP servers, the platform runs them and asks it again.

Every turn is an exchange of its own, held and settled by itself under the request's id and the turn's number;
what the client is shown as usage is the sum. A call of the client's own functions ends the loop, and the
client gets it; calls of servers beside it in the same turn are not made then, for nobody could bring their
results back. An errand is kept, and paid for, as one: its turns settle together with the last.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from openglm.dialects.fields import is_object
from openglm.dialects.mcp import McpServer
from openglm.errors import InvalidRequest
from openglm.maas.gateway.admission import Admission
from openglm.maas.gateway.exchange import Exchange, Step
from openglm.maas.gateway.generation import known, open_exchange
from openglm.maas.gateway.tools import check_input
from openglm.maas.ids import new_id
from openglm.maas.mcp import Outcome
from openglm.messages import (
    ChatRequest,
    Event,
    Failure,
    Finish,
    FinishReason,
    LogprobsDelta,
    Message,
    ReasoningDelta,
    ServerCall,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    ToolsListed,
    Usage,
    UsageUpdate,
)

if TYPE_CHECKING:
    from openglm.maas.database import Transaction
    from openglm.maas.gateway.call import Call
    from openglm.maas.limits import Slot
    from openglm.maas.mcp import Toolbox, ToolSource
    from openglm.maas.money import Hold, Receipt
    from openglm.maas.platform import Platform

MAX_TURNS = 12  # of the model; in the last it is offered no tools
MAX_CALLS = 64  # of servers' tools, in all turns together
AT_ONCE = 8  # calls of one turn that run side by side


async def open_answer(
    platform: Platform,
    call: Call,
    chat: ChatRequest,
    servers: Sequence[McpServer],
    *,
    ours: Sequence[ToolSource] = (),
    client_request_id: str | None = None,
    affinity: str | None = None,
    judged: bool = False,
) -> Exchange | Loop:
    """As `open_exchange`, for a chat whose model may call tools of MCP servers, or `ours`."""
    if not servers and not ours:
        return await open_exchange(
            platform, call, chat, client_request_id=client_request_id, affinity=affinity, judged=judged
        )
    if chat.n > 1:
        raise InvalidRequest(
            "n must be 1 where tools of MCP servers are called", param="n", code="invalid_value"
        )
    request = known(platform, call, chat)
    if not judged:
        await check_input(platform, request)
    # Whom limits, money or a name that was used refuse, knocks at nobody's server.
    admission = Admission(platform, call, request, "chat", name=client_request_id)
    await admission.check()
    slot = await admission.place()
    box = None
    try:
        box = await platform.mcp.open(servers, chat.tools, tenant=call.caller.org_id, ours=ours)
        chat = await platform.image_links.read(chat, tenant=call.caller.org_id)  # once, for all turns
        chat = replace(chat, tools=(*chat.tools, *box.specs))
        first = await open_exchange(
            platform,
            call,
            chat,
            client_request_id=client_request_id,
            affinity=affinity,
            judged=True,
            admitted=True,
        )
    except BaseException:
        if slot:
            slot.leave(0)
        if box:
            platform.go_on(box.close())
        raise
    return Loop(platform, call, chat, box=box, slot=slot, exchange=first, affinity=affinity)


class Loop:
    """Iterate it once for its steps, then close it: the face of an Exchange."""

    def __init__(
        self,
        platform: Platform,
        call: Call,
        chat: ChatRequest,
        *,
        box: Toolbox,
        slot: Slot | None,
        exchange: Exchange,
        affinity: str | None,
    ):
        self._platform = platform
        self._call = call
        self._chat = chat
        self._box = box
        self._slot = slot
        self._exchange = exchange
        self._affinity = affinity
        self._turn = 1
        self._index = 0  # of the next call or list in the answer
        self._calls = 0
        self._before = Usage()  # of the turns before this one
        self._most = chat.sampling.max_tokens  # of all turns together
        self._put_off: list[tuple[Hold, asyncio.Task[tuple[Usage, bool]]]] = []  # an errand's turns
        self._receipts: list[Receipt] = []  # of those
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[Step]:
        for server, tools in self._box.listed:
            yield 0, [ToolsListed(self._next(), new_id("mcpl"), server, tools)]
        while True:
            turn = _Turn(self._box, self._index)
            async for _, events in self._exchange:
                if shown := [self._summed(event) for event in turn.read(events)]:
                    yield 0, shown
            self._index = turn.index
            called = turn.called()
            ending = self._ending(turn, called)
            if ending is not None:
                yield 0, [Finish(ending, turn.finish.stop if turn.finish else None)]
                return
            await self._settle()
            async for event in self._outcomes(called):
                yield 0, [event]
            await self._go_on(turn, called)

    def keep(self, also: Callable[[Transaction], None]) -> None:
        """Write this in the transaction of the last turn's bill, where an errand's other turns settle too."""
        settling = []
        for hold, ended in self._put_off:
            usage, estimated = ended.result()
            settling.append(
                self._platform.billing.settling(hold, usage, estimated=estimated, receipts=self._receipts)
            )

        def write(transaction: Transaction) -> None:
            for settle in settling:
                settle(transaction)
            also(transaction)

        self._exchange.keep(write)

    def close(self) -> asyncio.Task[None] | None:
        """Let go, whole or not; what remains to do goes on in a task of the platform's."""
        if self._closed:
            return None
        self._closed = True
        self._platform.go_on(self._box.close())  # no server need wait for the bill
        return self._platform.go_on(self._finish(self._exchange.close()))

    async def _finish(self, settling: asyncio.Task[None] | None) -> None:
        try:
            if settling:
                await settling
            for receipt in self._receipts:
                self._platform.metrics.settled(self._chat.model, receipt)
            paid = {receipt.request_id for receipt in self._receipts}
            for hold, ended in self._put_off:
                await asyncio.gather(ended, return_exceptions=True)
                if hold.id not in paid:
                    await self._platform.billing.void(hold)
        finally:
            if self._slot:
                self._slot.leave((self._before + self._exchange.usage).total_tokens)

    def _next(self) -> int:
        self._index += 1
        return self._index - 1

    def _summed(self, event: Event) -> Event:
        return UsageUpdate(self._before + event.usage) if isinstance(event, UsageUpdate) else event

    def _ending(self, turn: _Turn, called: Sequence[_Called]) -> FinishReason | None:
        """Why the answer ends with this turn; None if the model is to be asked again."""
        reason = turn.finish.reason if turn.finish else "abort"
        if turn.failed or reason in ("length", "abort"):
            return reason
        if turn.clients:
            return "tool_calls"
        if not called:
            return reason
        if self._turn == MAX_TURNS or self._left(turn.usage) == 0:
            return "length"
        return None

    def _left(self, usage: Usage) -> int | None:
        """The tokens that the answer may still have after a turn with this usage."""
        if self._most is None:
            return None
        return max(0, self._most - self._before.completion_tokens - usage.completion_tokens)

    async def _settle(self) -> None:
        """The bill of a turn that has ended, before the next one begins."""
        if self._call.errand is not None:
            ending = self._platform.go_on(self._exchange.put_off())
            self._put_off.append((self._exchange.bill.hold, ending))
            await asyncio.shield(ending)
        else:
            settling = self._exchange.close()
            assert settling is not None, "nobody else closes a turn that goes on"
            await asyncio.shield(settling)  # who leaves meanwhile pays for the turn all the same

    async def _outcomes(self, calls: Sequence[_Called]) -> AsyncIterator[Event]:
        """Run the calls side by side; say each, and its outcome, in their order."""
        free = asyncio.Semaphore(AT_ONCE)

        async def run(called: _Called) -> Outcome:
            self._calls += 1
            if self._calls > MAX_CALLS:
                return Outcome(f"an answer may call at most {MAX_CALLS} tools", failed=True)
            async with free:
                return await self._box.call(called.call)

        running = [asyncio.create_task(run(called)) for called in calls]
        try:
            for called, task in zip(calls, running, strict=True):
                place = self._box.places[called.call.name]
                begun = ServerCall(
                    self._next(),
                    new_id("mcp"),
                    place.server.label,
                    place.tool.name,
                    called.call.arguments,
                )
                yield begun
                outcome = called.outcome = await task
                yield replace(
                    begun,
                    output=None if outcome.failed else outcome.text,
                    error=outcome.text if outcome.failed else None,
                )
        finally:
            for task in running:
                task.cancel()

    async def _go_on(self, turn: _Turn, called: Sequence[_Called]) -> None:
        """Ask the model again, with what the tools gave back."""
        self._turn += 1
        last = self._turn == MAX_TURNS
        self._chat = replace(
            self._chat,
            messages=(*self._chat.messages, turn.message(called), *(one.result() for one in called)),
            tool_choice=ToolChoice("none" if last else "auto"),  # what was demanded has been done
            sampling=replace(self._chat.sampling, max_tokens=self._left(self._exchange.usage)),
        )
        before = self._before + self._exchange.usage
        number, errand = self._turn, self._call.errand
        self._exchange = await open_exchange(
            self._platform,
            replace(
                self._call,
                request_id=_turn_id(self._call.request_id, number),
                errand=f"{errand}#{number}" if errand else None,
            ),
            self._chat,
            client_request_id=f"{self._call.request_id}#{number}",
            affinity=self._affinity,
            judged=True,
            admitted=True,
        )
        self._before = before


def turn_ids(request_id: str) -> list[str]:
    """The ids that the turns of a loop settle under, as far as it has them."""
    return [request_id, *(_turn_id(request_id, number) for number in range(2, MAX_TURNS + 1))]


def _turn_id(request_id: str, number: int) -> str:
    return f"{request_id}-{number}"


@dataclass
class _Called:
    """A call that is ours to make, and what came of it."""

    call: ToolCall
    outcome: Outcome | None = None

    def result(self) -> Message:
        """The outcome as the model reads it."""
        assert self.outcome is not None, "the model is asked again once all calls have ended"
        text = f"The call failed: {self.outcome.text}" if self.outcome.failed else self.outcome.text
        return Message.of("tool", text, tool_call_id=self.call.id, name=self.call.name)


class _Turn:
    """One turn of the model: passes on what the client may see, and collects the calls that are ours."""

    def __init__(self, box: Toolbox, index: int):
        self.index = index  # of the client's next call in the answer
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.finish: Finish | None = None
        self.usage = Usage()
        self.failed = False
        self.clients: dict[int, int] = {}  # the client's calls: the turn's number -> the answer's
        self._box = box
        self._ours: dict[int, list[str]] = {}  # id, name, and pieces of the arguments

    def read(self, events: Sequence[Event]) -> list[Event]:
        shown: list[Event] = []
        for event in events:
            match event:
                case Finish():
                    self.finish = event
                    continue
                case ToolCallDelta():
                    if (kept := self._call(event)) is not None:
                        shown.append(kept)
                    continue
                case TextDelta():
                    self.text.append(event.text)
                case ReasoningDelta():
                    self.reasoning.append(event.text)
                case UsageUpdate():
                    self.usage = event.usage
                case Failure():
                    self.failed = True
                case LogprobsDelta():
                    pass
            shown.append(event)
        return shown

    def _call(self, piece: ToolCallDelta) -> Event | None:
        """A piece of a client's call, renumbered; None for one that is ours."""
        if piece.index in self._ours:
            self._ours[piece.index].append(piece.arguments)
            return None
        if piece.index not in self.clients:
            if piece.name in self._box.places:
                self._ours[piece.index] = [piece.id or new_id("call"), piece.name or "", piece.arguments]
                return None
            self.clients[piece.index] = self.index
            self.index += 1
        return replace(piece, index=self.clients[piece.index])

    def called(self) -> list[_Called]:
        """The calls that are ours to make, in the model's order."""
        return [
            _Called(ToolCall(call_id, name, "".join(pieces) or "{}"))
            for _, (call_id, name, *pieces) in sorted(self._ours.items())
        ]

    def message(self, called: Sequence[_Called]) -> Message:
        """What the model said, as it reads it in the next turn."""
        calls = (one.call for one in called)
        return Message(
            "assistant",
            Message.of("assistant", "".join(self.text)).parts,
            reasoning="".join(self.reasoning) or None,
            tool_calls=tuple(
                call if is_object(call.arguments) else replace(call, arguments="{}") for call in calls
            ),
        )
