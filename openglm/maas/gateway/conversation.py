"""What a Responses request goes on from: kept turns, and texts sealed so that clients can carry them."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from openglm.errors import OpenGLMError
from openglm.messages import ChatRequest

if TYPE_CHECKING:
    from openglm.dialects.responses import ResponsesRequest
    from openglm.maas.gateway.call import Call
    from openglm.maas.platform import Platform

_PURPOSE = "reasoning"


class Conversations:
    def __init__(self, platform: Platform):
        self._platform = platform

    async def of(self, call: Call, request: ResponsesRequest) -> tuple[list[dict[str, Any]], ChatRequest]:
        """All items up to and with the request's, and the chat that they are."""
        org_id = call.caller.org_id
        earlier: list[dict[str, Any]] = []
        if request.previous:
            earlier = await self._platform.responses.chain(org_id, request.previous)
        chat = request.conversation(earlier, lambda token: self.open(org_id, token))
        return [*earlier, *request.items], chat

    def seal(self, org_id: str, text: str) -> str:
        """A token that nobody but this organisation can bring back."""
        sealed = self._platform.secrets.seal(_PURPOSE, text.encode(), context=org_id)
        return base64.urlsafe_b64encode(sealed).decode()

    def open(self, org_id: str, token: str) -> str | None:
        """The text; None if the token is not ours, or another organisation's."""
        try:
            sealed = base64.urlsafe_b64decode(token)
            return self._platform.secrets.unseal(_PURPOSE, sealed, context=org_id).decode()
        except (OpenGLMError, binascii.Error, ValueError):
            return None
