"""Answers on Zhipu's wire that are no chat: usage, embeddings, token counts, models, tasks, envelopes."""

from __future__ import annotations

import secrets
import time
from array import array
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from openglm.dialects import openai

TaskStatus = Literal["PROCESSING", "SUCCESS", "FAIL"]


def new_id() -> str:
    """An id as the official service makes them: the second, then chance."""
    return f"{datetime.now(UTC):%Y%m%d%H%M%S}{secrets.token_hex(9)}"


def encode_embeddings(
    vectors: Iterable[array[float]],
    *,
    model: str,
    prompt_tokens: int,
    encoding: Literal["float", "base64"] = "float",
) -> dict[str, Any]:
    body = openai.encode_embeddings(vectors, model=model, encoding=encoding, prompt_tokens=prompt_tokens)
    body["usage"]["completion_tokens"] = 0  # the SDK's type needs it
    return body


def encode_tokenizer(
    prompt_tokens: int, *, request_id: str | None = None, image_tokens: int = 0, video_tokens: int = 0
) -> dict[str, Any]:
    """`prompt_tokens` are those of text; images and videos are counted beside them."""
    answer_id = new_id()
    return {
        "id": answer_id,
        "request_id": request_id or answer_id,
        "created": int(time.time()),
        "usage": {
            "prompt_tokens": prompt_tokens,
            "image_tokens": image_tokens,
            "video_tokens": video_tokens,
            "total_tokens": prompt_tokens + image_tokens + video_tokens,
        },
    }


def encode_models(
    models: Iterable[str], *, created: Mapping[str, int] | None = None, owned_by: str = "z-ai"
) -> dict[str, Any]:
    """`created` in seconds, where it is known."""
    times = created or {}
    data = [
        {"id": name, "object": "model", "created": times.get(name, 0), "owned_by": owned_by}
        for name in models
    ]
    return {"object": "list", "data": data}


def encode_task(
    task_id: str,
    request_id: str,
    model: str,
    status: TaskStatus,
    answer: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """An asynchronous task; `answer` is the body it ended with: a whole chat answer, or an error's."""
    head = {"id": task_id, "request_id": request_id, "model": model, "task_status": status}
    if answer is None:
        return head
    if status == "FAIL":
        return {**head, "error": answer.get("error", answer)}
    return {**answer, **head}


def envelope(data: Any, code: int = 200, message: str = "success") -> dict[str, Any]:
    """What the knowledge routes wrap every answer into."""
    return {"code": code, "message": message, "data": data, "timestamp": int(time.time() * 1000)}
