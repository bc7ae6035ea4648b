"""The list of models on Anthropic's wire, one page at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from openglm.dialects.fields import Fields
from openglm.errors import InvalidRequest

MAX_PAGE = 1000
_PAGE = 20  # documented


def encode_model(name: str, created_at_ms: int = 0) -> dict[str, Any]:
    """A model; its day is that of the epoch if nobody knows it, as Anthropic documents."""
    created = datetime.fromtimestamp(created_at_ms // 1000, UTC)
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": f"{created:%Y-%m-%dT%H:%M:%SZ}",
        "lifecycle": "active",
    }


def encode_models(
    names: Sequence[str], query: Mapping[str, str], *, created: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """The page that `limit`, `after_id` and `before_id` ask for."""
    limit = _limit(query)
    start, end = 0, len(names)
    if after := query.get("after_id"):
        start = _place(names, "after_id", after) + 1
    if before := query.get("before_id"):
        end = _place(names, "before_id", before)
        start = max(start, end - limit)
    page = list(names[start:end][:limit])
    more = start > 0 if query.get("before_id") else start + len(page) < end
    return {
        "data": [encode_model(name, (created or {}).get(name, 0)) for name in page],
        "has_more": more,
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
    }


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit")
    if not text:
        return _PAGE
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text
    limit = Fields({"limit": number}).integer("limit", 1, MAX_PAGE)
    return _PAGE if limit is None else limit


def _place(names: Sequence[str], param: str, name: str) -> int:
    try:
        return names.index(name)
    except ValueError:
        raise InvalidRequest(
            f"{param} must be the id of a model of this list, got {name[:80]!a}",
            param=param,
            code="invalid_value",
        ) from None
