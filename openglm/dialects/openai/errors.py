"""Errors on the OpenAI wire: a status and {"error": {message, type, param, code}}."""

from __future__ import annotations

from typing import Any

from openglm.dialects.retry import RETRY_AFTER_S, retry_headers
from openglm.dialects.wire import WireError
from openglm.errors import (
    BudgetExhausted,
    Conflict,
    DuplicateRequest,
    Forbidden,
    InvalidRequest,
    ModelNotFound,
    NotFound,
    NotOffered,
    OpenGLMError,
    Overloaded,
    PaymentRequired,
    PlanRefused,
    PromptTooLong,
    RateLimited,
    RequestTooLarge,
    Unauthorized,
    UnsafeContent,
    UpstreamFailure,
)
from openglm.messages import Failure

__all__ = ["RETRY_AFTER_S", "encode_error", "encode_failure", "error_body"]

_INVALID, _QUOTA, _LIMIT, _SERVER = (
    "invalid_request_error",
    "insufficient_quota",
    "rate_limit_error",
    "server_error",
)

# The first class that fits; status, type, code.
_TABLE: tuple[tuple[type[OpenGLMError], int, str, str], ...] = (
    (ModelNotFound, 404, _INVALID, "model_not_found"),
    (PromptTooLong, 400, _INVALID, "context_length_exceeded"),
    (RequestTooLarge, 413, _INVALID, "request_too_large"),
    (Unauthorized, 401, _INVALID, "invalid_api_key"),
    (Forbidden, 403, "permission_error", "forbidden"),
    (NotFound, 404, _INVALID, "not_found"),
    (DuplicateRequest, 409, _INVALID, "duplicate_request"),
    (Conflict, 409, _INVALID, "conflict"),
    (NotOffered, 404, _INVALID, "not_offered"),
    (UnsafeContent, 400, _INVALID, "content_filter"),
    (PaymentRequired, 429, _QUOTA, "insufficient_quota"),
    (BudgetExhausted, 429, _QUOTA, "budget_exhausted"),
    (RateLimited, 429, _LIMIT, "rate_limit_exceeded"),
    (UpstreamFailure, 502, _SERVER, "upstream_failure"),
    (Overloaded, 503, _SERVER, "overloaded"),
    (OpenGLMError, 500, _SERVER, "internal_error"),
)
_PLAN_CODES = {"expired": "plan_expired", "none": "plan_missing", "model": "model_not_in_plan"}


def encode_error(error: Exception) -> WireError:
    """Any exception. What is not ours says nothing of the server's inside."""
    if not isinstance(error, OpenGLMError):
        body = error_body("the server failed; its log says why", _SERVER, None, "internal_error")
        return WireError(500, body)
    status, kind, code = _place(error)
    param = error.param if isinstance(error, InvalidRequest) else None
    return WireError(status, error_body(_text(error), kind, param, code), retry_headers(error))


def encode_failure(failure: Failure) -> WireError:
    """An answer that broke off."""
    code = "overloaded" if failure.retryable else "internal_error"
    return WireError(503 if failure.retryable else 500, error_body(failure.message, _SERVER, None, code))


def error_body(message: str, kind: str, param: str | None, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _place(error: OpenGLMError) -> tuple[int, str, str]:
    if isinstance(error, PlanRefused):
        return 429, _QUOTA, _PLAN_CODES.get(error.reason, "plan_exhausted")
    for cls, status, kind, code in _TABLE:
        if isinstance(error, cls) and not (cls is OpenGLMError and isinstance(error, InvalidRequest)):
            return status, kind, code
    assert isinstance(error, InvalidRequest), "the table ends with the root of the tree"
    return 400, _INVALID, error.code


def _text(error: OpenGLMError) -> str:
    return f"{error.message} (hint: {error.hint})" if error.hint else error.message
