"""What an answer is made with: the conversation's project and assistant, settings, memory, knowledge, tools.

An assistant's sampling stands where the conversation says nothing; its instructions come first, then the
project's, then what is remembered, then the conversation's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from openglm.chat.assistants import servers_of
from openglm.dialects.mcp import McpServer
from openglm.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from openglm.chat.owner import Owner
    from openglm.chat.room import Chat
    from openglm.chat.shapes import Row

PROJECT_CHARS = 400_000  # of a project's files in a prompt


@dataclass(frozen=True, slots=True)
class Setting:
    instructions: tuple[str, ...]
    settings: dict[str, Any]
    knowledge: tuple[str, ...]
    tools: tuple[str, ...]  # of the room
    servers: tuple[McpServer, ...]


async def setting_of(chat: Chat, owner: Owner, conversation: Row, settings: dict[str, Any]) -> Setting:
    instructions: list[str] = []
    tools: dict[str, Any] = dict(settings.get("tools") or {})
    knowledge = list(tools.get("knowledge") or ())
    servers = [McpServer(label) for label in tools.get("mcp") or ()]
    web = bool(tools.get("web_search"))
    if conversation["assistant_id"] is not None:
        row = await _found(chat, owner, "assistant", conversation["assistant_id"])
        if row is not None:
            body = row["body"]
            instructions.append(body["instructions"])
            settings = {**(body.get("sampling") or {}), **settings}
            knowledge += body["knowledge"]
            web = web or bool(body["tools"]["web_search"])
            servers += servers_of(body, chat.shelf.unsealed(row["row"]))
    if conversation["project_id"] is not None:
        row = await _found(chat, owner, "project", conversation["project_id"])
        if row is not None:
            instructions += [row["body"]["instructions"], await _files(chat, owner, row["body"]["files"])]
            knowledge += row["body"]["knowledge"]
    offered: tuple[str, ...] = ("web_search", "read_page") if web else ()
    if not conversation["temporary"]:
        instructions.append(await chat.memory.instructions(owner))
        if (await chat.memory.use(owner)).grows:
            offered += ("remember",)
    return Setting(
        tuple(filter(None, instructions)),
        settings,
        tuple(dict.fromkeys(knowledge)),
        offered,
        tuple(servers),
    )


async def _found(chat: Chat, owner: Owner, kind: Any, item_id: str) -> dict[str, Any] | None:
    """One that was deleted since, or is shown no more, says nothing."""
    try:
        row = await chat.shelf.row(owner, kind, item_id, shown=kind == "assistant")
    except NotFound:
        return None
    return {"row": row, "body": msgspec.json.decode(row["body"])}


async def _files(chat: Chat, owner: Owner, ids: list[str]) -> str:
    """The documents of a project, as far as a prompt takes them."""
    if not ids:
        return ""
    try:
        message = await chat.attachments.turn(owner, "", ids, images=False)
    except InvalidRequest as error:
        raise InvalidRequest(error.message, hint="take it out of the project") from error
    text = message.text
    cut = f"\n[{len(text) - PROJECT_CHARS} more characters are left out]" if len(text) > PROJECT_CHARS else ""
    return f"Files of the project:\n\n{text[:PROJECT_CHARS]}{cut}" if text else ""
