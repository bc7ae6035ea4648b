"""The learning rate of each step, as a share of its peak."""

from __future__ import annotations

import math

from openglm.train.recipe import Schedule


def share(step: int, total_steps: int, warmup_steps: int, schedule: Schedule) -> float:
    """For step 0, 1, …: up to 1 by equal parts, then down by the schedule; the last step is still above 0."""
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    match schedule:
        case "constant":
            return 1.0
        case "linear":
            return 1.0 - done
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
