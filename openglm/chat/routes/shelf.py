"""Projects, assistants, prompts and memories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter
from pydantic import ConfigDict, Field
from starlette.responses import Response

from openglm.chat.assistants import check_listed, checked_picture, parted
from openglm.chat.memory import Use
from openglm.chat.owner import Asker, Asking, Room
from openglm.chat.routes.bodies import Id, Name, Settings
from openglm.maas.console import Body
from openglm.maas.files import disposition

router = APIRouter(tags=["shelf"])
Item = dict[str, Any]
Visible = Literal["private", "organisation", "listed"]
Title = Annotated[str, Field(min_length=1, max_length=200)]
Ids = Annotated[list[Id], Field(max_length=50, default_factory=list)]
FORMAT = "openglm-assistant/1"
_FILE: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {}}}}


class Project(Body):
    name: Title
    instructions: str = ""
    files: Ids
    knowledge: Ids


class ProjectChanges(Body):
    name: Title | None = None
    instructions: str | None = None
    files: Annotated[list[Id] | None, Field(max_length=50)] = None
    knowledge: Annotated[list[Id] | None, Field(max_length=50)] = None


class Server(Body):
    """An MCP server. Values of headers are kept sealed and never shown; null: what is kept stays."""

    label: Annotated[str, Field(pattern=r"^[\w.-]{1,64}$")]
    url: Annotated[str, Field(pattern=r"^https?://", max_length=2_048)]
    headers: Annotated[
        dict[
            Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")],
            Annotated[str, Field(pattern=r"^[\x20-\x7e]*$", max_length=8_192)] | None,
        ]
        | None,
        Field(max_length=32),
    ] = None


class AssistantTools(Body):
    web_search: bool = False
    mcp: Annotated[list[Server], Field(max_length=8, default_factory=list)]


class AssistantBody(Body):
    model_config = ConfigDict(extra="forbid", str_max_length=100_000)

    picture: str | None = None
    description: Annotated[str, Field(max_length=2_000)] = ""
    instructions: Annotated[str, Field(max_length=50_000)] = ""
    knowledge: Ids
    tools: Annotated[AssistantTools, Field(default_factory=AssistantTools)]
    examples: Annotated[
        list[Annotated[str, Field(max_length=500)]], Field(max_length=12, default_factory=list)
    ]
    model: Name | None = None
    sampling: Annotated[Settings, Field(default_factory=Settings)]
    visibility: Visible = "private"


class Assistant(AssistantBody):
    name: Title


class AssistantChanges(AssistantBody):
    name: Title | None = None


class AssistantFile(Body):
    model_config = ConfigDict(extra="forbid", str_max_length=100_000)

    format: Literal["openglm-assistant/1"]
    assistant: Assistant


class Prompt(Body):
    command: Annotated[str, Field(pattern=r"^[\w-]{1,40}$")]
    title: Title
    text: Annotated[str, Field(min_length=1, max_length=20_000)]
    visibility: Visible = "private"


class PromptChanges(Body):
    command: Annotated[str | None, Field(pattern=r"^[\w-]{1,40}$")] = None
    title: Title | None = None
    text: Annotated[str | None, Field(min_length=1, max_length=20_000)] = None
    visibility: Visible | None = None


class Fact(Body):
    text: Annotated[str, Field(min_length=1, max_length=500)]


class Switch(Body):
    """`on`: prompts read it. `grows`: models that call tools may add to it; left out, `on` is the answer."""

    on: bool
    grows: bool | None = None


# Projects


@router.get("/projects")
async def list_projects(chat: Room, asker: Asking) -> list[Item]:
    return await chat.shelf.list(asker.owner, "project")


@router.post("/projects", status_code=201)
async def add_project(body: Project, chat: Room, asker: Asking) -> Item:
    await _check(chat, asker, body.files, body.knowledge)
    return _told(chat, asker, "project", await chat.shelf.add(asker.owner, "project", body.model_dump()))


@router.patch("/projects/{item_id}")
async def change_project(item_id: str, body: ProjectChanges, chat: Room, asker: Asking) -> Item:
    before = msgspec.json.decode((await chat.shelf.row(asker.owner, "project", item_id))["body"])
    await _check(chat, asker, body.files or (), body.knowledge or (), before)
    given = body.model_dump(exclude_none=True)
    return _told(chat, asker, "project", await chat.shelf.change(asker.owner, "project", item_id, given))


@router.delete("/projects/{item_id}", status_code=204)
async def delete_project(item_id: str, chat: Room, asker: Asking) -> None:
    """Its conversations stay, outside of it."""
    await chat.shelf.delete(asker.owner, "project", item_id)
    await chat.conversations.leave(asker.owner, "project_id", item_id)
    chat.feeds.tell(asker.owner, "project", {"id": item_id, "deleted": True})


# Assistants


@router.get("/assistants")
async def list_assistants(chat: Room, asker: Asking, listed: bool = True) -> list[Item]:
    """One's own, and with `listed` those that others show."""
    return await chat.shelf.list(asker.owner, "assistant", shown=listed)


@router.post("/assistants", status_code=201)
async def add_assistant(body: Assistant, chat: Room, asker: Asking) -> Item:
    given, secret = await _assistant(chat, asker, body.model_dump(), None)
    made = await chat.shelf.add(asker.owner, "assistant", given, sealed=secret)
    return _told(chat, asker, "assistant", made)


