"""The chat as an ASGI app beside the console: same sessions, same CSRF tokens, same errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openglm.chat.routes import attachments, conversations, events, knowledge, me, messages, shelf, transfer
from openglm.chat.routes.bodies import MESSAGE_BYTES
from openglm.maas.console import create_api

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from openglm.chat.room import Chat

PATH = "/api/chat"
BODY = 2 * MESSAGE_BYTES  # bytes: JSON escapes some characters
IMPORT_BODY = 64 << 20
PARTS = (me, conversations, messages, attachments, knowledge, shelf, transfer, events)
_TAGS = {
    "me": "Who is here, and what there is to choose from.",
    "conversations": "Trees of messages.",
    "messages": "Turns, other answers, edits, stops.",
    "attachments": "Files that belong to messages.",
    "knowledge": "Knowledge bases to choose from, and the text behind citations.",
    "shelf": "Projects, assistants, prompts, memories.",
    "transfer": "Search, shares, export and import.",
    "events": "Server-sent events, which go on exactly where a listener was.",
}


def create_chat(chat: Chat) -> ASGIApp:
    """Mount it at `PATH`."""
    return create_api(
        chat.platform,
        path=PATH,
        title="OpenGLM chat",
        description=(
            "Conversations whose answers the server owns. Sign in at /api/console first; what changes"
            " something needs the header x-csrf-token of its GET /session. A household needs neither."
        ),
        tags=_TAGS,
        routers=[part.router for part in PARTS],
        bound=_bound,
        state={"chat": chat},
    )


def _bound(path: str) -> int | None:
    """Uploads are spooled by their own route."""
    if path == f"{PATH}/attachments":
        return None
    return IMPORT_BODY if path == f"{PATH}/import" else BODY
