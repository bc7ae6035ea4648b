"""The three dials of a job, `auto` or a number. The trainer decides what is left open, but for the epochs."""

from __future__ import annotations

from typing import Literal

import msgspec

from openglm.dialects.fields import Fields

Auto = Literal["auto"]
MAX_EPOCHS = 50
MAX_BATCH = 256
MAX_MULTIPLIER = 100.0
SEEN = 100  # examples that a training sees at least, whatever a small file holds
SEEN_MOST = 30_000  # and at most, whatever a large one holds
EPOCHS = 3  # between the two


class Hyperparameters(msgspec.Struct, frozen=True):
    n_epochs: int | Auto = "auto"
    batch_size: int | Auto = "auto"
    learning_rate_multiplier: float | Auto = "auto"

    def epochs(self, examples: int) -> int:
        """How often each of so many examples is seen."""
        if self.n_epochs != "auto":
            return self.n_epochs
        if examples * EPOCHS < SEEN:
            return min(MAX_EPOCHS, -(-SEEN // max(1, examples)))
        return max(1, min(EPOCHS, SEEN_MOST // examples))

    @property
    def asked_batch_size(self) -> int | None:
        return None if self.batch_size == "auto" else self.batch_size

    @property
    def multiplier(self) -> float:
        return 1.0 if self.learning_rate_multiplier == "auto" else self.learning_rate_multiplier


def read_hyperparameters(fields: Fields | None) -> Hyperparameters:
    """From the object of a body; absent, null and `auto` are the same."""
    if fields is None:
        return Hyperparameters()

    def given(name: str) -> bool:
        return fields.has(name) and fields.raw(name) != "auto"

    return Hyperparameters(
        fields.integer("n_epochs", 1, MAX_EPOCHS) or "auto" if given("n_epochs") else "auto",
        fields.integer("batch_size", 1, MAX_BATCH) or "auto" if given("batch_size") else "auto",
        fields.number("learning_rate_multiplier", 0, MAX_MULTIPLIER, above=True) or "auto"
        if given("learning_rate_multiplier")
        else "auto",
    )
