"""Conversations: listed, opened, changed, deleted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from pydantic import Field

from openglm.chat.conversations import Listed, settings_of
from openglm.chat.owner import Asker, Asking, Room
from openglm.chat.routes.bodies import Id, Name, Settings
from openglm.chat.shapes import Conversation, Message, conversation_of
from openglm.maas.console import Body

router = APIRouter(tags=["conversations"])
PAGE, LARGEST_PAGE = 60, 500
Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE)]
Title = Annotated[str, Field(max_length=200)]


class NewConversation(Body):
    title: Title = ""
    model: Name | None = None
    project_id: Id | None = None
    assistant_id: Id | None = None
    temporary: bool = False
    settings: Settings = Settings()


class Changes(Body):
    """What is left out stays."""

    title: Title | None = None
    pinned: bool | None = None
    archived: bool | None = None
    project_id: Id | None = None
    model: Name | None = None
    assistant_id: Id | None = None
    settings: Settings | None = None
    leaf_id: Annotated[Id | None, Field(description="the path is shown to the newest end below it")] = None


@dataclass(frozen=True, slots=True)
class Opened(Conversation):
    """A conversation with the end of a path. `earlier` is what `before` takes; `at` is where events go on."""

    settings: dict[str, Any]
    path: list[Message]
    earlier: str | None
    at: str


@dataclass(frozen=True, slots=True)
class Earlier:
    path: list[Message]
    earlier: str | None


@router.get("/conversations")
async def list_conversations(
    chat: Room,
    asker: Asking,
    *,
    project: str | None = None,
    archived: bool = False,
    before: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Listed:
    """By last change, pinned ones on top of the first page; temporary ones never."""
    return await chat.conversations.list(
        asker.owner, project=project, archived=archived, before=before, limit=limit
    )


@router.post("/conversations", status_code=201)
async def create_conversation(body: NewConversation, chat: Room, asker: Asking) -> Conversation:
    await _check_shelf(chat, asker, body.project_id, body.assistant_id)
    given: dict[str, Any] = {
        "title": body.title.strip(),
        "titled_by": "user" if body.title.strip() else "words",
        "model": body.model,
        "project_id": body.project_id,
        "assistant_id": body.assistant_id,
        "settings": _json(body.settings),
    }
    made = await chat.conversations.create(asker.owner, given, temporary=body.temporary)
    chat.tell_conversation(asker.owner, made)
    return made


@router.get("/conversations/{conversation_id}")
async def open_conversation(
    conversation_id: str, chat: Room, asker: Asking, leaf: str | None = None, limit: Limit = PAGE
) -> Opened:
    """The conversation, its settings, and the end of its path (or of the path to `leaf`)."""
    row = await chat.conversations.row(asker.owner, conversation_id)
    end = row["leaf_id"]
    if leaf is not None:
        await chat.tree.message(conversation_id, leaf)
        end = await chat.tree.leaf_below(conversation_id, leaf)
    shown = await chat.shown(conversation_id, end, limit)
    seen = asdict(conversation_of(row))
    return Opened(**seen, settings=settings_of(row), path=shown.messages, earlier=shown.earlier, at=shown.at)


@router.get("/conversations/{conversation_id}/messages")
async def list_earlier(
    conversation_id: str, before: str, chat: Room, asker: Asking, limit: Limit = PAGE
) -> Earlier:
    """What stands on the path before a message."""
    await chat.conversations.row(asker.owner, conversation_id)
    message = await chat.tree.message(conversation_id, before)
    shown = await chat.shown(conversation_id, message["parent_id"], limit)
    return Earlier(shown.messages, shown.earlier)


@router.patch("/conversations/{conversation_id}")
async def change_conversation(conversation_id: str, body: Changes, chat: Room, asker: Asking) -> Conversation:
    await chat.conversations.row(asker.owner, conversation_id)
    await _check_shelf(chat, asker, body.project_id, body.assistant_id)
    given = await _columns(chat, conversation_id, body)
    changed = await chat.conversations.change(asker.owner, conversation_id, given)
    chat.tell_conversation(asker.owner, changed)
    return changed


@router.delete("/conversations/{conversation_id}", status_code=204)
async def delete_conversation(conversation_id: str, chat: Room, asker: Asking) -> None:
    """What is being written in it stops, and is billed as far as it came."""
    await _delete(conversation_id, chat, asker)


@router.post("/conversations/{conversation_id}/close", status_code=204)
async def close_conversation(conversation_id: str, chat: Room, asker: Asking) -> None:
    """A tab leaves: a temporary conversation is deleted, any other stays as it is."""
    row = await chat.conversations.row(asker.owner, conversation_id)
    if row["temporary"]:
        await _delete(conversation_id, chat, asker)


async def _delete(conversation_id: str, chat: Any, asker: Asker) -> None:
    await chat.conversations.row(asker.owner, conversation_id)
    await chat.drop(conversation_id)
    chat.feeds.tell(asker.owner, "deleted", {"id": conversation_id})


async def _check_shelf(chat: Any, asker: Asker, project_id: str | None, assistant_id: str | None) -> None:
    if project_id is not None:
        await chat.shelf.row(asker.owner, "project", project_id)
    if assistant_id is not None:
        await chat.shelf.row(asker.owner, "assistant", assistant_id, shown=True)


async def _columns(chat: Any, conversation_id: str, body: Changes) -> dict[str, Any]:
    given = body.model_dump(exclude_unset=True, include={"project_id", "model", "assistant_id"})
    now = chat.clock()
    if body.title is not None:
        given |= {"title": body.title.strip(), "titled_by": "user" if body.title.strip() else "words"}
    for name, column in (("pinned", "pinned_at"), ("archived", "archived_at")):
        if (value := getattr(body, name)) is not None:
            given[column] = now if value else None
    if body.settings is not None:
        given["settings"] = _json(body.settings)
    if body.leaf_id is not None:
        await chat.tree.message(conversation_id, body.leaf_id)
        given["leaf_id"] = await chat.tree.leaf_below(conversation_id, body.leaf_id)
    return given


def _json(settings: Settings) -> str:
    return msgspec.json.encode(settings.model_dump(exclude_none=True)).decode()
