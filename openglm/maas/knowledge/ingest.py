"""Reading documents after they were stored: cut and index, make vectors, show.

Each step is written down, so what a killed process began is gone on with by whoever holds the lease next, and
vectors that were paid for are not made again. A reading shows when it is whole; the one before it shows
until then. A few are read at a time, tenants take turns, and one place is always left for another tenant.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec
import numpy as np

from openglm.errors import DuplicateRequest, OpenGLMError, Overloaded, RateLimited, UpstreamFailure
from openglm.maas.blobs import Blobs
from openglm.maas.database import Database, Row, Transaction
from openglm.maas.documents.reading import MAX_BYTES, Manner, digest_apart, told_by
from openglm.maas.documents.source import DocumentRefused
from openglm.maas.ids import Clock, wall_clock
from openglm.maas.leases import Leases, most_of
from openglm.maas.outbound import Fetched
from openglm.maas.quotas.quota import QuotaReached, check
from openglm.maas.rounds import Rounds

if TYPE_CHECKING:
    from openglm.maas.identity.caller import Caller

logger = logging.getLogger(__name__)

AT_ONCE = max(2, min(4, os.cpu_count() or 1))  # documents; each may take as much memory as its process may
FREE_MS = 3_600_000  # until what was left half written is swept
POLL_S = 5.0
TRIES = 8
SLICE = 500  # chunks of one transaction
TERMS = 2_000  # terms of one transaction
EMBEDDED = 32  # chunks of one request for vectors
FETCH_S = 60.0
UNREADABLE, NO_VECTORS = 10001, 10003  # embedding_code; the first is the official one for what is unusable
Keep = Callable[[Transaction, list["array[float]"]], None]


class Embed(Protocol):
    """Vectors of texts, billed to the caller under the errand's id, kept in the transaction of the bill."""

    async def __call__(
        self, caller: Caller, model: str, texts: Sequence[str], errand: str, keep: Keep | None = None
    ) -> list[array[float]]: ...


