"""Links to images in chats: fetched here, from public addresses alone, and handed on as data URLs.

A model's server that was given a link would fetch it from inside the operator's network. What is fetched is
held in memory with its request, so there are few requests at it, given to tenants in turn; no tenant has
every place, and none is held for long.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from openglm.errors import InvalidRequest, UpstreamFailure
from openglm.maas.leases import most_of
from openglm.maas.limits import FairQueue
from openglm.maas.outbound import Fetched, TooLarge
from openglm.messages import ChatRequest, ImagePart

MAX_IMAGES = 50  # of one request, data URLs too; Zhipu's documented limits
MAX_BYTES = 5 << 20  # of one
MAX_ALL = 32 << 20  # bytes fetched for one request
TIMEOUT_S = 20.0  # of one
TIMEOUT_ALL_S = 60.0
AT_ONCE = 8  # requests whose links are fetched
Fetch = Callable[..., Awaitable[Fetched]]
_PASSING = frozenset({408, 425, 429, *range(500, 600)})  # statuses that may be others later
_KINDS = {b"\x89PNG\r\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"BM": "bmp"}


class ImageLinks:
    def __init__(self, fetch: Fetch):
        self._fetch = fetch
        self._places = FairQueue(AT_ONCE, each=most_of(AT_ONCE), what="the reader of images")

    async def read(self, chat: ChatRequest, *, tenant: str) -> ChatRequest:
        """The chat with the images themselves. A link that leads to none is the caller's mistake; a
        server that fails may succeed later."""
        urls = [
            part.url for message in chat.messages for part in message.parts if isinstance(part, ImagePart)
        ]
        if len(urls) > MAX_IMAGES:
            raise _wrong(f"a request may have at most {MAX_IMAGES} images, got {len(urls)}")
        links = list(dict.fromkeys(url for url in urls if not url.lower().startswith("data:image/")))
        if not links:
            return chat
        await self._places.enter(tenant)
        try:
            async with asyncio.timeout(TIMEOUT_ALL_S):
                read = await self._all(links)
        except TimeoutError:
            raise UpstreamFailure(f"the images were not all there within {TIMEOUT_ALL_S:g} s") from None
        finally:
            self._places.leave(tenant)
        return _with(chat, read)

    async def _all(self, links: list[str]) -> Mapping[str, str]:
        """One after the other, so that no more is ever held than may be."""
        read: dict[str, str] = {}
        left = MAX_ALL
        for url in links:
            try:
                # Whatever is no http(s) URL of a public host is refused there.
                found = await self._fetch(url, max_bytes=min(MAX_BYTES, left), timeout_s=TIMEOUT_S)
            except TooLarge as error:
                raise _wrong(f"an image could not be fetched: {error.message}") from None
            except UpstreamFailure as error:
                raise UpstreamFailure(f"an image could not be fetched: {error.message}") from error
            if found.status != 200:
                reason = f"an image could not be fetched: its server answered with status {found.status}"
                raise UpstreamFailure(reason) if found.status in _PASSING else _wrong(reason)
            left -= len(found.body)
            read[url] = await asyncio.to_thread(_data_url, found.body)
        return read


def _data_url(body: bytes) -> str:
    kind = next((kind for start, kind in _KINDS.items() if body.startswith(start)), None)
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        kind = "webp"
    if kind is None:
        raise _wrong("a link to an image leads to something else")
    return f"data:image/{kind};base64,{base64.b64encode(body).decode()}"


def _with(chat: ChatRequest, read: Mapping[str, str]) -> ChatRequest:
    messages = (
        replace(
            message,
            parts=tuple(
                ImagePart(read.get(part.url, part.url)) if isinstance(part, ImagePart) else part
                for part in message.parts
            ),
        )
        for message in chat.messages
    )
    return replace(chat, messages=tuple(messages))


def _wrong(message: str) -> InvalidRequest:
    return InvalidRequest(
        message,
        param="messages",
        code="invalid_image_url",
        hint="an image is a data URL, or an http(s) link to a PNG, JPEG, GIF, WebP or BMP of at most 5 MB",
    )
