"""Knowledge bases and their documents, by organisation: making, listing, changing, deleting.

Documents are stored first and read afterwards, by `Ingest`; questions are answered by `Retriever`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from openglm.errors import InvalidRequest, NotFound
from openglm.maas.blobs import Blobs
from openglm.maas.database import Database, Row, Transaction
from openglm.maas.documents.pieces import MAX_SIZE, MIN_SIZE, TYPES
from openglm.maas.documents.reading import MAX_BYTES, kind_of
from openglm.maas.documents.source import MAX_CHARS
from openglm.maas.files.files import is_id, safe_name
from openglm.maas.ids import Clock, new_id, wall_clock
from openglm.maas.knowledge.ingest import Embed, Ingest, blob_name, free_readings, text_name
from openglm.maas.knowledge.retrieve import Retriever
from openglm.maas.outbound import Fetched, check_url
from openglm.maas.quotas.quota import check, look, standing

if TYPE_CHECKING:
    from openglm.maas.identity.caller import Caller

EMBEDDINGS = {3: "embedding-2", 11: "embedding-3", 12: "embedding-3-pro"}  # by the official ids
COLOURS = ("blue", "red", "orange", "purple", "sky")
ICONS = ("question", "book", "seal", "wrench", "tag", "horn", "house")
MAX_NAME = 100
MAX_DESCRIPTION = 500
MAX_SEPARATORS = 16


class Manners(msgspec.Struct, frozen=True):
    """How a document is to be cut, as the caller asked for it."""

    knowledge_type: int | None = None
    separators: tuple[str, ...] = ("\n",)
    sentence_size: int | None = None

    def __post_init__(self) -> None:
        if self.knowledge_type is not None and self.knowledge_type not in TYPES:
            raise InvalidRequest(
                f"knowledge_type must be one of {', '.join(map(str, TYPES))}, got {self.knowledge_type}",
                param="knowledge_type",
                code="invalid_value",
            )
        if self.sentence_size is not None and not MIN_SIZE <= self.sentence_size <= MAX_SIZE:
            raise InvalidRequest(
                f"sentence_size must be from {MIN_SIZE} to {MAX_SIZE} characters, got {self.sentence_size}",
                param="sentence_size",
                code="invalid_value",
            )
        if not 0 < len(self.separators) <= MAX_SEPARATORS or not all(
            0 < len(mark) <= 32 for mark in self.separators
        ):
            raise InvalidRequest(
                f"custom_separator must be 1 to {MAX_SEPARATORS} texts of 1 to 32 characters",
                param="custom_separator",
                code="invalid_value",
            )


@dataclass(frozen=True, slots=True)
class Base:
    """What a user says of a knowledge base."""

    name: str
    embedding_id: int
    description: str | None = None
    background: str | None = None
    icon: str | None = None


class Knowledge:
    """`embed` makes vectors and bills them, `fetch` opens a stranger's URL, `offers` knows what is served."""

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        *,
        embed: Embed,
        fetch: Callable[..., Awaitable[Fetched]],
        offers: Callable[[Caller, str], bool],
        node_id: str,
        clock: Clock = wall_clock,
    ):
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self.ingest = Ingest(
            database, blobs, embed=embed, fetch=fetch, model_of=self._model_of, node_id=node_id, clock=clock
        )
        self._retriever = Retriever(database, embed, self._model_of)
        self._offers = offers

    async def start(self) -> None:
        await self.ingest.start()

    async def stop(self) -> None:
        await self.ingest.stop()

    async def create(self, caller: Caller, base: Base) -> str:
        """A new, empty base; gives its id."""
        check_base(base)
        base_id = new_id("kb", self._clock())

        def insert(transaction: Transaction) -> None:
            check(transaction, caller.org_id, self._clock(), knowledge_bases=1)
            transaction.run(
                "INSERT INTO knowledge_base (id, org_id, name, description, embedding_id,"
                " background, icon, created_at) VALUES (:id, :org, :name, :description, :embedding,"
                " :background, :icon, :now)",
                id=base_id,
                org=caller.org_id,
                name=base.name,
                description=base.description,
                embedding=base.embedding_id,
                background=base.background,
                icon=base.icon,
                now=self._clock(),
            )

        await self._database.write(insert, durable=True, lock=caller.org_id)
        return base_id

    async def base(self, caller: Caller, base_id: str) -> Row:
        found = None
        if is_id(base_id):
            found = await self._database.read_one(
                f"SELECT {_BASE} FROM knowledge_base b WHERE b.id = :id AND b.org_id = :org",
                id=base_id,
                org=caller.org_id,
            )
        if found is None:
            raise NotFound(f"no knowledge base {base_id[:80]!r}", hint="list the knowledge bases")
        return found

    async def bases(self, caller: Caller, *, page: int, size: int) -> tuple[list[Row], int]:
        """One page of the bases, the newest first, and how many there are."""
        rows = await self._database.read(
            f"SELECT {_BASE} FROM knowledge_base b WHERE b.org_id = :org"
            " ORDER BY b.id DESC LIMIT :size OFFSET :skip",
            org=caller.org_id,
            size=size,
            skip=(page - 1) * size,
        )
        total = await self._database.read_one(
            "SELECT count(*) AS total FROM knowledge_base WHERE org_id = :org", org=caller.org_id
        )
        return list(rows), total["total"] if total else 0

    async def there(self, caller: Caller, base_ids: Sequence[str]) -> list[str]:
        """Those that the caller has: whoever keeps ids of bases may keep one that was deleted since."""
        named = {f"id{number}": one for number, one in enumerate(dict.fromkeys(base_ids)) if is_id(one)}
        if not named:
            return []
        some = ", ".join(f":{name}" for name in named)
        rows = await self._database.read(
            f"SELECT id FROM knowledge_base WHERE org_id = :org AND id IN ({some})",
            org=caller.org_id,
            **named,
        )
        found = {row["id"] for row in rows}
        return [one for one in named.values() if one in found]

    async def change(self, caller: Caller, base_id: str, base: Base) -> None:
        """Another name or look. The embedding stays: vectors of two models do not compare."""
        check_base(base)
        before = await self.base(caller, base_id)
        if before["embedding_id"] != base.embedding_id:
            raise InvalidRequest(
                f"embedding_id must stay {before['embedding_id']}, got {base.embedding_id}",
                param="embedding_id",
                hint="make another knowledge base, and upload the documents there",
            )
        await self._database.write(
            lambda transaction: transaction.run(
                "UPDATE knowledge_base SET name = :name, description = :description,"
                " background = :background, icon = :icon WHERE id = :id",
                id=base_id,
                name=base.name,
                description=base.description,
                background=base.background,
                icon=base.icon,
            ),
            durable=True,
        )

    async def delete(self, caller: Caller, base_id: str) -> None:
        """Delete a base with its documents."""
        await self.base(caller, base_id)

        def remove(transaction: Transaction) -> list[str]:
            names = [
                row["id"]
                for row in transaction.all(
                    "SELECT id FROM knowledge_document WHERE knowledge_id = :id", id=base_id
                )
            ]
            transaction.run("DELETE FROM knowledge_document WHERE knowledge_id = :id", id=base_id)
            transaction.run(
                "UPDATE knowledge_reading SET shown = 0, free_at = 0 WHERE knowledge_id = :id", id=base_id
            )
            transaction.run("DELETE FROM knowledge_base WHERE id = :id", id=base_id)
            return names

        for name in await asyncio.shield(self._database.write(remove, durable=True)):
            await self._drop(name)
        self.ingest.wake()

    async def capacity(self, caller: Caller) -> dict[str, Any]:
        words, size = [
            await standing(self._database, caller.org_id, self._clock(), name)
            for name in ("document_characters", "document_bytes")
        ]
        return {
            "used": {"word_num": words.used, "length": size.used},
            "total": {"word_num": words.limit, "length": size.limit},  # null: no bound
        }

    async def add(
        self, caller: Caller, base_id: str, name: str, chunks: AsyncIterator[bytes], manners: Manners
    ) -> str:
        """Take a document in; it is read soon. Gives its id."""
        await self.base(caller, base_id)
        await self._look(caller)
        name = safe_name(name)
        kind = kind_of(name)
        document_id = new_id("doc", self._clock())
        size = await self._blobs.put(blob_name(document_id), chunks, max_bytes=MAX_BYTES)
        if not size:
            await self._blobs.delete(blob_name(document_id))
            raise InvalidRequest("the file is empty", param="files", code="empty_file")
        await self._insert(caller, base_id, document_id, manners, name=name, kind=kind, bytes=size, url=None)
        return document_id

    async def add_url(self, caller: Caller, base_id: str, url: str, manners: Manners) -> str:
        """Take in what is at a URL, which is fetched when the document is read."""
        check_url(url)
        await self.base(caller, base_id)
        document_id = new_id("doc", self._clock())
        name = url.partition("?")[0].rstrip("/").rpartition("/")[2][-200:] or url[:200]
        await self._insert(caller, base_id, document_id, manners, name=name, kind=None, bytes=0, url=url)
        return document_id

    async def document(self, caller: Caller, document_id: str) -> Row:
        found = None
        if is_id(document_id):
            found = await self._database.read_one(
                f"SELECT {_DOCUMENT} FROM knowledge_document WHERE id = :id AND org_id = :org",
                id=document_id,
                org=caller.org_id,
            )
        if found is None:
            raise NotFound(f"no document {document_id[:80]!r}", hint="list the documents of the base")
        return found

    async def documents(
        self, caller: Caller, base_id: str, *, page: int, size: int, word: str = ""
    ) -> tuple[list[Row], int]:
        """One page of a base's documents whose names hold `word`, newest first, and how many there are."""
        await self.base(caller, base_id)
        like = "%" + word.replace("!", "!!").replace("%", "!%").replace("_", "!_").lower() + "%"
        where = "FROM knowledge_document WHERE knowledge_id = :base AND lower(name) LIKE :name ESCAPE '!'"
        rows = await self._database.read(
            f"SELECT {_DOCUMENT} {where} ORDER BY id DESC LIMIT :size OFFSET :skip",
            base=base_id,
            name=like,
            size=size,
            skip=(page - 1) * size,
        )
        total = await self._database.read_one(f"SELECT count(*) AS total {where}", base=base_id, name=like)
        return list(rows), total["total"] if total else 0

    async def text(self, caller: Caller, document_id: str) -> str:
        """The text that was read, of which the chunks are spans."""
        row = await self.document(caller, document_id)
        if row["state"] != 1:
            raise NotFound(f"the document {document_id} has not been read", hint="look at its embedding_stat")
        kept = await self._blobs.get(text_name(document_id), max_bytes=4 * MAX_CHARS + 16)
        return await asyncio.to_thread(kept.decode)  # it may be long

    async def read_again(self, caller: Caller, document_id: str, manners: Manners | None = None) -> None:
        """Read a document once more, perhaps in another manner; until then the old reading answers."""
        row = await self.document(caller, document_id)
        manners = manners or Manners(
            row["knowledge_type"], tuple(msgspec.json.decode(row["separators"])), row["sentence_size"]
        )
        await self._database.write(
            lambda transaction: transaction.run(
                "UPDATE knowledge_document SET knowledge_type = :type, separators = :separators,"
                " sentence_size = :size, state = 0, fail_code = NULL, fail_message = NULL,"
                " revision = revision + 1, attempts = 0, caller = :caller,"
                # Not at once where it is being read: that reading is dropped when it ends.
                " lease_until = CASE WHEN lease_owner IS NULL THEN 0 ELSE lease_until END WHERE id = :id",
                id=document_id,
                type=manners.knowledge_type,
                separators=msgspec.json.encode(manners.separators).decode(),
                size=manners.sentence_size,
                caller=msgspec.json.encode(caller).decode(),
            ),
            durable=True,
        )
        self.ingest.wake()

    async def delete_document(self, caller: Caller, document_id: str) -> None:
        await self.document(caller, document_id)

        def remove(transaction: Transaction) -> None:
            transaction.run("DELETE FROM knowledge_document WHERE id = :id", id=document_id)
            free_readings(transaction, document_id, 0)

        await asyncio.shield(self._database.write(remove, durable=True))
        await self._drop(document_id)
        self.ingest.wake()

    async def retrieve(self, caller: Caller, question: Any, base_ids: Sequence[str]) -> Any:
        """The spans of these bases that answer a `Question` best, as `Found`, the best first."""
        bases = [await self.base(caller, base_id) for base_id in dict.fromkeys(base_ids)]
        return await self._retriever.retrieve(caller, question, bases)

    def _model_of(self, caller: Caller, embedding_id: int) -> str | None:
        """The model of an embedding id, where the caller may call it; else words alone are compared."""
        name = EMBEDDINGS[embedding_id]
        return name if self._offers(caller, name) else None

    async def _insert(
        self, caller: Caller, base_id: str, document_id: str, manners: Manners, **values: Any
    ) -> None:
        def insert(transaction: Transaction) -> None:
            if not transaction.one("SELECT id FROM knowledge_base WHERE id = :id", id=base_id):
                raise NotFound(f"the knowledge base {base_id} was deleted")
            # What is at a URL is weighed when it has come, and so are the characters of all.
            size = max(1, values["bytes"])
            check(
                transaction,
                caller.org_id,
                self._clock(),
                documents=1,
                document_bytes=size,
                document_characters=1,
            )
            transaction.run(
                "INSERT INTO knowledge_document (id, knowledge_id, org_id, caller, name, url, kind,"
                " knowledge_type, separators, sentence_size, bytes, created_at) VALUES (:id, :base, :org,"
                " :caller, :name, :url, :kind, :type, :separators, :sentences, :bytes, :now)",
                id=document_id,
                base=base_id,
                org=caller.org_id,
                caller=msgspec.json.encode(caller).decode(),
                type=manners.knowledge_type,
                separators=msgspec.json.encode(manners.separators).decode(),
                sentences=manners.sentence_size,
                now=self._clock(),
                **values,
            )

        try:
            await self._database.write(insert, durable=True, lock=caller.org_id)
        except BaseException:
            await self._blobs.delete(blob_name(document_id))
            raise
        self.ingest.wake()

    async def _look(self, caller: Caller) -> None:
        """Refuse before the bytes come where there is no room for any."""
        await look(
            self._database,
            caller.org_id,
            self._clock(),
            documents=1,
            document_bytes=1,
            document_characters=1,
        )

    async def _drop(self, document_id: str) -> None:
        await self._blobs.delete(blob_name(document_id))
        await self._blobs.delete(text_name(document_id))


