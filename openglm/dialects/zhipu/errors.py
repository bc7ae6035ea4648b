"""Errors on Zhipu's wire: {"error": {"code": "1302", "message": "..."}}, by its published table of codes.

The table is at docs.bigmodel.cn/cn/api/api-code. Where it has no code for a failure of ours, the nearest one
stands beside its error class below.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from openglm.dialects.retry import retry_headers
from openglm.dialects.wire import WireError
from openglm.dialects.zhipu.shapes import envelope
from openglm.errors import (
    BudgetExhausted,
    Conflict,
    DuplicateRequest,
    FineTuneNotFound,
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

BEIJING = timezone(timedelta(hours=8))  # the official service writes reset times so
INTERNAL = (500, "500")

# The first class that fits; status and code.
_TABLE: tuple[tuple[type[OpenGLMError], int, str], ...] = (
    (ModelNotFound, 400, "1211"),
    (PromptTooLong, 400, "1261"),
    (RequestTooLarge, 413, "1210"),
    (Forbidden, 400, "1220"),
    (FineTuneNotFound, 404, "404"),
    (NotFound, 400, "1233"),
    (NotOffered, 400, "1222"),
    (DuplicateRequest, 400, "1231"),
    (Conflict, 400, "1230"),  # "the call's course failed"
    (UnsafeContent, 400, "1301"),
    (PaymentRequired, 429, "1113"),
    (BudgetExhausted, 429, "1113"),
    (Overloaded, 429, "1305"),
    (UpstreamFailure, 500, "1234"),  # "network error"
)
_AUTH = {"missing": "1001", "malformed": "1002", "expired": "1003", "rejected": "1000"}
_FIELDS = {"missing_field": "1213", "invalid_value": "1214", "unsupported_combination": "1215"}
_PLAN = {
    "5h": "1308",
    "week": "1310",
    "month": "1310",
    "expired": "1309",
    "none": "1113",  # "no balance and no resource package"
    "model": "1311",
}


def encode_error(error: Exception) -> WireError:
    """Any exception. What is not ours says nothing of the server's inside."""
    if not isinstance(error, OpenGLMError):
        status, code = INTERNAL
        return WireError(status, error_body(code, "the server failed; its log says why"))
    status, code = _place(error)
    return WireError(status, error_body(code, _text(error)), retry_headers(error))


def encode_failure(failure: Failure) -> WireError:
    """An answer that broke off."""
    status, code = (429, "1305") if failure.retryable else INTERNAL
    return WireError(status, error_body(code, failure.message))


def encode_enveloped_error(error: Exception) -> WireError:
    """For the knowledge routes, which answer 200 with a code of failure inside; a header says so honestly.

    Whoever may not enter is told by the status, there as anywhere.
    """
    wire = encode_error(error)
    if isinstance(error, Unauthorized):
        return wire
    code, message = wire.body["error"]["code"], wire.body["error"]["message"]
    body = envelope(None, code=int(code), message=message)
    return WireError(200, body, {**wire.headers, "x-openglm-error": code})


def error_body(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


def _place(error: OpenGLMError) -> tuple[int, str]:
    if isinstance(error, Unauthorized):
        return 401, _AUTH[error.reason]
    if isinstance(error, PlanRefused):
        return 429, _PLAN[error.reason]
    if isinstance(error, RateLimited):
        return 429, "1302" if error.kind == "concurrency" else "1303"
    for cls, status, code in _TABLE:
        if isinstance(error, cls):
            return status, code
    if isinstance(error, InvalidRequest):
        return 400, _FIELDS.get(error.code, "1210")
    return INTERNAL


def _text(error: OpenGLMError) -> str:
    text = f"{error.message} (hint: {error.hint})" if error.hint else error.message
    resets_at_ms = error.resets_at_ms if isinstance(error, PlanRefused | BudgetExhausted) else None
    if resets_at_ms is None:
        return text
    moment = datetime.fromtimestamp(resets_at_ms / 1000, UTC).astimezone(BEIJING)
    return f"{text}; the limit resets at {moment:%Y-%m-%d %H:%M:%S} (UTC+8)"
