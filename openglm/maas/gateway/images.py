"""Images from words: held for as many as were asked for, settled for as many as came.

Whatever way a model's server hands them over, they go out as base64 or as links of our own: no address of a
model's server reaches a client, and no link ends before its time. Those that lie elsewhere are fetched from
public addresses alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.routing import BaseRoute, Route

from openglm.dialects import openai, zhipu
from openglm.dialects.openai import ImageAnswer, Picture, Shown
from openglm.errors import OpenGLMError, UpstreamFailure
from openglm.maas import door
from openglm.maas.gateway.endpoint import Endpoint, json_response
from openglm.maas.gateway.generation import known
from openglm.maas.gateway.surfaces import OPENAI, ZHIPU
from openglm.maas.images import kind_of
from openglm.maas.moderation import refuse_unsafe
from openglm.maas.money import Ask
from openglm.maas.upstreams.client import MAX_IMAGE
from openglm.messages import ImageRequest, Usage

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from openglm.maas.database import Transaction
    from openglm.maas.gateway.call import Call
    from openglm.maas.platform import Platform

logger = logging.getLogger(__name__)

FETCH_S = 60.0  # for one image that a model's server keeps elsewhere
Keep = Callable[[bytes, str], Awaitable[str]]  # an image and its kind; where it is
OUTPUT_TOKENS = 8_192  # of one image, at most, at models that count them


def routes(platform: Platform) -> list[BaseRoute]:
    async def for_openai(call: Call) -> ASGIApp:
        wanted = await call.read(openai.decode_image)
        drawn = await draw(platform, call, wanted.image, keep=kept_by(platform, call, wanted.wanted))
        return json_response(openai.encode_images(addressed(platform, call, drawn), drawn.usage))

    async def for_zhipu(call: Call) -> ASGIApp:
        wanted = await call.read(zhipu.decode_image)
        drawn = await draw(
            platform,
            call,
            wanted.image,
            keep=kept_by(platform, call, wanted.wanted),
            client_request_id=wanted.request_id,
        )
        return json_response(
            zhipu.encode_images(
                addressed(platform, call, drawn),
                request_id=wanted.request_id,
                content_filter=drawn.content_filter,
            )
        )

    return [
        Route("/v1/images/generations", Endpoint(platform, OPENAI, "images", for_openai), methods=["POST"]),
        Route(
            "/api/paas/v4/images/generations",
            Endpoint(platform, ZHIPU, "images", for_zhipu),
            methods=["POST"],
        ),
    ]


@dataclass(frozen=True, slots=True)
class Drawn:
    """Images as they go out, links still without our address, and what they were billed for."""

    shown: tuple[Shown, ...]
    usage: Usage
    content_filter: tuple[dict[str, Any], ...]


def kept_by(platform: Platform, call: Call, wanted: str) -> Keep | None:
    """Where links were asked for, images become files that end with them."""
    return partial(platform.images.keep, call.caller) if wanted == "url" else None


def addressed(platform: Platform, call: Call, drawn: Drawn) -> list[Shown]:
    address = door.our_address(platform, call.scope)
    return [replace(one, link=address + one.link) if one.link else one for one in drawn.shown]


async def draw(
    platform: Platform,
    call: Call,
    request: ImageRequest,
    *,
    keep: Keep | None = None,
    client_request_id: str | None = None,
    also: Callable[[Drawn], Callable[[Transaction], None]] | None = None,
) -> Drawn:
    """The images of a request. Once a model's server was asked, it works to the end whoever leaves, and so
    does the bill. `keep` stores each before it is paid and says where it is; without it they come as bytes.
    `also` makes of them what is written in the transaction of the bill."""
    request = known(platform, call, request)
    await refuse_unsafe(platform.moderation, request.prompt)
    if keep:
        await platform.images.look_for_room(call.caller, request.n)
    prompt = len(request.prompt.encode())
    slot = platform.limits.enter(call.caller, request.model, prompt)
    try:
        bill = await platform.billing.bill(_ask(call, request, prompt, client_request_id))
    except BaseException:
        slot.leave(0)
        raise

    async def work() -> Drawn:
        drawn = None
        try:
            async with bill:
                drawn = await _drawn(platform, call, request, keep)
                bill.used(
                    drawn.usage,
                    status="ok" if drawn.usage.images == request.n else "partial",
                    duration_ms=platform.clock() - call.received_ms,
                    also=also(drawn) if also else None,
                )
            if bill.receipt:
                platform.metrics.settled(request.model, bill.receipt)
            return drawn
        finally:
            platform.metrics.answered(call.surface.name, request.model, drawn is not None, None)
            slot.leave(drawn.usage.total_tokens if drawn else 0)

    return await asyncio.shield(platform.go_on(work()))


async def _drawn(platform: Platform, call: Call, request: ImageRequest, keep: Keep | None) -> Drawn:
    answer = await platform.router.draw(request, request_id=call.request_id, tenant=call.caller.org_id)
    shown = []
    for picture in await _fetched(platform, answer):
        kind = kind_of(picture.data or b"")
        if picture.data is None or kind is None:
            logger.warning("request %s: what came is no image", call.request_id)
            continue
        link = await keep(picture.data, kind) if keep else None
        shown.append(Shown(link, None if keep else picture.data, picture.revised_prompt))
    if not shown:
        raise UpstreamFailure("the model's server sent no image")
    return Drawn(tuple(shown), replace(answer.usage, images=len(shown)), answer.content_filter)


async def _fetched(platform: Platform, answer: ImageAnswer) -> list[Picture]:
    """The pictures with their bytes; without, where they could not be had."""

    async def fetched(picture: Picture) -> Picture:
        if not picture.url:
            return picture
        try:
            page = await platform.fetch(picture.url, max_bytes=MAX_IMAGE, timeout_s=FETCH_S)
        except OpenGLMError as error:
            logger.warning("an image could not be fetched from where its model keeps it: %s", error.message)
            return picture
        return replace(picture, data=page.body if page.status == 200 else None)

    return await asyncio.gather(*(fetched(picture) for picture in answer.pictures))


def _ask(call: Call, request: ImageRequest, prompt: int, name: str | None) -> Ask:
    caller = call.caller
    return Ask(
        request_id=call.request_id,
        org_id=caller.org_id,
        project_id=caller.project_id,
        key_id=caller.key_id,
        user_id=caller.user_id,
        model=request.model,
        kind="image",
        dialect=call.surface.name,
        prompt_tokens=prompt,
        output_tokens=request.n * OUTPUT_TOKENS,
        images=request.n,
        client_request_id=call.name(name),
        endpoint=call.scope["path"],
    )
