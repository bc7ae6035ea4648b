"""Attachments: files of the platform, with the text that was read of them in a process of its own.

Images go into prompts as images, documents as text before the question. Whoever was cut off while a file was
read finds it read again when it is next asked for.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openglm.chat.draft import kept
from openglm.chat.owner import OWN, Owner
from openglm.errors import InvalidRequest, NotFound, OpenGLMError
from openglm.maas.files import is_id
from openglm.maas.ids import new_id
from openglm.maas.images import PURPOSE
from openglm.messages import ImagePart, Message, Part, TextPart

if TYPE_CHECKING:
    from openglm.chat.shapes import Row
    from openglm.maas.database import Transaction
    from openglm.maas.files import File
    from openglm.maas.identity import Caller
    from openglm.maas.platform import Platform

logger = logging.getLogger(__name__)

BYTES = 50 << 20  # of one attachment
UNSENT_MS = 7 * 86_400_000  # a draft may wait so long
FORGET_AT_ONCE = 200
AT_ONCE = 2  # documents that are read
IMAGE_BYTES = 5 << 20  # of one image that a model is shown
TEXT_CHARS = 1_000_000  # of one document that are kept
PROMPT_CHARS = 200_000  # of one document that a prompt takes in
_IMAGES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


@dataclass(frozen=True, slots=True)
class Attachment:
    id: str
    name: str
    bytes: int
    media_type: str
    state: str  # reading, ready, failed
    error: str | None


@dataclass(frozen=True, slots=True)
class _Owned:
    """Whose file it is, as the platform's files ask: of the household's, whoever has taken its talks over."""

    org_id: str
    project_id: str


class Attachments:
    def __init__(self, platform: Platform):
        self._platform = platform
        self._database = platform.database
        self._places = asyncio.Semaphore(AT_ONCE)
        self._reading: dict[str, asyncio.Task[None]] = {}

    async def add(self, caller: Caller, owner: Owner, name: str, chunks: AsyncIterator[bytes]) -> Attachment:
        """Keep a file, and begin to read it."""
        file = await self._platform.files.upload(caller, name, "user_data", _bounded(chunks))
        head = await self._platform.files.part(caller, file.id, 0, min(16, file.bytes))
        media_type = image_type(head) or "application/octet-stream"
        state = "ready" if media_type.startswith("image/") else "reading"
        await self._database.write(
            lambda tx: tx.run(
                "INSERT INTO chat_attachment (id, org_id, user_id, file_org_id, file_project_id, name, bytes,"
                " media_type, state, created_at)"
                " VALUES (:id, :org, :user, :file_org, :project, :name, :bytes, :media, :state, :now)",
                id=file.id,
                file_org=caller.org_id,
                project=caller.project_id,
                name=file.name,
                bytes=file.bytes,
                media=media_type,
                state=state,
                now=file.created_at,
                **owner.ids,
            ),
            durable=True,
        )
        row = await self.row(owner, file.id)
        if state == "reading":
            self._read(row)
        return seen(row)

    async def keep_picture(
        self, caller: Caller, owner: Owner, conversation_id: str, data: bytes, kind: str
    ) -> str:
        """Keep what a model drew for a conversation, as long as that lives; its id."""
        now = self._platform.clock()
        file_id = new_id("file", now)
        name = f"picture-{file_id[-8:]}.{kind}"

        async def chunks() -> AsyncIterator[bytes]:
            yield data

        def insert(tx: Transaction) -> None:
            tx.run(
                "INSERT INTO chat_attachment (id, org_id, user_id, file_org_id, file_project_id, name, bytes,"
                " media_type, state, created_at, conversation_id)"
                " VALUES (:id, :org, :user, :file_org, :project, :name, :bytes, :media, 'ready', :now,"
                " :conversation)",
                id=file_id,
                file_org=caller.org_id,
                project=caller.project_id,
                name=name,
                bytes=len(data),
                media=f"image/{kind}",
                now=now,
                conversation=conversation_id,
                **owner.ids,
            )

        await self._platform.files.write(caller, file_id, name, PURPOSE, chunks(), also=insert)
        return file_id

    async def row(self, owner: Owner, attachment_id: str) -> Row:
        row = None
        if is_id(attachment_id):
            row = await self._database.read_one(
                f"SELECT * FROM chat_attachment WHERE id = :id AND {OWN}", id=attachment_id, **owner.ids
            )
        if row is None:
            raise NotFound(f"there is no attachment {attachment_id[:80]!r} here")
        if row["state"] == "reading" and row["id"] not in self._reading:
            self._read(row)
        return row

    async def content(self, row: Row) -> tuple[File, AsyncIterator[bytes]]:
        return await self._platform.files.content(_owner(row), row["id"])

    async def delete(self, owner: Owner, attachment_id: str) -> None:
        row = await self.row(owner, attachment_id)
        await self._platform.files.delete(_owner(row), row["id"])
        await self._forget(row["id"])

    async def drop(self, where: str, **given: Any) -> None:
        """Delete some, whoever's: with their conversation, or because nobody sent them."""
        for row in await self._database.read(
            f"SELECT * FROM chat_attachment WHERE in_project = 0 AND {where}", **given
        ):
            with contextlib.suppress(NotFound):  # deleted over the API
                await self._platform.files.delete(_owner(row), row["id"])
            await self._forget(row["id"])

    async def forget_unsent(self) -> None:
        """Those that were sent in no message."""
        before = self._platform.clock() - UNSENT_MS
        await self.drop(
            f"conversation_id IS NULL AND created_at < :before LIMIT {FORGET_AT_ONCE}", before=before
        )

    async def keep(self, ids: Sequence[str]) -> None:
        """They belong to a project."""
        await self._database.write(
            lambda tx: tx.many(
                "UPDATE chat_attachment SET in_project = 1 WHERE id = :id", [{"id": one} for one in ids]
            )
        )

    async def _forget(self, attachment_id: str) -> None:
        await self._database.write(
            lambda tx: tx.run("DELETE FROM chat_attachment WHERE id = :id", id=attachment_id), durable=True
        )

    async def parts(self, owner: Owner, conversation_id: str, ids: Sequence[str]) -> list[dict[str, Any]]:
        """As a message of that conversation shows them."""
        rows = [await self.row(owner, attachment_id) for attachment_id in ids]
        if ids:
            sent = [{"id": one, "conversation": conversation_id} for one in ids]
            await self._database.write(
                lambda tx: tx.many(
                    "UPDATE chat_attachment SET conversation_id = :conversation"
                    " WHERE id = :id AND conversation_id IS NULL",
                    sent,
                )
            )
        return [
            {
                "type": "attachment",
                "file_id": row["id"],
                "name": row["name"],
                "bytes": row["bytes"],
                "media_type": row["media_type"],
                "state": row["state"],
                "at": 0,
            }
            for row in rows
        ]

    async def turn(self, owner: Owner, text: str, ids: Sequence[str], *, images: bool) -> Message:
        """What the user said as the model reads it: documents before the words, images behind."""
        documents: list[str] = []
        shown: list[Part] = []
        for attachment_id in ids:
            try:
                row = await self._ready(owner, attachment_id)
            except NotFound:
                documents.append("[An attachment was deleted since.]")
                continue
            if not row["media_type"].startswith("image/"):
                documents.append(_document(row))
            elif images:
                shown.append(await self._image(row))
        told = "\n\n".join((*documents, text)) if documents else text
        return Message("user", (*((TextPart(told),) if told else ()), *shown))

    async def _image(self, row: Row) -> ImagePart:
        if row["bytes"] > IMAGE_BYTES:
            raise InvalidRequest(
                f"the image {row['name']!r} is too large for a model: at most {IMAGE_BYTES} bytes",
                hint="attach a smaller one",
            )
        _, chunks = await self.content(row)
        data = b"".join([chunk async for chunk in chunks])
        return ImagePart(f"data:{row['media_type']};base64,{base64.b64encode(data).decode()}")

    async def _ready(self, owner: Owner, attachment_id: str) -> Row:
        row = await self.row(owner, attachment_id)
        if reading := self._reading.get(attachment_id):
            await asyncio.shield(reading)
            row = await self.row(owner, attachment_id)
        if row["state"] == "failed":
            raise InvalidRequest(
                f"the attachment {row['name']!r} cannot be read: {row['error']}",
                hint="send the message without it",
            )
        return row

    def _read(self, row: Row) -> None:
        task = self._platform.go_on(self._read_through(row))
        self._reading[row["id"]] = task
        task.add_done_callback(lambda _: self._reading.pop(row["id"], None))

    async def _read_through(self, row: Row) -> None:
        text, error = None, None
        try:
            _, chunks = await self.content(row)
            content = b"".join([chunk async for chunk in chunks])
            async with self._places:
                read = await self._platform.text_of(content, row["name"])
            text = kept(read[:TEXT_CHARS])
        except OpenGLMError as failure:
            error = failure.message
        except Exception as failure:
            logger.error("the attachment %s broke its reader", row["id"], exc_info=failure)
            error = "the reader failed"
        await self._database.write(
            lambda tx: tx.run(
                "UPDATE chat_attachment SET state = :state, error = :error, text = :text WHERE id = :id",
                state="failed" if error else "ready",
                error=error,
                text=text,
                id=row["id"],
            ),
            durable=True,
        )


def seen(row: Row) -> Attachment:
    return Attachment(row["id"], row["name"], row["bytes"], row["media_type"], row["state"], row["error"])


def _owner(row: Row) -> _Owned:
    return _Owned(row["file_org_id"], row["file_project_id"])


def image_type(head: bytes) -> str | None:
    """By the first bytes. Not SVG: that is a document that can run."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in _IMAGES.items() if head.startswith(start)), None)


def _document(row: Row) -> str:
    text = row["text"] or ""
    cut = f"\n[{len(text) - PROMPT_CHARS} more characters are left out]" if len(text) > PROMPT_CHARS else ""
    return f"<document name={row['name']!r}>\n{text[:PROMPT_CHARS]}{cut}\n</document>"


async def _bounded(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > BYTES:
            raise InvalidRequest(
                f"an attachment may have at most {BYTES} bytes", param="file", code="file_too_large"
            )
        yield chunk
