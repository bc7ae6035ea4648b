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
from openglm.errors import EngineFailure, InvalidRequest, ModelNotFound, Overloaded
from openglm.maas.gateway.admission import Admission
from openglm.maas.gateway.call import Call
from openglm.maas.gateway.exchange import HELD_OUTPUT, Exchange, Step
from openglm.maas.gateway.prompts import answers, count
from openglm.maas.gateway.tools import check_input
from openglm.maas.models import NAME
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
    prompt_first: bool = False,
) -> Exchange:
    """Admit a request and start its answer; raises what refuses it, charged with nothing.

    `client_request_id`: the caller's own name for it, of which no two may run or have been answered;
    `affinity`: what it calls its conversation, so that cached prefixes are met again; `judged`: it has
    passed the moderation hook already; `admitted`: a slot of the limits is held for it; `prompt_first`:
    its prompt's tokens are told before anything else.
    """
    request = known(platform, call, request)
    if not judged:
        await check_input(platform, request)
    covered = min(request.sampling.max_tokens or HELD_OUTPUT, HELD_OUTPUT) * answers(request)
    kind = "chat" if isinstance(request, ChatRequest) else "completion"
    admission = Admission(platform, call, request, kind, output=covered, name=client_request_id)
    slot, bill = await admission.enter(placed=admitted)
    try:
        if isinstance(request, ChatRequest):
            request = await platform.image_links.read(request, tenant=call.caller.org_id)
        answer = await platform.router.stream(
            request,
            request_id=call.request_id,
            affinity=f"{call.caller.org_id}:{affinity[:200]}" if affinity else call.affinity,
            tenant=call.caller.org_id,
        )
    except Abandoned as left:
        # Nobody saw it, but the model wrote it: the bill is that of any answer that was left.
        Exchange(platform, call, request, slot=slot, bill=bill, answer=left.answer, covered=covered).close()
        raise
    except BaseException:
        bill.drop()
        if slot:
            slot.leave(0)
        raise
    return Exchange(
        platform,
        call,
        request,
        slot=slot,
        bill=bill,
        answer=answer,
        covered=covered,
        prompt_first=prompt_first,
    )


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
    slot, bill = await Admission(platform, call, request, "embedding", name=client_request_id).enter()

    async def work() -> tuple[list[array[float]], int]:
        tokens = 0
        try:
            async with bill:
                vectors, tokens = await platform.router.embed(
                    request, request_id=call.request_id, tenant=call.caller.org_id
                )
                bill.used(Usage(input_uncached=tokens), also=also(vectors, tokens) if also else None)
            if bill.receipt:
                platform.metrics.settled(request.model, bill.receipt)
            return vectors, tokens
        finally:
            if slot:
                slot.leave(tokens)

    # Once asked, the model's server works to the end: so does the bill, though the client leave.
    return await asyncio.shield(platform.go_on(work()))


async def counted(platform: Platform, call: Call, request: ChatRequest) -> int:
    """The tokens of a prompt, as its model counts them: free of charge, not without measure."""
    chat = known(platform, call, request)
    with platform.limits.enter(call.caller, platform.models.base_of(chat.model) or chat.model, 0):
        return await count(platform, call, chat)


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
    if not NAME.fullmatch(request.model):  # names are kept and cached, so strangers' may not be long
        raise ModelNotFound(
            f"there is no model {request.model[:80]!r}", param="model", code="model_not_found"
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
