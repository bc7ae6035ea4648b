"""Streams of events: of one conversation, and of everything that is the asker's."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from openglm.chat.events import Listening
from openglm.chat.owner import Asking, Room

router = APIRouter(tags=["events"])
LastEvent = Annotated[
    str | None,
    Header(alias="last-event-id", max_length=60, description="browsers send it when they come back"),
]
After = Annotated[
    str | None, Query(max_length=60, description="`at` of the conversation, for the first time")
]
_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}


@router.get("/conversations/{conversation_id}/events", response_class=Response, responses=_STREAM)
async def hear_conversation(
    conversation_id: str, chat: Room, asker: Asking, last_event_id: LastEvent = None, after: After = None
) -> Response:
    """`state` (what is being written, whole), then `delta`, `message`, `conversation`. With the id of an
    event that is still kept, it goes on exactly behind it."""
    chat.check_open()
    await chat.conversations.row(asker.owner, conversation_id)

    async def state() -> dict[str, Any]:
        return {"messages": await chat.running(conversation_id)}

    return Listening(chat, conversation_id, last_event_id or after, state)


@router.get("/events", response_class=Response, responses=_STREAM)
async def hear_account(
    chat: Room, asker: Asking, last_event_id: LastEvent = None, after: After = None
) -> Response:
    """`state` (nothing: read the list), then `conversation` and `deleted`, so that two tabs agree."""
    chat.check_open()

    async def state() -> dict[str, Any]:
        return {}

    return Listening(chat, asker.owner, last_event_id or after, state)
