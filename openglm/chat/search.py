"""Full-text search over an owner's conversations: every word of the query stands in the message.

Words are those of the knowledge bases: English without plurals, Chinese, Japanese and Korean in pairs. They
are written with the message, in its transaction, so a search never lags behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from openglm.chat.draft import units
from openglm.chat.owner import Owner
from openglm.chat.plain import plain_lines
from openglm.chat.shapes import Row
from openglm.errors import InvalidRequest
from openglm.maas.documents import folded, query_terms, terms

if TYPE_CHECKING:
    from openglm.maas.database import Database, Transaction

READ_CHARS = 200_000  # of a message that are indexed
SHORT_CHARS = 5_000  # of a text whose words are found at once
MOST_TERMS = 4_000  # of one message
AROUND = 80  # characters of a snippet, before and after what was found


@dataclass(frozen=True, slots=True)
class Hit:
    """`marks` are where words of the query stand in the snippet, in UTF-16 units."""

    conversation_id: str
    title: str
    message_id: str
    role: str
    snippet: str
    marks: list[tuple[int, int]]
    created_at: int


@dataclass(frozen=True, slots=True)
class Hits:
    items: list[Hit]
    next: str | None


def words_of(text: str) -> list[str]:
    """What a message is found by, each word once."""
    return list(islice(dict.fromkeys(terms(text[:READ_CHARS])), MOST_TERMS))


async def words_apart(text: str) -> list[str]:
    """As `words_of`; a long text keeps neither the loop nor the database's writer busy."""
    return await asyncio.to_thread(words_of, text) if len(text) > SHORT_CHARS else words_of(text)


def index(tx: Transaction, message_id: str, words: Sequence[str]) -> None:
    """Write the words of a message, unless its conversation is temporary."""
    row = tx.one(
        "SELECT c.id, c.org_id, c.user_id FROM chat_message m JOIN chat_conversation c"
        " ON c.id = m.conversation_id WHERE m.id = :id AND c.temporary = 0",
        id=message_id,
    )
    if row is not None:
        put(tx, Owner(row["org_id"], row["user_id"]), row["id"], message_id, words)


def put(tx: Transaction, owner: Owner, conversation_id: str, message_id: str, words: Sequence[str]) -> None:
    tx.many(
        "INSERT INTO chat_term (org_id, user_id, term, message_id, conversation_id)"
        " VALUES (:org, :user, :term, :message, :conversation) ON CONFLICT DO NOTHING",
        [
            {"term": word, "message": message_id, "conversation": conversation_id, **owner.ids}
            for word in words
        ],
    )


async def search(database: Database, owner: Owner, query: str, before: str | None, limit: int) -> Hits:
    """The newest first. `before` is the last message of the page before."""
    words = query_terms(query)
    if not words:
        raise InvalidRequest("q must hold a word", param="q")
    named = {f"w{number}": word for number, word in enumerate(words)}
    older = "AND message_id < :before" if before else ""
    rows = await database.read(
        "SELECT m.id, m.role, m.created_at, m.text, c.id AS conversation_id, c.title FROM"
        " (SELECT message_id FROM chat_term WHERE org_id = :org AND user_id = :user"
        f" AND term IN ({', '.join(f':{name}' for name in named)}) {older}"
        " GROUP BY message_id HAVING count(*) = :words ORDER BY message_id DESC LIMIT :most) found"
        " JOIN chat_message m ON m.id = found.message_id"
        " JOIN chat_conversation c ON c.id = m.conversation_id ORDER BY m.id DESC",
        **owner.ids,
        **named,
        **({"before": before} if before else {}),
        words=len(words),
        most=limit + 1,
    )
    items = await asyncio.to_thread(lambda: [_hit(row, words) for row in rows[:limit]])
    return Hits(items, items[-1].message_id if len(rows) > limit else None)


def _hit(row: Row, words: list[str]) -> Hit:
    snippet = snippet_of(row["text"], words, markdown=row["role"] == "assistant")
    return Hit(
        row["conversation_id"],
        row["title"],
        row["id"],
        row["role"],
        snippet,
        marks_of(snippet, words),
        row["created_at"],
    )


def snippet_of(text: str, words: list[str], *, markdown: bool = False) -> str:
    """What stands around the first word that is found, in one line. Markdown without its marks, unless the
    words stand in what readers do not see, such as a link's address."""
    text = text[:READ_CHARS]
    line = " ".join("\n".join(plain_lines(text)).split()) if markdown else " ".join(text.split())
    low = _lower(line)
    first = min((at for word in words if (at := low.find(word)) >= 0), default=None)
    if first is None:
        if markdown:
            return snippet_of(text, words)
        first = 0
    start, end = max(0, first - AROUND), first + AROUND
    cut = line[start:end].strip()
    return ("…" if start else "") + cut + ("…" if end < len(line) else "")


def marks_of(snippet: str, words: list[str]) -> list[tuple[int, int]]:
    """Where the words stand, neighbours as one."""
    low, spans = _lower(snippet), []
    for word in words:
        at = low.find(word)
        while at >= 0:
            spans.append((at, at + len(word)))
            at = low.find(word, at + 1)
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return [(units(snippet[:start]), units(snippet[:end])) for start, end in merged]


def _lower(text: str) -> str:
    """Folded, where that keeps every letter in its place."""
    low = folded(text)
    return low if len(low) == len(text) else text.lower() if len(text.lower()) == len(text) else text
