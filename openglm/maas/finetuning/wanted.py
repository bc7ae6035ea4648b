"""The body of POST …/fine_tuning/jobs in both dialects, strictly: what would train otherwise is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from openglm.dialects.fields import Fields
from openglm.errors import InvalidRequest
from openglm.maas.batches.batches import checked_metadata
from openglm.maas.finetuning.hyperparameters import Hyperparameters, read_hyperparameters

MAX_SUFFIX = 40  # characters; model names have an end
_SUFFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
MAX_SEED = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Wanted:
    """A job as somebody asks for it. `seed` None: any."""

    model: str
    training_file: str
    validation_file: str | None = None
    suffix: str | None = None
    seed: int | None = None
    hyperparameters: Hyperparameters = field(default_factory=Hyperparameters)
    metadata: dict[str, Any] = field(default_factory=dict)
    request_id: str | None = None


def read_wanted(fields: Fields) -> Wanted:
    if fields.items("integrations", 100):
        raise InvalidRequest(
            "integrations are not offered: nothing of a training leaves this platform",
            param="integrations",
            code="unsupported_value",
            hint="GET …/events and the result file have the figures",
        )
    suffix = fields.text("suffix") or None
    if suffix is not None and not (len(suffix) <= MAX_SUFFIX and _SUFFIX.fullmatch(suffix)):
        raise fields.wrong("suffix", f"1 to {MAX_SUFFIX} letters, digits or any of _ . -")
    request_id = fields.text("request_id") or None
    if request_id is not None and not _REQUEST_ID.fullmatch(request_id):
        raise fields.wrong("request_id", "1 to 128 printable ASCII characters")
    metadata = fields.object("metadata")
    checked_metadata(metadata.data if metadata else None)
    return Wanted(
        model=fields.needed_text("model"),
        training_file=fields.needed_text("training_file"),
        validation_file=fields.text("validation_file") or None,
        suffix=suffix,
        seed=fields.integer("seed", 0, MAX_SEED),
        hyperparameters=_hyperparameters(fields),
        metadata=dict(metadata.data) if metadata else {},
        request_id=request_id,
    )


def _hyperparameters(fields: Fields) -> Hyperparameters:
    """From `method`, or from where older clients say it."""
    method = fields.object("method")
    if method is None:
        return read_hyperparameters(fields.object("hyperparameters"))
    kind = method.word("type", ("supervised", "dpo", "reinforcement"))
    if kind != "supervised":
        raise InvalidRequest(
            f"method.type must be supervised, got {kind or 'nothing'}: other methods are not offered",
            param="method.type",
            code="unsupported_value",
        )
    supervised = method.object("supervised")
    return read_hyperparameters(supervised.object("hyperparameters") if supervised else None)
