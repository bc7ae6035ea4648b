"""Pictures that models draw: which models do, and how one turn's pictures come about.

They take the gateway's road of images, and are kept as the user's files before they are paid, so that they
live as long as their conversation. A model's server draws to the end once it was asked, and so does the bill:
a turn that is stopped gets what was paid for when it comes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from openglm.errors import InvalidRequest, OpenGLMError
from openglm.maas.gateway import Drawn, draw
from openglm.messages import ImageRequest

if TYPE_CHECKING:
    from openglm.chat.owner import Owner
    from openglm.chat.room import Chat
    from openglm.chat.shapes import Row
    from openglm.maas.gateway import Call
    from openglm.maas.identity import Caller
    from openglm.maas.platform import Platform

ALT_CHARS = 2_000  # of the words beside a picture


async def draws(platform: Platform, model: str) -> bool:
    """Whether a model answers with pictures: one whose own price has an amount for an image."""
    target = platform.models.target(model)
    try:
        price = await platform.prices.current(target, platform.models.base_of(target))
    except OpenGLMError:
        return False
    return price.model == target and price.per_image_nano > 0


async def talkers(platform: Platform, caller: Caller) -> list[str]:
    """The models that answer with words."""
    return [name for name in platform.models_of(caller) if not await draws(platform, name)]


class Drawing:
    """The pictures of one answer, being drawn whoever waits."""

    def __init__(self, chat: Chat, call: Call, owner: Owner, asked: Row):
        self._chat = chat
        self._call = call
        self._owner = owner
        self._asked = asked
        self.work: asyncio.Task[list[dict[str, Any]]] | None = None

    async def parts(self, model: str, number: int) -> list[dict[str, Any]]:
        """The parts of the message that shows them."""
        prompt = self._asked["text"].strip()
        if not prompt:
            raise InvalidRequest("there are no words to draw from", hint="say what the picture shall show")
        request = ImageRequest(model, prompt, n=number)
        self.work = self._chat.platform.go_on(self._drawn(request))
        return await asyncio.shield(self.work)

    async def _drawn(self, request: ImageRequest) -> list[dict[str, Any]]:
        drawn = await draw(self._chat.platform, self._call, request, keep=self._keep)
        return [self._part(drawn, number) for number in range(len(drawn.shown))]

    def _part(self, drawn: Drawn, number: int) -> dict[str, Any]:
        one = drawn.shown[number]
        said = (one.revised_prompt or self._asked["text"]).strip()[:ALT_CHARS]
        return {"type": "image", "file_id": one.link, "alt": said}

    async def _keep(self, data: bytes, kind: str) -> str:
        return await self._chat.attachments.keep_picture(
            self._call.caller, self._owner, self._asked["conversation_id"], data, kind
        )
