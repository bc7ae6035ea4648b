"""Zhipu's POST images/generations and its asynchronous twin: OpenAI's fields, with a few of its own.

`watermark_enabled` goes to the model's server as it came: marks are drawn where images are.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from openglm.dialects.fields import parse_object
from openglm.dialects.openai.images import Shown, Wanted, image_entries, read_image, read_wanted
from openglm.dialects.zhipu.decode import check_user_id, read_request_id
from openglm.dialects.zhipu.shapes import new_id
from openglm.messages import ImageRequest


@dataclass(frozen=True, slots=True)
class ImageCall:
    image: ImageRequest
    wanted: Wanted = "url"
    request_id: str | None = None


def decode_image(body: bytes) -> ImageCall:
    """The body of POST images/generations. Without response_format images come as links."""
    fields = parse_object(body)
    image = read_image(fields)
    if (marked := fields.flag("watermark_enabled")) is not None:
        image = replace(image, options={**image.options, "watermark_enabled": marked})
    check_user_id(fields)
    return ImageCall(image, read_wanted(fields) or "url", read_request_id(fields))


def encode_images(
    shown: Sequence[Shown],
    *,
    request_id: str | None = None,
    content_filter: Sequence[Mapping[str, Any]] = (),
    entries: str = "data",
) -> dict[str, Any]:
    """The answer; a task's result has its images under the name `image_result`."""
    answer_id = new_id()
    body: dict[str, Any] = {
        "id": answer_id,
        "request_id": request_id or answer_id,
        "created": int(time.time()),
        entries: image_entries(shown),
    }
    return {**body, "content_filter": list(content_filter)} if content_filter else body
