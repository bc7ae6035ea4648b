"""Answering a question from knowledge bases: words by BM25 and meaning by cosine, weighted as one.

A document that has no vectors of the base's model is found by its words alone.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from openglm.errors import NotOffered
from openglm.maas.database import Database, Row
from openglm.maas.documents.terms import query_terms
from openglm.maas.ids import new_id
from openglm.maas.knowledge.ingest import Embed, packed
from openglm.maas.knowledge.scoring import Numbers, Posted, bm25, lexical

if TYPE_CHECKING:
    from openglm.maas.identity.caller import Caller

RETRIEVAL = "retrieval"  # as limits name it
Method = Literal["embedding", "keyword", "mixed"]


@dataclass(frozen=True, slots=True)
class Question:
    """`recalled` spans are found, of which the best `count` come back; `ratio` is the share of meaning."""

    text: str
    count: int = 8
    recalled: int = 10
    method: Method = "mixed"
    ratio: float = 0.8
    rerank: bool = False
    threshold: float = 0.0
    documents: frozenset[str] | None = None  # only these


@dataclass(frozen=True, slots=True)
class Found:
    """One span of a document: `text` is the document's text from `start` to `end`, in code points."""

    text: str
    score: float  # in [0, 1]
    knowledge_id: str
    document_id: str
    document: str
    url: str | None
    number: int
    start: int
    end: int
    page: int | None
    row: int | None
    heading: str


class Retriever:
    def __init__(self, database: Database, embed: Embed, model_of: Callable[[Caller, int], str | None]):
        self._database = database
        self._embed = embed
        self._model_of = model_of

    async def retrieve(self, caller: Caller, question: Question, bases: Sequence[Row]) -> list[Found]:
        """The best spans of all bases, the best first."""
        vectors: dict[str, Numbers] = {}
        hits: list[tuple[float, int, Row]] = []
        for base in bases:
            model = None
            if question.method != "keyword":
                model = self._model_of(caller, base["embedding_id"])
                if model is None and question.method == "embedding":
                    raise NotOffered(
                        f"the knowledge base {base['id']} has no model for vectors here",
                        hint="use recall_method keyword or mixed, or ask the operator for an embedding model",
                    )
            if model and model not in vectors:
                made = await self._embed(caller, model, [question.text], new_id("ask"))
                vectors[model] = _unit(made[0])
            hits += await self._scored(question, base["id"], model, vectors.get(model or ""))
        hits.sort(key=lambda hit: -hit[0])
        found = [
            one
            for score, number, reading in hits[: question.recalled]
            if (one := await self._span(score, number, reading))
        ]
        if question.rerank:
            scores = lexical(question.text, [one.text for one in found]) if found else []
            order = sorted(range(len(found)), key=lambda at: -scores[at])
            found = [found[at] for at in order]
        return [one for one in found if one.score >= question.threshold][: question.count]

    async def _scored(
        self, question: Question, base_id: str, model: str | None, vector: Numbers | None
    ) -> list[tuple[float, int, Row]]:
        rows = await self._database.read(
            "SELECT r.id, r.lengths, r.vector_model, d.id AS document_id, d.name, d.url, d.knowledge_id"
            " FROM knowledge_reading r JOIN knowledge_document d ON d.id = r.document_id"
            " WHERE r.knowledge_id = :base AND r.shown = 1",
            base=base_id,
        )
        readings = [
            row for row in rows if question.documents is None or row["document_id"] in question.documents
        ]
        by_words = await self._by_words(question, base_id, readings)
        hits: list[tuple[float, int, Row]] = []
        for reading, words in zip(readings, by_words, strict=True):
            scores = words
            if vector is not None and reading["vector_model"] == model:
                meant = await self._by_meaning(reading, vector)
                share = 1.0 if question.method == "embedding" else question.ratio
                scores = share * meant + (1 - share) * words
            elif question.method == "embedding":
                continue
            best = np.argsort(-scores, kind="stable")[: question.recalled]
            hits += [(float(scores[at]), int(at), reading) for at in best if scores[at] > 0]
        return hits

    async def _by_words(self, question: Question, base_id: str, readings: Sequence[Row]) -> list[Numbers]:
        words = query_terms(question.text)
        found: dict[int, dict[str, bytes]] = {row["id"]: {} for row in readings}
        for word in words if question.method != "embedding" else ():
            for row in await self._database.read(
                "SELECT reading, postings FROM knowledge_term WHERE knowledge_id = :base AND term = :term",
                base=base_id,
                term=word,
            ):
                if row["reading"] in found:
                    found[row["reading"]][word] = bytes(row["postings"])
        posted = [Posted(np.frombuffer(bytes(row["lengths"]), "<u4"), found[row["id"]]) for row in readings]
        return bm25(words, posted)

    async def _by_meaning(self, reading: Row, vector: Numbers) -> Numbers:
        scores = np.zeros(len(reading["lengths"]) // 4, np.float32)
        for row in await self._database.read(
            "SELECT first, dimension, data FROM knowledge_vector WHERE reading = :reading",
            reading=reading["id"],
        ):
            if row["dimension"] != len(vector):
                continue  # of a model that had the same name before
            rows = np.frombuffer(bytes(row["data"]), "<f2").reshape(-1, row["dimension"])
            scores[row["first"] : row["first"] + len(rows)] = rows.astype(np.float32) @ vector
        return np.clip(scores, 0.0, 1.0)

    async def _span(self, score: float, number: int, reading: Row) -> Found | None:
        row: Any = await self._database.read_one(
            "SELECT * FROM knowledge_chunk WHERE reading = :reading AND number = :number",
            reading=reading["id"],
            number=number,
        )
        if row is None:
            return None  # swept since
        return Found(
            row["text"],
            min(score, 1.0),
            reading["knowledge_id"],
            reading["document_id"],
            reading["name"],
            reading["url"],
            number,
            row["start_at"],
            row["end_at"],
            row["page"],
            row["row_number"],
            row["heading"],
        )


def _unit(vector: array[float]) -> Numbers:
    data, _ = packed([vector])
    return np.frombuffer(data, "<f2").astype(np.float32)
