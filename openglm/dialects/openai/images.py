"""POST /v1/images/generations, both ways: what clients ask, what model servers are asked, and their answers.

Fields that decide how an image looks are checked and passed on; what a model makes of them is its own. Model
servers may answer with base64, with data URLs or with addresses; an entry without any that can be read is no
image.
"""

from __future__ import annotations

import base64
import binascii
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from openglm.dialects.fields import Fields, parse_object
from openglm.errors import UpstreamFailure
from openglm.messages import ImageRequest, Usage

MAX_IMAGES = 10  # documented
MAX_PROMPT = 32_000  # characters; documented
_SIZE = re.compile(r"auto|[1-9]\d{1,4}x[1-9]\d{1,4}")
_WORDS = {
    "quality": ("standard", "hd", "low", "medium", "high", "auto"),
    "style": ("vivid", "natural"),
    "background": ("transparent", "opaque", "auto"),
    "output_format": ("png", "jpeg", "webp"),
}
Wanted = Literal["url", "b64_json"]


@dataclass(frozen=True, slots=True)
class ImageCall:
    """What is asked, and how the images are to come."""

    image: ImageRequest
    wanted: Wanted = "b64_json"


@dataclass(frozen=True, slots=True)
class Picture:
    """One image as a model's server sent it: its bytes, or where they are."""

    data: bytes | None = None
    url: str | None = None
    revised_prompt: str | None = None


@dataclass(frozen=True, slots=True)
class ImageAnswer:
    pictures: tuple[Picture, ...]
    usage: Usage  # tokens, of models that count them
    content_filter: tuple[dict[str, Any], ...] = ()  # Zhipu's verdicts, where the server gave some


@dataclass(frozen=True, slots=True)
class Shown:
    """One image as it goes out: a link, or its bytes."""

    link: str | None = None
    data: bytes | None = None
    revised_prompt: str | None = None


def decode_image(body: bytes) -> ImageCall:
    """The body of POST /v1/images/generations. Without response_format images come as base64."""
    fields = parse_object(body)
    if fields.flag("stream"):
        raise fields.wrong("stream", "false: images are not sent piece by piece here")
    image = read_image(fields)
    return ImageCall(image, read_wanted(fields) or "b64_json")


def read_image(fields: Fields) -> ImageRequest:
    prompt = fields.needed_text("prompt")
    if len(prompt) > MAX_PROMPT:
        raise fields.wrong("prompt", f"a text of at most {MAX_PROMPT} characters")
    options: dict[str, Any] = {}
    if size := fields.text("size"):
        if not _SIZE.fullmatch(size):
            raise fields.wrong("size", "auto or width x height in pixels, such as 1024x1024")
        options["size"] = size
    options |= {name: word for name, words in _WORDS.items() if (word := fields.word(name, words))}
    if (seed := fields.integer("seed", 0, 2**63 - 1)) is not None:
        options["seed"] = seed
    return ImageRequest(fields.needed_text("model"), prompt, fields.integer("n", 1, MAX_IMAGES) or 1, options)


def read_wanted(fields: Fields) -> Wanted | None:
    return fields.word("response_format", ("url", "b64_json"))  # type: ignore[return-value]  # one of them


def encode_images(shown: Sequence[Shown], usage: Usage) -> dict[str, Any]:
    """The answer. A model that counts tokens of images has them in `usage`."""
    body: dict[str, Any] = {"created": int(time.time()), "data": image_entries(shown)}
    if usage.total_tokens:
        body["usage"] = {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"text_tokens": usage.prompt_tokens, "image_tokens": 0},
            "output_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
        }
    return body


def image_entries(shown: Sequence[Shown]) -> list[dict[str, Any]]:
    return [
        {
            name: value
            for name, value in (
                ("url", one.link),
                ("b64_json", base64.b64encode(one.data).decode() if one.data else None),
                ("revised_prompt", one.revised_prompt),
            )
            if value is not None
        }
        for one in shown
    ]


# The upstream's side


def image_body(request: ImageRequest, model: str, *, base64_wanted: bool = True) -> bytes:
    """What a model's server is asked. Some always send base64 and refuse to be asked for it."""
    body = {"model": model, "prompt": request.prompt, "n": request.n, **request.options}
    if base64_wanted:
        body["response_format"] = "b64_json"
    return msgspec.json.encode(body)


class _Image(msgspec.Struct):
    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = None


class _Usage(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0


class _Verdict(msgspec.Struct):
    role: str
    level: int


class _Images(msgspec.Struct):
    data: list[_Image]
    usage: _Usage | None = None
    content_filter: list[_Verdict] | None = None


def decode_image_answer(body: bytes, most: int) -> ImageAnswer:
    """At most `most` pictures: nobody pays for what they did not ask for."""
    try:
        answer = msgspec.json.decode(body, type=_Images)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UpstreamFailure(f"the model's server sent no images: {error}") from error
    usage = answer.usage or _Usage()
    if usage.input_tokens < 0 or usage.output_tokens < 0:
        raise UpstreamFailure("the model's server sent a usage that does not add up")
    pictures = tuple(picture for image in answer.data if (picture := _picture(image)))
    return ImageAnswer(
        pictures[:most],
        Usage(input_uncached=usage.input_tokens, output_text=usage.output_tokens),
        tuple({"role": one.role, "level": one.level} for one in answer.content_filter or ()),
    )


def _picture(image: _Image) -> Picture | None:
    encoded, url = image.b64_json, image.url
    if not encoded and url and url.startswith("data:"):
        encoded = url.partition(",")[2]
    if encoded:
        try:
            return Picture(base64.b64decode(encoded, validate=True), revised_prompt=image.revised_prompt)
        except (binascii.Error, ValueError):
            return None
    return Picture(url=url, revised_prompt=image.revised_prompt) if url else None
