"""Files of a project: one row in the database, the content in the blob store under the file's id.

The row is written after the content, so a file that is listed can be read. Everything asks for the owner's
organisation and project: a file of somebody else is not found. One whose time is over is not found either.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, Protocol

from openglm.errors import Conflict, InvalidRequest, NotFound
from openglm.maas.blobs import Blobs
from openglm.maas.database import Database, Row, Transaction
from openglm.maas.ids import Clock, new_id, wall_clock
from openglm.maas.quotas.quota import check, look

MAX_BYTES = 512 << 20
MAX_BYTES_OF = {"batch": 100 << 20}
PURPOSES = (
    "batch",
    "fine-tune",
    "retrieval",
    "agent",
    "assistants",
    "user_data",
    "vision",
    "evals",
    "file-extract",
    "code-interpreter",
    "voice-clone-input",
)
MADE_HERE = ("batch_output", "fine-tune-results", "image_output")
FORGET_AT_ONCE = 500
MAX_NAME = 200  # characters; with four bytes each still a file name on every system
MAX_PAGE = 10_000
COLUMNS = "id, purpose, name, bytes, created_at, expires_at"
ALIVE = "(expires_at IS NULL OR expires_at > :now)"
_ID = re.compile(r"[a-z]{2,10}_[0-9a-f]{26}")


class Owner(Protocol):
    """Whose files: a `Caller`, or anyone else who stands for a project."""

    @property
    def org_id(self) -> str: ...

    @property
    def project_id(self) -> str: ...


@dataclass(frozen=True, slots=True)
class File:
    """One file. Times are in milliseconds."""

    id: str
    purpose: str
    name: str
    bytes: int
    created_at: int
    expires_at: int | None = None

    def wire(self) -> dict[str, Any]:
        end = {} if self.expires_at is None else {"expires_at": self.expires_at // 1000}
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": self.created_at // 1000,
            "filename": self.name,
            "purpose": self.purpose,
            "status": "processed",
            **end,
        }


@dataclass(frozen=True, slots=True)
class FilePage:
    files: list[File]
    has_more: bool

    def wire(self) -> dict[str, Any]:
        return {
            "object": "list",
            "data": [file.wire() for file in self.files],
            "first_id": self.files[0].id if self.files else None,
            "last_id": self.files[-1].id if self.files else None,
            "has_more": self.has_more,
        }


class Files:
    def __init__(self, database: Database, blobs: Blobs, clock: Clock = wall_clock):
        self._database = database
        self._blobs = blobs
        self._clock = clock

    async def upload(self, owner: Owner, name: str, purpose: str, chunks: AsyncIterator[bytes]) -> File:
        """Store what a user sends."""
        if purpose not in PURPOSES:
            raise no_purpose(purpose)
        await self.look_for_room(owner)
        file_id = new_id("file", self._clock())
        file = await self.write(owner, file_id, safe_name(name), purpose, chunks)
        if file.bytes == 0:
            await self.delete(owner, file.id)
            raise InvalidRequest("the file is empty", param="file", code="empty_file")
        return file

    async def write(
        self,
        owner: Owner,
        file_id: str,
        name: str,
        purpose: str,
        chunks: AsyncIterator[bytes],
        *,
        expires_at: int | None = None,
        also: Callable[[Transaction], None] | None = None,
    ) -> File:
        """Store under an id that is known before, such as a batch's output: doing it again replaces it.
        `also` is written with the row, or neither is.

        What was made here finds room whatever the owner's quotas are: it has been paid for.
        """
        limit = MAX_BYTES_OF.get(purpose, MAX_BYTES) if purpose not in MADE_HERE else 1 << 40
        size = await self._blobs.put(blob_name(file_id), chunks, max_bytes=limit)
        file = File(file_id, purpose, name, size, self._clock(), expires_at)

        def insert(transaction: Transaction) -> None:
            if purpose not in MADE_HERE:
                check(transaction, owner.org_id, file.created_at, files=1, file_bytes=size)
            transaction.run(
                "INSERT INTO file (id, org_id, project_id, purpose, name, bytes, created_at, expires_at)"
                " VALUES (:id, :org, :project, :purpose, :name, :bytes, :now, :expires)"
                " ON CONFLICT (id) DO UPDATE SET bytes = :bytes",
                id=file.id,
                org=owner.org_id,
                project=owner.project_id,
                purpose=purpose,
                name=name,
                bytes=size,
                now=file.created_at,
                expires=expires_at,
            )
            if also:
                also(transaction)

        try:
            await self._database.write(insert, durable=True, lock=owner.org_id)
        except BaseException:
            await self._blobs.delete(blob_name(file_id))
            raise
        return file

    async def look_for_room(self, owner: Owner, *, files: int = 1) -> None:
        """Raise where there is no room at all, before anything is sent or made."""
        await look(self._database, owner.org_id, self._clock(), files=files, file_bytes=1)

    async def get(self, owner: Owner, file_id: str) -> File:
        if not is_id(file_id):
            raise no_file(file_id)
        row = await self._database.read_one(
            f"SELECT {COLUMNS} FROM file WHERE id = :id AND org_id = :org AND project_id = :project"
            f" AND {ALIVE}",
            id=file_id,
            org=owner.org_id,
            project=owner.project_id,
            now=self._clock(),
        )
        if row is None:
            raise no_file(file_id)
        return from_row(row)

    async def list(
        self,
        owner: Owner,
        *,
        purpose: str | None = None,
        limit: int = MAX_PAGE,
        after: str | None = None,
        order: str = "desc",
    ) -> FilePage:
        """A page of files, newest first unless `order` is asc. `after` is the last id of the page before."""
        if order not in ("asc", "desc"):
            raise InvalidRequest(f"order must be asc or desc, got {order[:20]!r}", param="order")
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidRequest(f"limit must be from 1 to {MAX_PAGE}, got {limit}", param="limit")
        if after and not is_id(after):
            raise InvalidRequest(f"after must be the id of a file, got {after[:40]!r}", param="after")
        if purpose and purpose not in PURPOSES + MADE_HERE:
            raise no_purpose(purpose)
        clauses = ["org_id = :org", "project_id = :project", ALIVE]
        if purpose:
            clauses.append("purpose = :purpose")
        if after:
            clauses.append("id < :after" if order == "desc" else "id > :after")
        wanted = {"org": owner.org_id, "project": owner.project_id, "purpose": purpose, "after": after}
        rows = await self._database.read(
            f"SELECT {COLUMNS} FROM file WHERE {' AND '.join(clauses)} ORDER BY id {order} LIMIT :most",
            **{name: value for name, value in wanted.items() if value},
            now=self._clock(),
            most=limit + 1,
        )
        return FilePage([from_row(row) for row in rows[:limit]], len(rows) > limit)

    async def content(self, owner: Owner, file_id: str) -> tuple[File, AsyncIterator[bytes]]:
        file = await self.get(owner, file_id)
        return file, self._blobs.stream(blob_name(file.id))

    async def linked(self, file_id: str, purpose: str) -> tuple[File, AsyncIterator[bytes]]:
        """For whoever holds a link that we signed: no owner is asked for."""
        row = await self._database.read_one(
            f"SELECT {COLUMNS} FROM file WHERE id = :id AND purpose = :purpose AND {ALIVE}",
            id=file_id,
            purpose=purpose,
            now=self._clock(),
        )
        if row is None:
            raise no_file(file_id)
        return from_row(row), self._blobs.stream(blob_name(file_id))

    async def forget_expired(self) -> int:
        """Delete some files whose time is over; how many they were."""
        rows = await self._database.read(
            "SELECT id, org_id FROM file WHERE expires_at <= :now ORDER BY expires_at, id LIMIT :most",
            now=self._clock(),
            most=FORGET_AT_ONCE,
        )
        for row in rows:
            await self._blobs.delete(blob_name(row["id"]))
        # One organisation's at a time: each has a row of counts, and what locks several waits in a ring.
        for org_id, of_org in groupby(sorted(rows, key=itemgetter("org_id")), itemgetter("org_id")):
            gone = [{"id": row["id"]} for row in of_org]
            remove = partial(Transaction.many, sql="DELETE FROM file WHERE id = :id", rows=gone)
            await self._database.write(remove, lock=org_id)
        return len(rows)

    async def part(self, owner: Owner, file_id: str, start: int, length: int) -> bytes:
        """Some bytes from the middle; at the end of the file, what is left."""
        file = await self.get(owner, file_id)
        return await self._blobs.range(blob_name(file.id), start, max(0, min(length, file.bytes - start)))

    async def delete(self, owner: Owner, file_id: str) -> None:
        """Delete. What a batch or a fine-tuning job still reads is kept."""
        if not is_id(file_id):
            raise no_file(file_id)

        def remove(transaction: Transaction) -> None:
            held = transaction.one(
                "SELECT id FROM batch WHERE input_file_id = :id AND org_id = :org AND ended_at IS NULL",
                id=file_id,
                org=owner.org_id,
            )
            if held:
                raise Conflict(f"batch {held['id']} still reads this file", hint="cancel the batch first")
            held = transaction.one(
                "SELECT id FROM fine_tuning_job WHERE (training_file = :id OR validation_file = :id)"
                " AND org_id = :org AND ended_at IS NULL",
                id=file_id,
                org=owner.org_id,
            )
            if held:
                raise Conflict(f"job {held['id']} still reads this file", hint="cancel the job first")
            gone = transaction.run(
                "DELETE FROM file WHERE id = :id AND org_id = :org AND project_id = :project",
                id=file_id,
                org=owner.org_id,
                project=owner.project_id,
            )
            if not gone:
                raise no_file(file_id)

        await self._database.write(remove, durable=True)
        await self._blobs.delete(blob_name(file_id))


def safe_name(name: str) -> str:
    """The last part of a path without control and invisible characters; it is shown, never opened."""
    tail = name.replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(char for char in tail if unicodedata.category(char)[0] != "C").strip(" .")
    if len(kept) > MAX_NAME:
        stem, dot, ending = kept.rpartition(".")
        short = dot + ending if stem and len(ending) <= 16 else ""
        kept = kept[: MAX_NAME - len(short)] + short
    return kept or "file"


def is_id(text: str) -> bool:
    """Whether a text from outside has the form of our ids. What has not need not reach the database."""
    return bool(_ID.fullmatch(text))


def no_purpose(purpose: str) -> InvalidRequest:
    return InvalidRequest(
        f"purpose must be one of {', '.join(PURPOSES)}, got {purpose[:60]!r}",
        param="purpose",
        code="invalid_value",
    )


def blob_name(file_id: str) -> str:
    return f"files/{file_id}"


def no_file(file_id: str) -> NotFound:
    return NotFound(f"no file {file_id[:80]!r}", hint="list the files of this project to see their ids")


def from_row(row: Row) -> File:
    return File(row["id"], row["purpose"], row["name"], row["bytes"], row["created_at"], row["expires_at"])
