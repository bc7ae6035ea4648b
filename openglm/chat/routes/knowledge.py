"""Knowledge bases to choose from, and the text that citations are of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query

from openglm.chat.owner import Asking, Room
from openglm.chat.passages import MOST_CHARS, Passage, of_attachment, of_document

router = APIRouter(tags=["knowledge"])
MOST_BASES = 1_000  # that are listed
Start = Annotated[int, Query(ge=0, le=10**9, description="in code points")]
Most = Annotated[int, Query(ge=1, le=MOST_CHARS, description="code points")]


@dataclass(frozen=True, slots=True)
class Choice:
    """A knowledge base."""

    id: str
    name: str
    description: str | None
    documents: int


@router.get("/knowledge")
async def list_knowledge(chat: Room, asker: Asking) -> list[Choice]:
    """Bases that answers may draw on: the organisation's, the newest first."""
    rows, _ = await chat.platform.knowledge.bases(asker.caller, page=1, size=MOST_BASES)
    return [Choice(row["id"], row["name"], row["description"], row["documents"]) for row in rows]


@router.get("/documents/{document_id}/text")
async def read_document(
    document_id: str, chat: Room, asker: Asking, start: Start = 0, most: Most = 4_000
) -> Passage:
    """A piece of the text of a knowledge base's document."""
    return await of_document(chat, asker, document_id, start, most)


@router.get("/attachments/{attachment_id}/text")
async def read_attachment(
    attachment_id: str, chat: Room, asker: Asking, start: Start = 0, most: Most = 4_000
) -> Passage:
    """A piece of the text of an attached document."""
    return await of_attachment(chat, asker, attachment_id, start, most)
