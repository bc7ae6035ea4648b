"""The sampling fields of an OpenAI body, with the extras that vLLM made common.

Bounds are OpenAI's where it documents them, wider where its own clients and agents send more.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from openglm.dialects.fields import Fields, as_integer, is_number
from openglm.errors import InvalidRequest
from openglm.messages import SamplingParams

MAX_CHOICES = 128  # n
MAX_TOKENS = 2**31 - 1
MAX_STOP_STRINGS = 64  # OpenAI allows 4, too few for completion harnesses
MAX_STOP_CHARS = 1024
MAX_STOP_IDS = 1024
MAX_BIASES = 1024
MAX_TOP_LOGPROBS = 20
MAX_TOKEN_ID = 2**31 - 1


def read_sampling(
    body: Fields, defaults: SamplingParams, *, logprobs: int | None, max_tokens: int | None
) -> tuple[SamplingParams, frozenset[str]]:
    """Everything that says how tokens are chosen, and which of it the body itself said.

    What the body leaves out stays as in `defaults`.
    """
    min_tokens = body.integer("min_tokens", 0, MAX_TOKENS)
    if min_tokens and max_tokens is not None and min_tokens > max_tokens:
        raise body.wrong("min_tokens", f"at most max_tokens ({max_tokens})")
    given = {
        "max_tokens": max_tokens,
        "min_tokens": min_tokens,
        "temperature": body.number("temperature", 0, 2),
        "top_p": body.number("top_p", 0, 1, above=True, hint="temperature 0 gives the likeliest token"),
        "min_p": body.number("min_p", 0, 1),
        "repetition_penalty": body.number("repetition_penalty", 0, 10, above=True),
        "presence_penalty": body.number("presence_penalty", -2, 2),
        "frequency_penalty": body.number("frequency_penalty", -2, 2),
        "logit_bias": _logit_bias(body),
        "seed": body.integer("seed", -(2**63), 2**63 - 1),
        "stop": _stop(body) or None,
        "stop_token_ids": tuple(token_ids(body, "stop_token_ids", MAX_STOP_IDS)) or None,
        "ignore_eos": body.flag("ignore_eos"),
        "logprobs": logprobs,
    }
    changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if body.has("top_k"):
        changed["top_k"] = _top_k(body)
    return replace(defaults, **changed), frozenset(changed)


def read_n(body: Fields) -> int:
    n = body.integer("n", 1, MAX_CHOICES)
    return 1 if n is None else n


def token_ids(body: Fields, name: str, most: int) -> list[int]:
    """A list of token ids. Whether the vocabulary has them is for the server to say."""
    ids = []
    for index, value in enumerate(body.items(name, most)):
        token_id = as_integer(value)
        if token_id is None or not 0 <= token_id <= MAX_TOKEN_ID:
            raise body.wrong(name, f"a list of token ids; item {index} is not one")
        ids.append(token_id)
    return ids


def _top_k(body: Fields) -> int | None:
    top_k = body.integer("top_k", -1, MAX_TOKEN_ID)
    return top_k if top_k and top_k > 0 else None  # 0 and -1 mean off, as in vLLM


def _stop(body: Fields) -> tuple[str, ...]:
    stop = body.raw("stop")
    texts = [stop] if isinstance(stop, str) else body.items("stop", MAX_STOP_STRINGS)
    for text in texts:
        if not isinstance(text, str) or not 1 <= len(text) <= MAX_STOP_CHARS:
            raise body.wrong("stop", f"a string or a list of strings of 1 to {MAX_STOP_CHARS} characters")
    return tuple(texts)


def _logit_bias(body: Fields) -> dict[int, float] | None:
    given = body.object("logit_bias")
    if given is None:
        return None
    if len(given.data) > MAX_BIASES:
        raise body.wrong("logit_bias", f"an object of at most {MAX_BIASES} token ids")
    biases = {}
    for key, value in given.data.items():
        if not (key.isascii() and key.isdigit() and len(key) <= 10) or int(key) > MAX_TOKEN_ID:
            raise InvalidRequest(
                f"logit_bias must map token ids to numbers, got the key {key[:40]!a}",
                param="logit_bias",
                code="invalid_value",
                hint="POST /tokenize turns text into token ids",
            )
        if not is_number(value) or not -100 <= value <= 100:
            raise given.wrong(key, "a number from -100 to 100")
        biases[int(key)] = float(value)
    return biases
