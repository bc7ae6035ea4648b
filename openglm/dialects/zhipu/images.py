"""Images of a Zhipu body: the official SDK strips the head of data URLs, so bare base64 arrives.

Model servers want the head back; the first bytes say which it was.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace

from openglm.errors import InvalidRequest
from openglm.messages import ImagePart, Message, Part

_KINDS = {"iVBORw0KGgo": "png", "/9j/": "jpeg", "R0lGOD": "gif", "UklGR": "webp", "Qk": "bmp"}


def with_whole_urls(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The messages with every bare image as a data URL."""
    if not any(isinstance(part, ImagePart) for message in messages for part in message.parts):
        return messages
    return tuple(
        replace(
            message,
            parts=tuple(
                _whole(part, f"messages[{turn}].content[{place}]") for place, part in enumerate(message.parts)
            ),
        )
        for turn, message in enumerate(messages)
    )


def _whole(part: Part, path: str) -> Part:
    if not isinstance(part, ImagePart) or part.url.startswith(("http://", "https://", "data:")):
        return part
    kind = next((kind for start, kind in _KINDS.items() if part.url.startswith(start)), None)
    try:
        base64.b64decode(part.url, validate=True)
    except (binascii.Error, ValueError):
        kind = None
    if kind is None:
        raise InvalidRequest(
            f"{path}.image_url.url must be an http(s) URL, a data URL or the base64 of an image"
            f" ({', '.join(_KINDS.values())}), got {len(part.url)} characters of something else",
            param=f"{path}.image_url.url",
            code="invalid_value",
        )
    return ImagePart(f"data:image/{kind};base64,{part.url}")
