"""Ids and time, as every table spells them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

Clock = Callable[[], int]  # milliseconds since 1970, UTC


def wall_clock() -> int:
    return time.time_ns() // 1_000_000


def new_id(prefix: str, now_ms: int | None = None) -> str:
    """`prefix_` and 26 hex digits: 12 of the time, so that ids sort by age, and 14 of chance."""
    moment = wall_clock() if now_ms is None else now_ms
    return f"{prefix}_{moment & 0xFFFFFFFFFFFF:012x}{secrets.token_hex(7)}"
