"""What our programs write to stderr: one line for each thing, and no key, token, cookie or password in any.

`to_stderr` is for programs, once; whoever embeds us puts `RedactSecrets` on handlers of their own.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import TextIO

_HIDDEN = "***"
_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"://[^/\s@:]*:[^/\s@]+@"), f"://{_HIDDEN}@"),
    (re.compile(r"\beyJ[\w-]{4,}\.[\w-]+(?:\.[\w-]*)*"), f"eyJ{_HIDDEN}"),
    (re.compile(r"\b(key_[0-9a-f]{26}|[0-9a-f]{32})\.[A-Za-z0-9_-]{8,}"), rf"\1.{_HIDDEN}"),
    (re.compile(r"\bglm[a-z]_[\w-]{16,}"), f"glm_{_HIDDEN}"),
    (re.compile(r"([?&](?:code|state|ticket)=)[^&\s'\"]+"), rf"\1{_HIDDEN}"),
    (re.compile(r"\b(sk-)[\w-]{16,}"), rf"\1{_HIDDEN}"),
    (
        re.compile(
            r"((?:\b|_)(?:authorization|x-api-key|(?:set-)?cookie|x-csrf-token)['\"]?\s*[:=,]\s*b?['\"]?)"
            r"[^\r\n'\"]+",
            re.I,
        ),
        rf"\1{_HIDDEN}",
    ),
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{6,}", re.I), rf"\1 {_HIDDEN}"),
    (
        re.compile(
            r"\b((?:new_|old_)?password|(?:client_)?secret|api_?key|(?:access_|refresh_|id_)?token|code_verifier)"
            r"(['\"]?\s*[:=]\s*b?['\"]?)(?!\*\*\*)[^\s'\"&,;})\]]+",
            re.I,
        ),
        rf"\1\2{_HIDDEN}",
    ),
)
_RECORD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__)


def redact(text: str) -> str:
    """The text without keys, tokens, cookies and passwords."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


class RedactSecrets(logging.Filter):
    """A filter for handlers: message, traceback and extra fields leave without secrets."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        for name, value in list(record.__dict__.items()):
            if name not in _RECORD_FIELDS and not isinstance(value, int | float | None):
                setattr(record, name, redact(str(value)))
        return True


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what standard error is at the moment."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def to_stderr(*, requests: bool = False) -> None:
    """All loggers write warnings and errors through one handler; with `requests` each request is a line."""
    root = logging.getLogger()
    if not any(isinstance(present, RedactSecrets) for known in root.handlers for present in known.filters):
        handler = _Stderr()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        handler.addFilter(RedactSecrets())
        root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").setLevel(logging.INFO if requests else logging.WARNING)
