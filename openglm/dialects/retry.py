"""The headers that tell a client when to come again, and when coming again cannot help.

The official clients of every dialect retry a 409, a 429 and a 5xx three times unless `x-should-retry` says
no; some of them read `retry-after-ms`, some `retry-after`, some neither.
"""

from __future__ import annotations

import math
import time

from openglm.errors import BudgetExhausted, Conflict, Overloaded, PaymentRequired, PlanRefused, RateLimited

RETRY_AFTER_S = 1.0  # of an overload: queues empty in seconds


def retry_headers(error: Exception, *, now_ms: float | None = None) -> dict[str, str]:
    """`retry-after`, `retry-after-ms` and `x-should-retry`, as far as the error speaks of them."""
    if isinstance(error, Overloaded):
        return _after(RETRY_AFTER_S)
    if isinstance(error, RateLimited):
        return _after(error.retry_after_s)
    if isinstance(error, PaymentRequired | Conflict):
        return {"x-should-retry": "false"}
    if isinstance(error, BudgetExhausted | PlanRefused):
        headers = {"x-should-retry": "false"}
        if error.resets_at_ms is not None:
            now_ms = time.time() * 1000 if now_ms is None else now_ms
            headers |= _after((error.resets_at_ms - now_ms) / 1000)
        return headers
    return {}


def _after(seconds: float) -> dict[str, str]:
    seconds = max(seconds, 0.0)
    return {"retry-after": str(max(1, math.ceil(seconds))), "retry-after-ms": str(math.ceil(seconds * 1000))}
