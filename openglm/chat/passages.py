"""Passages: pieces of the text that was read of a document, for who wants to see what a citation rests on.

Offsets count code points of the whole text, as citations do. Of knowledge bases, members of the organisation
read; of attachments, their owner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from openglm.errors import Conflict, InvalidRequest, OpenGLMError

if TYPE_CHECKING:
    from openglm.chat.owner import Asker
    from openglm.chat.room import Chat
    from openglm.chat.shapes import Row

MOST_CHARS = 20_000  # of one passage


@dataclass(frozen=True, slots=True)
class Passage:
    """`text` is what stands from `start` to `end` of the `length` code points of the document."""

    id: str
    name: str
    url: str | None
    length: int
    start: int
    end: int
    text: str


async def of_document(chat: Chat, asker: Asker, document_id: str, start: int, most: int) -> Passage:
    """Of a document of a knowledge base."""
    row = await chat.platform.knowledge.document(asker.caller, document_id)
    if row["state"] != 1:
        raise _unread(row, failed=row["state"] == 2)
    text = await chat.platform.knowledge.text(asker.caller, document_id)
    return _cut(row, row["url"], text, start, most)


async def of_attachment(chat: Chat, asker: Asker, attachment_id: str, start: int, most: int) -> Passage:
    """Of an attached document, as models read it."""
    row = await chat.attachments.row(asker.owner, attachment_id)
    if row["media_type"].startswith("image/"):
        raise InvalidRequest(f"{row['name']!r} is an image: it has no text", param="attachment_id")
    if row["state"] != "ready":
        raise _unread(row, failed=row["state"] == "failed")
    return _cut(row, None, row["text"] or "", start, most)


def _cut(row: Row, url: str | None, text: str, start: int, most: int) -> Passage:
    start = min(start, len(text))
    piece = text[start : start + most]
    return Passage(row["id"], row["name"], url, len(text), start, start + len(piece), piece)


def _unread(row: Row, *, failed: bool) -> OpenGLMError:
    if failed:
        return InvalidRequest(f"{row['name']!r} could not be read, so there is no text of it")
    return Conflict(f"{row['name']!r} is being read", hint="try again in a moment")
