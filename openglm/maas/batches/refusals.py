"""What a row's line says when its request was refused before the model answered."""

from __future__ import annotations

import msgspec

from openglm.errors import (
    BudgetExhausted,
    Conflict,
    Forbidden,
    InvalidRequest,
    ModelNotFound,
    NotFound,
    NotOffered,
    OpenGLMError,
    Overloaded,
    PaymentRequired,
    PlanRefused,
    RateLimited,
    Unauthorized,
    UpstreamFailure,
)

_STATUS: tuple[tuple[type[OpenGLMError], int, str], ...] = (
    (ModelNotFound, 404, "model_not_found"),
    (InvalidRequest, 400, "invalid_request"),
    (Unauthorized, 401, "unauthorized"),
    (Forbidden, 403, "forbidden"),
    (NotFound, 404, "not_found"),
    (NotOffered, 404, "not_offered"),
    (Conflict, 409, "conflict"),
    (PaymentRequired, 429, "insufficient_balance"),
    (BudgetExhausted, 429, "budget_exhausted"),
    (PlanRefused, 429, "plan_refused"),
    (RateLimited, 429, "rate_limit_exceeded"),
    (UpstreamFailure, 502, "upstream_failure"),
    (Overloaded, 503, "overloaded"),
)


def refusal(error: Exception) -> tuple[int, bytes]:
    """Status and body. What we did not foresee is not shown."""
    status, code, message, param = 500, "server_error", "the server failed", None
    if isinstance(error, OpenGLMError):
        message = error.message if error.hint is None else f"{error.message}; {error.hint}"
        for kind, number, word in _STATUS:
            if isinstance(error, kind):
                status, code = number, word
                break
    if isinstance(error, InvalidRequest):
        code, param = error.code, error.param
    return status, msgspec.json.encode(
        {"error": {"message": message, "type": code, "code": code, "param": param}}
    )
