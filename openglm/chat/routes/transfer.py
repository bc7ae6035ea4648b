"""Search, shares, export and import."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import PlainTextResponse, Response

from openglm.chat.owner import Asking, Room
from openglm.chat.routes.bodies import Id
from openglm.chat.search import Hits, search
from openglm.chat.shares import Share
from openglm.chat.transfer import as_json, as_markdown, bring_in, read
from openglm.chat.tree import DEEPEST
from openglm.maas import door
from openglm.maas.console import Body
from openglm.maas.files import disposition

router = APIRouter(tags=["transfer"])


class NewShare(Body):
    leaf_id: Id | None = None
    expires_at: Annotated[int | None, Field(ge=0, le=10**14)] = None


@router.get("/search")
async def search_messages(
    q: Annotated[str, Query(min_length=1, max_length=400)],
    chat: Room,
    asker: Asking,
    before: Annotated[str | None, Query(max_length=80)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Hits:
    """Messages that hold every word, the newest first."""
    return await search(chat.database, asker.owner, q, before, limit)


@router.post("/conversations/{conversation_id}/shares", status_code=201)
async def share_conversation(
    conversation_id: str, body: NewShare, request: Request, chat: Room, asker: Asking
) -> Share:
    """A link to the path as it is now. Its token is seen here and never again."""
    row = await chat.conversations.row(asker.owner, conversation_id)
    leaf = body.leaf_id or row["leaf_id"]
    if body.leaf_id is not None:
        await chat.tree.message(conversation_id, body.leaf_id)
    path = (await chat.shown(conversation_id, leaf, DEEPEST)).messages
    address = door.our_address(chat.platform, request.scope)
    return await chat.shares.add(asker.owner, row, path, body.expires_at, address)


@router.get("/conversations/{conversation_id}/shares")
async def list_shares(conversation_id: str, chat: Room, asker: Asking) -> list[Share]:
    await chat.conversations.row(asker.owner, conversation_id)
    return await chat.shares.list(conversation_id)


@router.delete("/shares/{share_id}", status_code=204)
async def revoke_share(share_id: str, chat: Room, asker: Asking) -> None:
    await chat.shares.revoke(asker.owner, share_id)


@router.get("/shared/{token}")
async def read_shared(token: str, chat: Room) -> dict[str, Any]:
    """What was shared, for whoever has the link."""
    return await chat.shares.shown(token)


@router.get("/conversations/{conversation_id}/export", response_class=Response)
async def export_conversation(
    conversation_id: str,
    chat: Room,
    asker: Asking,
    form: Annotated[Literal["markdown", "json"], Query(alias="as")] = "json",
) -> Response:
    """Markdown of the shown path, or JSON of the whole tree."""
    row = await chat.conversations.row(asker.owner, conversation_id)
    name = disposition(f"{row['title'] or 'conversation'}.{'md' if form == 'markdown' else 'json'}")
    headers = {"content-disposition": name}
    if form == "markdown":
        path = (await chat.shown(conversation_id, row["leaf_id"], DEEPEST)).messages
        return PlainTextResponse(as_markdown(row["title"], path), headers=headers)
    content = await chat.encoded(as_json(row, await chat.whole(conversation_id)))
    return Response(content, media_type="application/json", headers=headers)


@router.post("/import", status_code=201)
async def import_conversations(request: Request, chat: Room, asker: Asking) -> dict[str, int]:
    """The body is a file of ours, a list of such, or ChatGPT's conversations.json."""
    talks = await asyncio.to_thread(read, await request.body())
    made = await bring_in(chat.database, asker.owner, talks, chat.clock)
    chat.feeds.tell(asker.owner, "state", {})
    return {"conversations": len(made)}