class Ingest:
    """Starts with the platform; `run_pending` is the same work, awaited."""

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        *,
        embed: Embed,
        fetch: Callable[..., Awaitable[Fetched]],
        model_of: Callable[[Caller, int], str | None],
        node_id: str,
        clock: Clock = wall_clock,
    ):
        self._database = database
        self._blobs = blobs
        self._embed = embed
        self._fetch = fetch
        self._model_of = model_of
        self._clock = clock
        self._leases = Leases(
            database, "knowledge_document", "state = 0", columns="*", node_id=node_id, clock=clock
        )
        self._working: dict[str, asyncio.Task[None]] = {}
        self._serving = Rounds("documents are looked for", self._claim, POLL_S)
        self._renewing = Rounds("the leases of documents are renewed", self._renew, POLL_S)

    async def start(self) -> None:
        """Read documents from now on."""
        self._serving.start(at_once=True)
        self._renewing.start()

    async def stop(self) -> None:
        """Leave off at once: what was begun is gone on with after the next start."""
        await self._serving.stop()
        working = list(self._working.values())
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        await self._renewing.stop()
        await self._leases.give_up()

    def wake(self) -> None:
        """There is something to read or to sweep."""
        self._serving.wake()

    async def run_pending(self) -> None:
        while claimed := await self._leases.claim(1):
            await self._work(claimed[0])
        await self.sweep()

    async def sweep(self) -> int:
        """Delete readings that nothing shows any more; gives how many."""
        rows = await self._database.read(
            "SELECT id FROM knowledge_reading WHERE shown = 0 AND free_at <= :now LIMIT 100",
            now=self._clock(),
        )

        for row in rows:

            def remove(transaction: Transaction, reading: int = row["id"]) -> None:
                for table, column in (
                    ("knowledge_chunk", "reading"),
                    ("knowledge_term", "reading"),
                    ("knowledge_vector", "reading"),
                    ("knowledge_reading", "id"),
                ):
                    transaction.run(f"DELETE FROM {table} WHERE {column} = :reading", reading=reading)

            await asyncio.shield(self._database.write(remove))
        return len(rows)

    async def _claim(self) -> None:
        places = AT_ONCE - len(self._working)
        for row in await self._leases.claim(places, each=most_of(AT_ONCE), working=self._working):
            self._working[row["id"]] = asyncio.create_task(self._in_its_place(row))
        await self.sweep()

    async def _in_its_place(self, row: Row) -> None:
        try:
            await self._work(row)
        except Exception as error:
            # The lease runs out by itself, and then it is tried again.
            logger.error("document %s broke off", row["id"], exc_info=error)
        finally:
            del self._working[row["id"]]
            self._serving.wake()

    async def _renew(self) -> None:
        await self._leases.renew(self._working)

    async def _work(self, row: Row) -> None:
        from openglm.maas.identity.caller import Caller

        caller = msgspec.json.decode(row["caller"], type=Caller)
        try:
            reading, words = await self._written(row)
            model = self._model_of(caller, await self._embedding_of(row))
            if model:
                await self._add_vectors(caller, row, reading, model)
            await self._show(row, reading, model, words)
        except (RateLimited, Overloaded, UpstreamFailure, DuplicateRequest) as error:
            await self._later(row, error)
        except (DocumentRefused, QuotaReached) as error:
            await self._fail(row, UNREADABLE, str(error))
        except OpenGLMError as error:
            await self._fail(row, NO_VECTORS, str(error))
        except Exception as error:
            logger.error("document %s broke its reader", row["id"], exc_info=error)
            await self._later(row, error)

    async def _embedding_of(self, row: Row) -> int:
        base = await self._database.read_one(
            "SELECT embedding_id FROM knowledge_base WHERE id = :id", id=row["knowledge_id"]
        )
        if base is None:
            raise DocumentRefused("the knowledge base was deleted", code="document_unreachable")
        return int(base["embedding_id"])

    async def _written(self, row: Row) -> tuple[int, int]:
        """The number of a reading whose chunks and terms are stored, and the length of its text."""
        known = await self._database.read_one(
            "SELECT id FROM knowledge_reading WHERE document_id = :id AND revision = :revision"
            " AND lengths IS NOT NULL AND shown = 0 AND free_at > :now",
            id=row["id"],
            revision=row["revision"],
            now=self._clock(),
        )
        if known and row["word_num"]:
            return known["id"], row["word_num"]
        kind, charset, content = await self._content(row)
        manner = Manner(
            kind,
            row["knowledge_type"],
            row["sentence_size"],
            tuple(msgspec.json.decode(row["separators"])),
            row["name"],
            charset,
        )
        digest = await digest_apart(content, manner)
        reading = secrets.randbits(62)
        write = self._database.write

        def begin(transaction: Transaction) -> None:
            _weigh(transaction, row, len(content), len(digest.text), self._clock())
            transaction.run(
                "INSERT INTO knowledge_reading (id, document_id, knowledge_id, revision, chunks, free_at)"
                " VALUES (:reading, :document, :base, :revision, :chunks, :free)",
                reading=reading,
                document=row["id"],
                base=row["knowledge_id"],
                revision=row["revision"],
                chunks=len(digest.pieces),
                free=self._clock() + FREE_MS,
            )

        await write(begin, lock=row["org_id"])
        chunks = [
            {
                "reading": reading,
                "number": number,
                "start": piece.start,
                "end": piece.end,
                "page": piece.page,
                "row": piece.row,
                "heading": piece.heading,
                "text": digest.text[piece.start : piece.end],
            }
            for number, piece in enumerate(digest.pieces)
        ]
        for at in range(0, len(chunks), SLICE):
            part = chunks[at : at + SLICE]
            await write(
                lambda transaction, part=part: transaction.many(  # type: ignore[misc]
                    "INSERT INTO knowledge_chunk (reading, number, start_at, end_at, page, row_number,"
                    " heading, text) VALUES (:reading, :number, :start, :end, :page, :row, :heading, :text)",
                    part,
                )
            )
        found = [
            {"base": row["knowledge_id"], "term": term, "reading": reading, "postings": postings}
            for term, postings in digest.terms.items()
        ]
        for at in range(0, len(found), TERMS):
            some = found[at : at + TERMS]
            await write(
                lambda transaction, some=some: transaction.many(  # type: ignore[misc]
                    "INSERT INTO knowledge_term (knowledge_id, term, reading, postings)"
                    " VALUES (:base, :term, :reading, :postings)",
                    some,
                )
            )
        await self._blobs.put(text_name(row["id"]), _once(digest.text.encode()), max_bytes=1 << 40)
        await write(
            lambda transaction: transaction.run(
                "UPDATE knowledge_reading SET lengths = :lengths WHERE id = :reading",
                reading=reading,
                lengths=digest.lengths,
            )
        )
        return reading, len(digest.text)

    async def _content(self, row: Row) -> tuple[str, str | None, bytes]:
        """Kind, charset and bytes of a document; those at a URL are fetched."""
        if row["kind"]:
            return row["kind"], None, await self._blobs.get(blob_name(row["id"]), max_bytes=MAX_BYTES)
        page = await self._fetch(row["url"], max_bytes=MAX_BYTES, timeout_s=FETCH_S)
        if page.status >= 500 or page.status == 429:
            raise UpstreamFailure(f"the URL answered with status {page.status}")
        if page.status >= 400:
            raise DocumentRefused(f"the URL answered with status {page.status}", code="document_unreachable")
        return *told_by(page.headers.get("content-type", ""), row["name"]), page.body

    async def _add_vectors(self, caller: Caller, row: Row, reading: int, model: str) -> None:
        made = await self._database.read(
            "SELECT first FROM knowledge_vector WHERE reading = :reading", reading=reading
        )
        there = {one["first"] for one in made}
        total = await self._database.read_one(
            "SELECT chunks FROM knowledge_reading WHERE id = :reading", reading=reading
        )
        for first in range(0, total["chunks"] if total else 0, EMBEDDED):
            if first in there:
                continue
            await self._hold_on(reading)
            chunks = await self._database.read(
                "SELECT heading, text FROM knowledge_chunk WHERE reading = :reading"
                " AND number >= :first AND number < :last ORDER BY number",
                reading=reading,
                first=first,
                last=first + EMBEDDED,
            )

            def keep(transaction: Transaction, vectors: list[array[float]], first: int = first) -> None:
                data, dimension = packed(vectors)
                transaction.run(
                    "INSERT INTO knowledge_vector (reading, first, dimension, data)"
                    " VALUES (:reading, :first, :dimension, :data)",
                    reading=reading,
                    first=first,
                    dimension=dimension,
                    data=data,
                )

            texts = [f"{one['heading']}\n{one['text']}".strip() for one in chunks]
            await self._embed(caller, model, texts, f"{row['id']}-{reading}-{first}", keep)

    async def _hold_on(self, reading: int) -> None:
        """Keep the sweeper from what is still written."""
        free = self._clock() + FREE_MS
        await self._database.write(
            lambda transaction: transaction.run(
                "UPDATE knowledge_reading SET free_at = :free WHERE id = :reading AND free_at > 0",
                reading=reading,
                free=free,
            )
        )

    async def _show(self, row: Row, reading: int, model: str | None, words: int) -> None:
        def show(transaction: Transaction) -> None:
            if not transaction.run(
                "UPDATE knowledge_document SET state = 1, lease_until = 0, word_num = :words"
                " WHERE id = :id AND revision = :revision",
                id=row["id"],
                revision=row["revision"],
                words=words,
            ):  # deleted, or wanted otherwise meanwhile
                transaction.run("UPDATE knowledge_reading SET free_at = 0 WHERE id = :id", id=reading)
                transaction.run("UPDATE knowledge_document SET lease_until = 0 WHERE id = :id", id=row["id"])
                return
            free_readings(transaction, row["id"], reading)
            transaction.run(
                "UPDATE knowledge_reading SET shown = 1, vector_model = :model WHERE id = :id",
                id=reading,
                model=model,
            )

        await asyncio.shield(self._database.write(show, durable=True))

    async def _later(self, row: Row, error: Exception) -> None:
        """Try again after a while that doubles; in the end say what is in the way."""
        if row["attempts"] + 1 >= TRIES:
            await self._fail(row, NO_VECTORS, str(error))
            return
        logger.info("document %s waits: %s", row["id"], error)
        await self._database.write(
            lambda transaction: transaction.run(
                "UPDATE knowledge_document SET attempts = attempts + 1, lease_owner = NULL,"
                " lease_until = :due WHERE id = :id AND revision = :revision",
                id=row["id"],
                revision=row["revision"],
                due=self._clock() + 1000 * 2 ** (row["attempts"] + 1),
            )
        )

    async def _fail(self, row: Row, code: int, message: str) -> None:
        await self._database.write(
            lambda transaction: transaction.run(
                "UPDATE knowledge_document SET state = 2, fail_code = :code, fail_message = :message,"
                " lease_until = 0 WHERE id = :id AND revision = :revision",
                id=row["id"],
                revision=row["revision"],
                code=code,
                message=message[:500].replace("\0", ""),
            ),
            durable=True,
        )


