"""What goes over the wire: conversations and messages as the page reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

State = Literal["running", "done", "stopped", "failed", "interrupted"]
ENDED: tuple[State, ...] = ("done", "stopped", "failed", "interrupted")
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A row of the list. Times are in milliseconds."""

    id: str
    title: str
    model: str | None
    project_id: str | None
    assistant_id: str | None
    leaf_id: str | None
    pinned: bool
    archived: bool
    temporary: bool
    running: bool
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an answer failed: the platform's code and words."""

    code: str
    message: str
    hint: str | None


@dataclass(frozen=True, slots=True)
class Tokens:
    input_uncached: int
    cache_read: int
    output_text: int
    output_reasoning: int
    images: int = 0  # that were drawn


@dataclass(frozen=True, slots=True)
class Cost:
    """Money of the wallet in nano, or credits of a plan, and how they came about, line by line."""

    nano: int | None
    credits: int | None
    arithmetic: list[str]


@dataclass(frozen=True, slots=True)
class Message:
    """`version` grows with every delta of a running message; `siblings` are in the order of their making."""

    id: str
    parent_id: str | None
    role: Literal["user", "assistant"]
    text: str
    reasoning: str
    parts: list[dict[str, Any]]
    model: str | None
    state: State
    error: Failure | None
    siblings: list[str]
    created_at: int
    finish: str | None
    usage: Tokens | None
    cost: Cost | None
    ttft_ms: int | None
    reasoning_ms: int | None
    duration_ms: int | None
    rating: int | None
    version: int


def conversation_of(row: Row) -> Conversation:
    return Conversation(
        row["id"],
        row["title"],
        row["model"],
        row["project_id"],
        row["assistant_id"],
        row["leaf_id"],
        row["pinned_at"] is not None,
        row["archived_at"] is not None,
        bool(row["temporary"]),
        bool(row["running"]),
        row["created_at"],
        row["updated_at"],
    )


def message_of(row: Row, siblings: Sequence[str]) -> Message:
    """As the database has it; what runs here is shown by its `Draft`."""
    bill = msgspec.json.decode(row["bill"]) if row["bill"] else {}
    return Message(
        id=row["id"],
        parent_id=row["parent_id"],
        role=row["role"],
        text=row["text"],
        reasoning=row["reasoning"],
        parts=msgspec.json.decode(row["parts"]),
        model=row["model"],
        state=row["state"],
        error=Failure(**msgspec.json.decode(row["error"])) if row["error"] else None,
        siblings=list(siblings) or [row["id"]],
        created_at=row["created_at"],
        finish=row["finish"],
        usage=Tokens(**bill["usage"]) if bill else None,
        cost=Cost(**bill["cost"]) if bill else None,
        ttft_ms=row["ttft_ms"],
        reasoning_ms=row["reasoning_ms"],
        duration_ms=row["duration_ms"],
        rating=row["rating"],
        version=row["version"],
    )
