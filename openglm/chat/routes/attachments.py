"""Attachments: sent, looked at, fetched, deleted."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from openglm.chat.attachments import BYTES, Attachment, seen
from openglm.chat.owner import Asking, Room
from openglm.maas.files import disposition, read_upload

router = APIRouter(tags=["attachments"])
_SHOWN = ("image/png", "image/jpeg", "image/gif", "image/webp")


@router.post("/attachments", status_code=201)
async def add_attachment(request: Request, chat: Room, asker: Asking) -> Attachment:
    """Multipart with one `file`. Documents are read after the answer; `state` says how far that is."""
    async with read_upload(request, BYTES) as sent:
        return await chat.attachments.add(asker.caller, asker.owner, sent.filename, sent.chunks())


@router.get("/attachments/{attachment_id}")
async def look_at_attachment(attachment_id: str, chat: Room, asker: Asking) -> Attachment:
    return seen(await chat.attachments.row(asker.owner, attachment_id))


@router.get("/attachments/{attachment_id}/content", response_class=Response)
async def fetch_attachment(attachment_id: str, chat: Room, asker: Asking) -> Response:
    """Images as they are, everything else as a download; nothing of it can run here."""
    row = await chat.attachments.row(asker.owner, attachment_id)
    file, chunks = await chat.attachments.content(row)
    headers = {
        "content-length": str(file.bytes),
        "content-security-policy": "default-src 'none'; sandbox",
    }
    if row["media_type"] not in _SHOWN:
        headers["content-disposition"] = disposition(row["name"])
    kind = row["media_type"] if row["media_type"] in _SHOWN else "application/octet-stream"
    return StreamingResponse(chunks, media_type=kind, headers=headers)


@router.delete("/attachments/{attachment_id}", status_code=204)
async def delete_attachment(attachment_id: str, chat: Room, asker: Asking) -> None:
    await chat.attachments.delete(asker.owner, attachment_id)
