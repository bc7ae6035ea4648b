"""One batch as the database holds it and as the wire shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from openglm.maas.database import Row

if TYPE_CHECKING:
    from openglm.maas.identity.caller import Caller

State = Literal[
    "validating", "in_progress", "finalizing", "completed", "failed", "cancelling", "cancelled", "expired"
]
ENDED = ("completed", "failed", "cancelled", "expired")
Dialect = Literal["openai", "zhipu", "anthropic"]
FROM_FILES: tuple[Dialect, ...] = ("openai", "zhipu")  # seen in either's place; Anthropic's only in its own


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a line of the input, or (line None) with the whole of it."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None

    def wire(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "line": self.line, "param": self.param}


@dataclass(frozen=True, slots=True)
class Batch:
    """Times are in milliseconds. `ending` is what a batch that winds up will be, before its files are."""

    id: str
    org_id: str
    project_id: str
    caller: str
    dialect: Dialect
    endpoint: str
    completion_window: str
    input_file_id: str
    auto_delete_input: int
    metadata: str
    state: State
    ending: State | None
    errors: str
    total: int
    completed: int
    failed: int
    output_file_id: str
    error_file_id: str
    has_output: int
    has_errors: int
    created_at: int
    expires_at: int
    in_progress_at: int | None
    finalizing_at: int | None
    cancelling_at: int | None
    ended_at: int | None
    cleaned: int
    lease_owner: str | None
    lease_until: int

    @property
    def ended(self) -> bool:
        return self.ended_at is not None

    @property
    def over(self) -> bool:
        """Whether it has ended and nobody works on it any more."""
        return self.ended and bool(self.cleaned)

    def who(self) -> Caller:
        """The caller that made the batch: its rows run in that name."""
        from openglm.maas.identity.caller import Caller

        return msgspec.json.decode(self.caller, type=Caller)

    def wire(self) -> dict[str, Any]:
        faults = msgspec.json.decode(self.errors)
        ended = {word: seconds(self.ended_at) if self.state == word else None for word in ENDED}
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "errors": {"object": "list", "data": faults} if faults else None,
            "input_file_id": self.input_file_id,
            "completion_window": self.completion_window,
            "status": self.state,
            "output_file_id": self.output_file_id if self.has_output else None,
            "error_file_id": self.error_file_id if self.has_errors else None,
            "created_at": seconds(self.created_at),
            "in_progress_at": seconds(self.in_progress_at),
            "expires_at": seconds(self.expires_at),
            "finalizing_at": seconds(self.finalizing_at),
            "completed_at": ended["completed"],
            "failed_at": ended["failed"],
            "expired_at": ended["expired"],
            "cancelling_at": seconds(self.cancelling_at),
            "cancelled_at": ended["cancelled"],
            "request_counts": {"total": self.total, "completed": self.completed, "failed": self.failed},
            "metadata": msgspec.json.decode(self.metadata),
        }


COLUMNS = ", ".join(Batch.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class BatchPage:
    batches: list[Batch]
    has_more: bool

    def wire(self) -> dict[str, Any]:
        return {
            "object": "list",
            "data": [batch.wire() for batch in self.batches],
            "first_id": self.batches[0].id if self.batches else None,
            "last_id": self.batches[-1].id if self.batches else None,
            "has_more": self.has_more,
        }


def from_row(row: Row) -> Batch:
    return Batch(**{name: row[name] for name in Batch.__dataclass_fields__})


def seconds(moment_ms: int | None) -> int | None:
    return None if moment_ms is None else moment_ms // 1000