def _weigh(transaction: Transaction, row: Row, size: int, characters: int, now: int) -> None:
    """Write what a document turned out to have, if there is room for what is more than was known."""
    known = transaction.one("SELECT bytes, word_num FROM knowledge_document WHERE id = :id", id=row["id"])
    if known is None:
        return  # deleted meanwhile; what is read of it is swept
    more = {"document_bytes": size - known["bytes"], "document_characters": characters - known["word_num"]}
    check(transaction, row["org_id"], now, **{name: number for name, number in more.items() if number > 0})
    transaction.run(
        "UPDATE knowledge_document SET word_num = :words, bytes = :bytes WHERE id = :id",
        id=row["id"],
        words=characters,
        bytes=size,
    )


def free_readings(transaction: Transaction, document_id: str, except_for: int) -> None:
    """Leave all readings of a document but one to the sweeper."""
    transaction.run(
        "UPDATE knowledge_reading SET shown = 0, free_at = 0 WHERE document_id = :id AND id <> :one",
        id=document_id,
        one=except_for,
    )


def packed(vectors: Sequence[array[float]]) -> tuple[bytes, int]:
    """Vectors as 16-bit floats of length one, and their dimension."""
    rows = np.array([np.asarray(vector, np.float32) for vector in vectors], np.float32)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return rows.astype("<f2").tobytes(), rows.shape[1]


def blob_name(document_id: str) -> str:
    return f"knowledge/{document_id}"


def text_name(document_id: str) -> str:
    return f"knowledge/{document_id}.text"


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