def check_base(base: Base) -> None:
    """Raise what is wrong with a base's description."""
    if not 0 < len(base.name.strip()) <= MAX_NAME:
        raise _wrong("name", f"1 to {MAX_NAME} characters", base.name)
    if base.embedding_id not in EMBEDDINGS:
        raise _wrong("embedding_id", f"one of {', '.join(map(str, EMBEDDINGS))}", base.embedding_id)
    if base.description is not None and len(base.description) > MAX_DESCRIPTION:
        raise _wrong("description", f"at most {MAX_DESCRIPTION} characters", base.description)
    if base.background is not None and base.background not in COLOURS:
        raise _wrong("background", f"one of {', '.join(COLOURS)}", base.background)
    if base.icon is not None and base.icon not in ICONS:
        raise _wrong("icon", f"one of {', '.join(ICONS)}", base.icon)


def _wrong(param: str, expected: str, got: object) -> InvalidRequest:
    return InvalidRequest(
        f"{param} must be {expected}, got {str(got)[:60]!r}", param=param, code="invalid_value"
    )


_BASE = (
    "b.id, b.name, b.description, b.embedding_id, b.background, b.icon, b.created_at,"
    " (SELECT count(*) FROM knowledge_document d WHERE d.knowledge_id = b.id) AS documents,"
    " (SELECT coalesce(sum(d.word_num), 0) FROM knowledge_document d WHERE d.knowledge_id = b.id) AS words,"
    " (SELECT coalesce(sum(d.bytes), 0) FROM knowledge_document d WHERE d.knowledge_id = b.id) AS bytes"
)
_DOCUMENT = (
    "id, knowledge_id, name, url, knowledge_type, separators, sentence_size, bytes, word_num, state,"
    " fail_code, fail_message, created_at"
)
