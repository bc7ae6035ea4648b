"""How often a reliability test does what it does: a few times in CI, in full with `make soak`."""

from __future__ import annotations

import os

SOAK = os.environ.get("OPENGLM_SOAK") == "1"


def count(ci: int, soak: int) -> int:
    return soak if SOAK else ci
