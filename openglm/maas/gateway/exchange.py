"""One metered answer: the hold before it, the upstream's events, and the settlement whatever happens.

An Exchange is iterated by whoever sends the answer and closed by them. Closing never waits: what remains to
do (stopping the upstream, reading its last usage, settling) goes on in a task of the platform's own, so that
neither a client that leaves nor a server that stops loses a token of usage.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING

from openglm.errors import OpenGLMError
from openglm.maas.gateway.prompts import answers, count, prompt_guess, text_guess
from openglm.messages import (
    ChatRequest,
    CompletionRequest,
    Event,
    Failure,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)

if TYPE_CHECKING:
    from openglm.maas.database import Transaction
    from openglm.maas.gateway.call import Call
    from openglm.maas.limits import Slot
    from openglm.maas.money import Bill
    from openglm.maas.platform import Platform
    from openglm.maas.upstreams import UpstreamAnswer

logger = logging.getLogger(__name__)

HELD_OUTPUT = 1024  # output tokens that the first hold covers; it grows while the answer does
MARGIN = 128  # tokens left of the hold when it grows

Step = tuple[int, Sequence[Event]]


class Exchange:
    """Iterate it once for its steps, then close it."""

    def __init__(
        self,
        platform: Platform,
        call: Call,
        request: ChatRequest | CompletionRequest,
        *,
        slot: Slot | None,
        bill: Bill,
        answer: UpstreamAnswer,
        covered: int,
        prompt_first: bool = False,
    ):
        """`prompt_first`: the first step tells the prompt's tokens, also where the server tells them late."""
        self._platform = platform
        self._call = call
        self._request = request
        self._slot = slot
        self._bill = bill
        self._answer = answer
        self._covered = covered  # output tokens that the hold pays for
        # That the answer may have at all, if the caller said so
        self._most = request.sampling.max_tokens and request.sampling.max_tokens * answers(request)
        self._text: list[str] = []  # of an answer whose upstream has told no usage yet
        self._produced = False
        self._closed = False
        self._whole = False
        self._prompt_first = prompt_first
        self._prompt: int | None = None  # its tokens, once they were counted here
        self._usage: Usage | None = None
        self._estimated: Usage | None = None  # where the server told none
        self._first_token_ms: int | None = None
        self._also: Callable[[Transaction], None] | None = None

    async def __aiter__(self) -> AsyncIterator[Step]:
        while step := await self._answer.step():
            self._meter(step[1])
            if self._prompt_first and self._usage is None:
                yield 0, [UsageUpdate(Usage(input_uncached=await self._count()))]
            self._prompt_first = False
            if self._usage and self._usage.completion_tokens > self._covered - MARGIN:
                await self._grow(self._usage)
            yield step
        self._whole = self._call.errand is None  # whose answer is worth nothing before it is kept
        if self._answer.usage is None and self._produced:  # the client is told what the bill will say
            self._estimated = await self._estimate()
            yield 0, [UsageUpdate(self._estimated)]
        self._whole = True

    def keep(self, also: Callable[[Transaction], None]) -> None:
        """Write this in the transaction of the bill, so that neither is there without the other."""
        self._also = also

    @property
    def usage(self) -> Usage:
        """What is known of it so far; once the bill is written, what it says."""
        return self._usage or Usage()

    @property
    def bill(self) -> Bill:
        return self._bill

    async def put_off(self) -> tuple[Usage, bool]:
        """Let go of a whole answer and leave its bill open, to be settled together with others: the usage,
        and whether it is estimated."""
        self._closed = True
        await self._answer.leave()
        self._usage, estimated = await self._measured()
        self._platform.metrics.answered(
            self._call.surface.name, self._request.model, self._whole, self._first_token_ms
        )
        return self.usage, estimated

    def close(self) -> asyncio.Task[None] | None:
        """Let go of the answer, whole or not. Returns at once; the bill is written behind it, by a task."""
        if self._closed:
            return None
        self._closed = True
        return self._platform.go_on(self._finish())

    def _meter(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, UsageUpdate):
                self._usage = event.usage
                self._text.clear()
                # A try that dies unseen is made again: nobody pays for the first.
                if self._call.errand is None:
                    self._bill.checkpoint(event.usage)
            elif isinstance(event, TextDelta | ReasoningDelta):
                self._note(event.text)
            elif isinstance(event, ToolCallDelta):
                self._note((event.name or "") + event.arguments)
            elif isinstance(event, Failure):
                logger.warning("request %s broke off: %s", self._call.request_id, event.message)

    def _note(self, text: str) -> None:
        if not self._produced:
            self._produced = True
            self._first_token_ms = self._platform.clock() - self._call.received_ms
        if self._usage is None:
            self._text.append(text)

    async def _grow(self, usage: Usage) -> None:
        used = usage.completion_tokens
        wanted = used + HELD_OUTPUT
        if (
            self._most and used <= self._most
        ):  # a server that writes more than it was asked for goes on holding
            wanted = min(wanted, self._most)
        if wanted > self._covered:
            await self._bill.cover(usage, wanted - used)
            self._covered = wanted

    async def _finish(self) -> None:
        """Stop what still runs, learn the last usage, settle: in this order, always."""
        call, model = self._call, self._request.model
        try:
            async with self._bill as bill:
                try:
                    await self._answer.leave()
                finally:
                    await self._note_usage(bill)
            if bill.receipt:
                self._platform.metrics.settled(model, bill.receipt)
        except Exception as error:
            logger.error("request %s is not settled", call.request_id, exc_info=error)
            if call.errand is not None:  # what is not paid for must not be delivered
                raise
        finally:
            self._platform.metrics.answered(call.surface.name, model, self._whole, self._first_token_ms)
            if self._slot:
                self._slot.leave(self._usage.total_tokens if self._usage else 0)

    async def _note_usage(self, bill: Bill) -> None:
        """What there is to pay for: nothing, if nothing came or if the try will be made again."""
        usage, estimated = await self._measured()
        self._usage = usage
        if usage is None or not (self._whole or self._produced or usage.completion_tokens):
            return
        if self._call.errand is not None and not self._whole:
            return
        bill.used(
            usage,
            status="ok" if self._whole else "partial",
            estimated=estimated,
            ttft_ms=self._first_token_ms,
            duration_ms=self._platform.clock() - self._call.received_ms,
            also=self._also,
        )

    async def _measured(self) -> tuple[Usage | None, bool]:
        """The last usage of an upstream that has been left, and whether it is estimated."""
        usage = self._answer.usage
        if usage is None and self._produced:
            return self._estimated or await self._estimate(), True
        return usage, False

    async def _estimate(self) -> Usage:
        """An upstream that told no usage: count with the model's own tokenizer, reasoning included."""
        request, text, prompt = self._request, "".join(self._text), await self._count()
        try:
            answer = await self._platform.router.count_tokens(
                text, request.model, request_id=self._call.request_id
            )
        except OpenGLMError as error:
            logger.warning("request %s is billed by its length: %s", self._call.request_id, error.message)
            answer = text_guess(text)
        return Usage(input_uncached=prompt, output_text=answer)

    async def _count(self) -> int:
        """The prompt's tokens, counted once."""
        if self._prompt is None:
            try:
                self._prompt = await count(self._platform, self._call, self._request)
            except OpenGLMError as error:
                logger.info("request %s could not be counted: %s", self._call.request_id, error.message)
                self._prompt = prompt_guess(self._request)
        return self._prompt