@router.patch("/assistants/{item_id}")
async def change_assistant(item_id: str, body: AssistantChanges, chat: Room, asker: Asking) -> Item:
    row = await chat.shelf.row(asker.owner, "assistant", item_id)
    before = {**msgspec.json.decode(row["body"]), "visibility": row["visibility"]}
    sent = body.model_dump()
    whole = {**before, **{name: sent[name] for name in body.model_fields_set}}
    given, secret = await _assistant(chat, asker, whole, chat.shelf.unsealed(row), before)
    made = await chat.shelf.change(asker.owner, "assistant", item_id, given, sealed=secret)
    return _told(chat, asker, "assistant", made)


@router.delete("/assistants/{item_id}", status_code=204)
async def delete_assistant(item_id: str, chat: Room, asker: Asking) -> None:
    await chat.shelf.delete(asker.owner, "assistant", item_id)
    chat.feeds.tell(asker.owner, "assistant", {"id": item_id, "deleted": True})


@router.get("/assistants/{item_id}/export", response_class=Response, responses=_FILE)
async def export_assistant(item_id: str, chat: Room, asker: Asking) -> Response:
    """One file, without secrets and without what belongs to an organisation."""
    row = await chat.shelf.row(asker.owner, "assistant", item_id, shown=True)
    body = msgspec.json.decode(row["body"])
    servers = [{"label": one["label"], "url": one["url"]} for one in body["tools"]["mcp"]]
    kept = {**body, "knowledge": [], "tools": {**body["tools"], "mcp": servers}}
    content = msgspec.json.encode({"format": FORMAT, "assistant": kept})
    headers = {"content-disposition": disposition(f"{body['name']}.json")}
    return Response(content, media_type="application/json", headers=headers)


@router.post("/assistants/import", status_code=201)
async def import_assistant(body: AssistantFile, chat: Room, asker: Asking) -> Item:
    return await add_assistant(body.assistant.model_copy(update={"visibility": "private"}), chat, asker)


# Prompts


@router.get("/prompts")
async def list_prompts(chat: Room, asker: Asking) -> list[Item]:
    """One's own, and those that others show."""
    return await chat.shelf.list(asker.owner, "prompt", shown=True)


@router.post("/prompts", status_code=201)
async def add_prompt(body: Prompt, chat: Room, asker: Asking) -> Item:
    return _told(chat, asker, "prompt", await chat.shelf.add(asker.owner, "prompt", body.model_dump()))


@router.patch("/prompts/{item_id}")
async def change_prompt(item_id: str, body: PromptChanges, chat: Room, asker: Asking) -> Item:
    given = body.model_dump(exclude_none=True)
    return _told(chat, asker, "prompt", await chat.shelf.change(asker.owner, "prompt", item_id, given))


@router.delete("/prompts/{item_id}", status_code=204)
async def delete_prompt(item_id: str, chat: Room, asker: Asking) -> None:
    await chat.shelf.delete(asker.owner, "prompt", item_id)
    chat.feeds.tell(asker.owner, "prompt", {"id": item_id, "deleted": True})


# Memory


@router.get("/memory")
async def is_memory_on(chat: Room, asker: Asking) -> Switch:
    use = await chat.memory.use(asker.owner)
    return Switch(on=use.on, grows=use.grows)


@router.put("/memory")
async def switch_memory(body: Switch, chat: Room, asker: Asking) -> Switch:
    """Off: prompts read nothing of it. On, by hand: models that call tools may add to it, unless `grows` is
    false."""
    use = Use(body.on, body.on and body.grows is not False)
    await chat.memory.switch(asker.owner, use)
    return Switch(on=use.on, grows=use.grows)


@router.get("/memories")
async def list_memories(chat: Room, asker: Asking) -> list[Item]:
    return await chat.shelf.list(asker.owner, "memory")


@router.post("/memories", status_code=201)
async def add_memory(body: Fact, chat: Room, asker: Asking) -> Item:
    return _told(chat, asker, "memory", await chat.memory.remember(asker.owner, body.text))


@router.patch("/memories/{item_id}")
async def change_memory(item_id: str, body: Fact, chat: Room, asker: Asking) -> Item:
    made = await chat.shelf.change(asker.owner, "memory", item_id, body.model_dump())
    return _told(chat, asker, "memory", made)


@router.delete("/memories/{item_id}", status_code=204)
async def delete_memory(item_id: str, chat: Room, asker: Asking) -> None:
    await chat.shelf.delete(asker.owner, "memory", item_id)
    chat.feeds.tell(asker.owner, "memory", {"id": item_id, "deleted": True})


# Inside


async def _assistant(
    chat: Any,
    asker: Asker,
    given: dict[str, Any],
    sealed: dict[str, Any] | None,
    before: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """As it is kept, and its secrets."""
    await _check(chat, asker, (), given["knowledge"], before)
    shown, secret = parted(given["tools"]["mcp"], sealed)
    made = {
        **given,
        "picture": checked_picture(given["picture"]),
        "tools": {**given["tools"], "mcp": shown},
        "sampling": {name: value for name, value in given["sampling"].items() if value is not None},
    }
    check_listed(made, secret)
    return made, secret


async def _check(
    chat: Any, asker: Asker, files: Any, knowledge: Any, before: Mapping[str, Any] | None = None
) -> None:
    """What is newly named must be there, and one's own. What the item named before may be gone by now: that
    must not keep anybody from changing the rest."""
    known = before or {}
    added = [file_id for file_id in files if file_id not in known.get("files", ())]
    for file_id in added:
        await chat.attachments.row(asker.owner, file_id)
    await chat.attachments.keep(added)
    for base_id in knowledge:
        if base_id not in known.get("knowledge", ()):
            await chat.platform.knowledge.base(asker.caller, base_id)


def _told(chat: Any, asker: Asker, kind: str, item: Item) -> Item:
    """Other tabs hear of it."""
    chat.feeds.tell(asker.owner, kind, item)
    return item
