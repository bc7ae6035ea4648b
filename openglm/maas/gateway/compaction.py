"""A long conversation made short: its users' messages, and a sealed text of the model's with the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from openglm.dialects.responses import ResponseObject, decode_compaction
from openglm.errors import EngineFailure
from openglm.maas.gateway.call import Call
from openglm.maas.gateway.conversation import Conversations
from openglm.maas.gateway.endpoint import json_response
from openglm.maas.gateway.generation import open_exchange, whole
from openglm.messages import Message

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from openglm.maas.platform import Platform

SHORTEN = (
    "Write down what of this conversation is needed to go on with it: the aim, what was decided and why, what"
    " was done and found, names and numbers that matter, and what is still open. Write nothing else."
)


async def compact(platform: Platform, call: Call) -> ASGIApp:
    """The answer to POST /v1/responses/compact. The model's text is billed as any other."""
    conversations, request = Conversations(platform), await call.read(decode_compaction)
    items, chat = await conversations.of(call, request)
    chat = replace(chat, messages=(*chat.messages, Message.of("user", SHORTEN)))
    answer = ResponseObject(request, str)
    await whole(await open_exchange(platform, call, chat, affinity=request.cache_key), answer)
    answer.close()
    if not answer.text().strip():
        raise EngineFailure("the model wrote no summary")
    summary = {
        "id": f"cmp_{answer.id.removeprefix('resp_')}",
        "type": "compaction",
        "encrypted_content": conversations.seal(call.caller.org_id, answer.text()),
    }
    return json_response(
        {
            "id": answer.id,
            "object": "response.compaction",
            "created_at": call.received_ms // 1000,
            "output": [*(item for item in items if item.get("role") == "user"), summary],
            "usage": answer.body()["usage"],
        }
    )
