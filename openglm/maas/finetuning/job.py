"""One fine-tuning job as the database holds it and as the two wires show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from openglm.maas.database import Row

if TYPE_CHECKING:
    from openglm.maas.identity.caller import Caller

State = Literal[
    "validating_files",
    "queued",
    "running",
    "pausing",
    "paused",
    "cancelling",
    "succeeded",
    "failed",
    "cancelled",
]
ENDED = ("succeeded", "failed", "cancelled")
Dialect = Literal["openai", "zhipu"]
# What was asked for is what is shown: that a step is still being finished is nobody's business.
_SHOWN = {"pausing": "paused", "cancelling": "cancelled"}


@dataclass(frozen=True, slots=True)
class Job:
    """Times are in milliseconds. `hyperparameters` are as asked, then as the examples decided; JSON."""

    id: str
    org_id: str
    project_id: str
    caller: str
    dialect: Dialect
    request_id: str | None
    model: str  # as asked; `base` is the model itself
    base: str
    training_file: str
    validation_file: str | None
    suffix: str | None
    seed: int
    hyperparameters: str
    metadata: str
    state: State
    error: str | None
    examples: int
    expected_tokens: int  # of the whole training, as the file promises
    trained_tokens: int  # so far
    fine_tuned_model: str | None
    result_file_id: str | None
    tries: int  # starts since the last step
    created_at: int
    started_at: int | None
    expected_end_at: int | None
    ended_at: int | None

    def who(self) -> Caller:
        """The caller that made the job: it is billed in that name."""
        from openglm.maas.identity.caller import Caller

        return msgspec.json.decode(self.caller, type=Caller)

    @property
    def status(self) -> str:
        return _SHOWN.get(self.state, self.state)

    def wire(self) -> dict[str, Any]:
        hyperparameters = msgspec.json.decode(self.hyperparameters)
        return {
            "id": self.id,
            "object": "fine_tuning.job",
            "created_at": self.created_at // 1000,
            "error": msgspec.json.decode(self.error) if self.error else None,
            "fine_tuned_model": self.fine_tuned_model,
            "finished_at": _seconds(self.ended_at),
            "estimated_finish": _seconds(self.expected_end_at) if self.state == "running" else None,
            "hyperparameters": hyperparameters,
            "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
            "integrations": [],
            "metadata": msgspec.json.decode(self.metadata),
            "model": self.model,
            "organization_id": self.org_id,
            "result_files": [self.result_file_id] if self.result_file_id else [],
            "seed": self.seed,
            "status": self.status,
            "trained_tokens": self.trained_tokens if self.ended_at else None,
            "training_file": self.training_file,
            "validation_file": self.validation_file,
        }

    def zhipu_wire(self) -> dict[str, Any]:
        shown = self.wire()
        left_out = ("method", "integrations", "metadata", "organization_id", "seed")
        kept = {name: value for name, value in shown.items() if name not in left_out}
        return {**kept, "request_id": self.request_id or self.id}

    def checkpoints(self, last: dict[str, Any] | None) -> list[dict[str, Any]]:
        """The one that can be called: the model at its last step, whose figures are `last`."""
        if self.state != "succeeded" or self.ended_at is None or last is None:
            return []
        return [
            {
                "id": f"ftckpt_{self.id.removeprefix('ftjob_')}",
                "object": "fine_tuning.job.checkpoint",
                "created_at": self.ended_at // 1000,
                "fine_tuned_model_checkpoint": self.fine_tuned_model,
                "fine_tuning_job_id": self.id,
                "step_number": last["step"],
                "metrics": {
                    name: last[name] for name in ("step", "train_loss", "valid_loss") if name in last
                },
            }
        ]


COLUMNS = ", ".join(Job.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class JobPage:
    jobs: list[Job]
    has_more: bool


def from_row(row: Row) -> Job:
    return Job(**{name: row[name] for name in Job.__dataclass_fields__})


def _seconds(moment_ms: int | None) -> int | None:
    return None if moment_ms is None else moment_ms // 1000
