"""A search index of the operator's own documents: SQLite FTS5 in a file of its own, ranked by BM25.

Words are those of knowledge bases: pairs of characters where there are no spaces. Titles weigh more than
text. Each node has its own file; it holds copies and can be built anew.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openglm.maas.documents.terms import query_terms, terms
from openglm.maas.ids import Clock, wall_clock
from openglm.maas.search.engine import DAYS, Hit, Query, in_domain

DAY_MS = 86_400_000
MAX_TEXT = 1 << 20  # characters of one document


@dataclass(frozen=True, slots=True)
class Document:
    """One page. Adding a link again replaces it."""

    link: str
    title: str
    content: str
    media: str = ""
    published_ms: int | None = None


class LocalIndex:
    """A SearchEngine over documents that were added."""

    def __init__(self, path: Path, clock: Clock = wall_clock):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, check_same_thread=False)
        path.chmod(0o600)
        self._lock = threading.Lock()
        self._clock = clock
        self._connection.executescript(
            "PRAGMA journal_mode=WAL;"
            "CREATE TABLE IF NOT EXISTS page (id INTEGER PRIMARY KEY, link TEXT UNIQUE, title TEXT,"
            " content TEXT, media TEXT, published INTEGER);"
            "CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(title, content, content='');"
        )

    async def add(self, documents: Sequence[Document]) -> None:
        await asyncio.to_thread(self._add, documents)

    async def remove(self, link: str) -> bool:
        """Forget a page; False if it was not there."""
        return await asyncio.to_thread(self._remove, link)

    async def search(self, query: Query) -> list[Hit]:
        return await asyncio.to_thread(self._search, query)

    async def pages(self) -> list[dict[str, Any]]:
        """What is known: link, title, chars of text, and when it was published, if that is known."""
        return await asyncio.to_thread(self._pages)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _pages(self) -> list[dict[str, Any]]:
        names = ("link", "title", "chars", "published")
        with self._lock:
            rows = self._connection.execute(
                "SELECT link, title, length(content), published FROM page ORDER BY link"
            )
            return [dict(zip(names, row, strict=True)) for row in rows]

    def _add(self, documents: Sequence[Document]) -> None:
        with self._lock, self._connection:
            for document in documents:
                self._forget(document.link)
                content = document.content[:MAX_TEXT]
                row = self._connection.execute(
                    "INSERT INTO page (link, title, content, media, published) VALUES (?, ?, ?, ?, ?)",
                    (document.link, document.title, content, document.media, document.published_ms),
                )
                self._connection.execute(
                    "INSERT INTO words (rowid, title, content) VALUES (?, ?, ?)",
                    (row.lastrowid, " ".join(terms(document.title)), " ".join(terms(content))),
                )

    def _remove(self, link: str) -> bool:
        with self._lock, self._connection:
            return self._forget(link)

    def _forget(self, link: str) -> bool:
        row = self._connection.execute(
            "SELECT id, title, content FROM page WHERE link = ?", (link,)
        ).fetchone()
        if row is None:
            return False
        self._connection.execute(
            "INSERT INTO words (words, rowid, title, content) VALUES ('delete', ?, ?, ?)",
            (row[0], " ".join(terms(row[1])), " ".join(terms(row[2]))),
        )
        self._connection.execute("DELETE FROM page WHERE id = ?", (row[0],))
        return True

    def _search(self, query: Query) -> list[Hit]:
        wanted = query_terms(query.text)
        if not wanted:
            return []
        days = DAYS[query.recency]
        oldest = self._clock() - days * DAY_MS if days else -(1 << 62)
        hits: list[Hit] = []
        with self._lock:
            rows = self._connection.execute(
                "SELECT page.title, link, page.content, media, published FROM words"
                " JOIN page ON page.id = words.rowid WHERE words MATCH ?"
                " AND (? OR published >= ?) ORDER BY bm25(words, 3.0, 1.0), page.id",
                (" OR ".join(f'"{term}"' for term in wanted), days is None, oldest),
            )
            for title, link, content, media, published in rows:
                if query.domain and not in_domain(link, query.domain):
                    continue
                passage = around(content, wanted, query.content_chars)
                hits.append(Hit(title, link, passage, media, published_ms=published))
                if len(hits) == query.count:
                    break
        return hits


def around(content: str, wanted: Sequence[str], chars: int) -> str:
    """The part of a text that begins shortly before its first wanted term."""
    lower = content.lower()
    places = [at for term in wanted if (at := lower.find(term)) >= 0]
    start = max(0, min(places, default=0) - chars // 4)
    return content[start : start + chars].strip()
