"""The road of an answer: who may, the hold, the upstream. An Exchange comes back, to iterate and close.

Limits come before the hold, so that waiting costs nobody money, and the hold before the upstream: no token
without money behind it. Nothing is left behind by whoever leaves in between.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from openglm.asgi.events import Answer
from openglm.dialects.wire import AnswerObject
from openglm.errors import EngineFailure, InvalidRequest, Overloaded, PaymentRequired
from openglm.maas.gateway.call import Call
from openglm.maas.gateway.exchange import HELD_OUTPUT, Exchange, Step
from openglm.maas.gateway.prompts import Request, count, prompt_bound
from openglm.maas.gateway.tools import check_input
from openglm.maas.money import Ask, Hold
from openglm.maas.upstreams.answer import Abandoned
from openglm.messages import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    ImageRequest,
    Usage,
)

if TYPE_CHECKING:
    from openglm.maas.database import Transaction
    from openglm.maas.limits import Slot
    from openglm.maas.platform import Platform

Known = TypeVar("Known", bound=ChatRequest | CompletionRequest | EmbeddingRequest | ImageRequest)


async def open_exchange(
    platform: Platform,
    call: Call,
    request: ChatRequest | CompletionRequest,
    *,
    client_request_id: str | None = None,
    affinity: str | None = None,
    judged: bool = False,
    admitted: bool = False,
) -> Exchange:
    """Admit a request and start its answer; raises what refuses it, charged with nothing.

    `client_request_id`: the caller's own name for it, of which no two may run or have been answered;
    `affinity`: what it calls its conversation, so that cached prefixes are met again; `judged`: it has
    passed the moderation hook already; `admitted`: a slot of the limits is held for it.
    """
    request = known(platform, call, request)
    if not judged:
        await check_input(platform, request)
    prompt = prompt_bound(request)
    answers = request.n * (len(request.prompts) if isinstance(request, CompletionRequest) else 1)
    covered = min(request.sampling.max_tokens or HELD_OUTPUT, HELD_OUTPUT) * answers
    kind = "chat" if isinstance(request, ChatRequest) else "completion"
    # A batch waits in the model's own queue instead.
    admitted = admitted or call.batch
    slot = None if admitted else entered(platform, call, request.model, prompt + covered)
    try:
        hold = await held(
            platform, call, request, kind=kind, prompt=prompt, output=covered, name=client_request_id
        )
        try:
            answer = await platform.router.stream(
                request,
                request_id=call.request_id,
                affinity=f"{call.caller.org_id}:{affinity[:200]}" if affinity else call.affinity,
                tenant=call.caller.org_id,
            )
        except Abandoned as left:
            if call.errand is not None:  # it is made again: nobody pays for a try that nobody saw
                platform.go_on(platform.billing.void(hold))
                raise
            Exchange(
                platform, call, request, slot=None, hold=hold, answer=left.answer, covered=covered
            ).close()
            raise
        except BaseException:
            platform.go_on(platform.billing.void(hold))
            raise
    except BaseException:
        if slot:
            slot.leave(0)
        raise
    return Exchange(platform, call, request, slot=slot, hold=hold, answer=answer, covered=covered)


async def embed(
    platform: Platform,
    call: Call,
    request: EmbeddingRequest,
    *,
    client_request_id: str | None = None,
    also: Callable[[list[array[float]], int], Callable[[Transaction], None]] | None = None,
) -> tuple[list[array[float]], int]:
    """The vectors of a request's inputs and the tokens they were billed for.

    `also` makes of them what is written in the transaction of the bill.
    """
    request = known(platform, call, request)
    prompt = prompt_bound(request)
    slot = None if call.batch else entered(platform, call, request.model, prompt)
    try:
        hold = await held(
            platform, call, request, kind="embedding", prompt=prompt, output=0, name=client_request_id
        )
    except BaseException:
        if slot:
            slot.leave(0)
        raise

    async def work() -> tuple[list[array[float]], int]:
        tokens = 0
        try:
            try:
                vectors, tokens = await platform.router.embed(
                    request, request_id=call.request_id, tenant=call.caller.org_id
                )
            except BaseException:
                await platform.billing.void(hold)
                raise
            kept = also(vectors, tokens) if also else None
            usage = Usage(input_uncached=tokens)
            receipt = await platform.billing.settle(hold, usage, status="ok", also=kept)
            platform.metrics.settled(request.model, receipt)
            return vectors, tokens
        finally:
            if slot:
                slot.leave(tokens)

    # Once asked, the model's server works to the end: so does the bill, though the client leave.
    return await asyncio.shield(platform.go_on(work()))


async def whole(exchange: Answer, into: AnswerObject) -> AnswerObject:
    """Collect an answer to its end and let go of it. One that breaks off is raised."""
    try:
        return await collect(exchange, into)
    finally:
        exchange.close()


async def collect(exchange: AsyncIterable[Step], into: AnswerObject) -> AnswerObject:
    async for choice, events in exchange:
        into.add(choice, events)
        if into.failure is not None:
            error = Overloaded if into.failure.retryable else EngineFailure
            raise error(into.failure.message)
    return into


def known(platform: Platform, call: Call, request: Known) -> Known:
    """The request, if the caller may use its model; cached prefixes are never shared between tenants."""
    if not request.model:
        raise InvalidRequest(
            "model is missing", param="model", code="missing_field", hint="GET /v1/models lists them"
        )
    call.caller.may_use(request.model)
    platform.models.check(call.caller, request.model)
    target = platform.models.target(request.model)
    if target != request.model:
        platform.models.check(call.caller, target)
        request = replace(request, model=target)
    platform.router.check(target)
    if isinstance(request, EmbeddingRequest | ImageRequest):
        return request
    return replace(request, cache_salt=f"{call.caller.org_id}/{request.cache_salt}")


def entered(platform: Platform, call: Call, model: str, tokens: int) -> Slot:
    """The slot of a request. An adapter shares the limits of its base: they run on the same server."""
    return platform.limits.enter(call.caller, platform.models.base_of(model) or model, tokens)


async def held(
    platform: Platform,
    call: Call,
    request: Request,
    *,
    kind: str,
    prompt: int,
    output: int,
    name: str | None = None,
) -> Hold:
    """The hold for a request. The prompt's bytes bound its tokens, which is quick; where the balance is too
    small for the bound, the tokens are counted exactly before anybody is refused."""
    caller = call.caller
    ask = Ask(
        request_id=call.request_id,
        org_id=caller.org_id,
        project_id=caller.project_id,
        key_id=caller.key_id,
        user_id=caller.user_id,
        model=request.model,
        kind=kind,
        dialect=call.surface.name,
        prompt_tokens=prompt,
        output_tokens=output,
        plan=call.plan,
        batch=call.batch,
        client_request_id=call.name(name),
        endpoint=call.scope["path"],
        base=platform.models.base_of(request.model),
    )
    try:
        return await platform.billing.hold(ask)
    except PaymentRequired:
        exact = await count(platform, call, request)
        if exact >= prompt:
            raise
        return await platform.billing.hold(replace(ask, prompt_tokens=exact))
