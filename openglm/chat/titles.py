"""A title from the first exchange: asked of the model that answered, in a call that is billed like any other.

Until it comes, and where none comes, the first words of the user stand for it. What the user writes is never
replaced.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from openglm.dialects.openai import ChatObject
from openglm.errors import OpenGLMError
from openglm.maas.gateway import Call, open_answer, whole
from openglm.maas.ids import new_id
from openglm.messages import ChatRequest, Message, SamplingParams

if TYPE_CHECKING:
    from openglm.chat.room import Chat
    from openglm.maas.gateway import Surface
    from openglm.maas.identity import Caller

logger = logging.getLogger(__name__)

LONGEST = 80  # characters of a title
READ = 2_000  # characters of question and answer that it is made from
_ASK = (
    "Write a title for the conversation below: at most six words, in its own language, without quotes or a"
    " full stop. Write the title and nothing else.\n\nUser: {asked}\n\nAssistant: {answered}"
)


async def title_of(
    chat: Chat, caller: Caller, surface: Surface, model: str, *, asked: str, answered: str
) -> str | None:
    """A title, or None where the model gave none that can be shown."""
    now = chat.clock()
    call = Call(
        {"type": "http", "headers": [], "path": "/api/chat/title"},
        b"",
        caller,
        surface,
        new_id("req", now),
        now,
    )
    request = ChatRequest(
        model,
        (Message.of("user", _ASK.format(asked=asked[:READ], answered=answered[:READ])),),
        sampling=SamplingParams(max_tokens=32),
        chosen=frozenset(("max_tokens",)),
        thinking=False,
    )
    try:
        exchange = await open_answer(chat.platform, call, request, ())
        made = (await whole(exchange, ChatObject(model, 1))).body()
    except OpenGLMError as error:
        logger.info("no title: %s", error.message)
        return None
    text = made["choices"][0]["message"].get("content") or ""
    return clean(text)


def clean(text: str) -> str | None:
    """The first line without what models put around titles."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    title = " ".join(line.split()).strip("\"'“”‘’「」《》*#`").removeprefix("Title:").strip().rstrip("。.")
    return title if 0 < len(title) <= LONGEST and "\x00" not in title else None
