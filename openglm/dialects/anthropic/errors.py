"""Errors on Anthropic's wire: a status and {"type": "error", "error": {type, message}, "request_id"}.

Money that is lacking is a billing_error (402), a spent window or budget a rate_limit_error (429) that tells
clients not to retry. The official agent knows by the words that a message begins with what to do: it asks for
a shorter answer, compacts its conversation, or goes on without an image or a PDF that cannot be read.
"""

from __future__ import annotations

from typing import Any

from openglm.dialects.retry import retry_headers
from openglm.dialects.wire import WireError
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
    PromptTooLong,
    RateLimited,
    RequestTooLarge,
    Unauthorized,
    UnsafeContent,
    UpstreamFailure,
)
from openglm.messages import Failure

# The first class that fits; status, type.
_TABLE: tuple[tuple[type[OpenGLMError], int, str], ...] = (
    (ModelNotFound, 404, "not_found_error"),
    (RequestTooLarge, 413, "request_too_large"),
    (InvalidRequest, 400, "invalid_request_error"),
    (Unauthorized, 401, "authentication_error"),
    (Forbidden, 403, "permission_error"),
    (NotFound, 404, "not_found_error"),
    (NotOffered, 404, "not_found_error"),
    (Conflict, 409, "invalid_request_error"),
    (UnsafeContent, 400, "invalid_request_error"),
    (PaymentRequired, 402, "billing_error"),
    (BudgetExhausted, 429, "rate_limit_error"),
    (RateLimited, 429, "rate_limit_error"),
    (UpstreamFailure, 502, "api_error"),
    (Overloaded, 529, "overloaded_error"),
    (OpenGLMError, 500, "api_error"),
)
_WINDOWS = ("5h", "week", "month")
_OPENINGS = {
    "image_not_supported": "could not process image",
    "document_not_supported": "could not process PDF",
    "invalid_signature": "invalid signature in thinking block",
}
_DETAILED = ("thread_unsupported_request",)  # words that the official SDKs act on


def encode_error(error: Exception, request_id: str | None = None) -> WireError:
    """Any exception. What is not ours says nothing of the server's inside."""
    if not isinstance(error, OpenGLMError):
        return WireError(500, error_body("api_error", "the server failed; its log says why", request_id))
    status, kind = _place(error)
    body = error_body(kind, _text(error), request_id)
    if isinstance(error, InvalidRequest) and error.code in _DETAILED:
        body["error"]["details"] = {"error_code": error.code}
    return WireError(status, body, retry_headers(error))


def encode_failure(failure: Failure, request_id: str | None = None) -> WireError:
    """An answer that broke off."""
    status, kind = (529, "overloaded_error") if failure.retryable else (500, "api_error")
    return WireError(status, error_body(kind, failure.message, request_id))


def error_body(kind: str, message: str, request_id: str | None) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}


def _place(error: OpenGLMError) -> tuple[int, str]:
    if isinstance(error, PlanRefused):
        return (429, "rate_limit_error") if error.reason in _WINDOWS else (402, "billing_error")
    return next((status, kind) for cls, status, kind in _TABLE if isinstance(error, cls))


def _text(error: OpenGLMError) -> str:
    text = f"{error.message} (hint: {error.hint})" if error.hint else error.message
    if not isinstance(error, InvalidRequest):
        return text
    if isinstance(error, PromptTooLong) and error.prompt is not None and error.limit is not None:
        return _too_long(error.prompt, error.wanted, error.limit)
    opening = "prompt is too long" if isinstance(error, PromptTooLong) else _OPENINGS.get(error.code)
    return f"{opening}: {text}" if opening else text


def _too_long(prompt: int, wanted: int | None, limit: int) -> str:
    """Word for word as the official agent reads the numbers."""
    if wanted is not None and prompt < limit:
        return f"input length and `max_tokens` exceed context limit: {prompt} + {wanted} > {limit}"
    return f"prompt is too long: {prompt} tokens > {limit} maximum"
