"""What model servers say of a request that does not fit into the context, and the numbers in it.

Agents act on the numbers: they ask for a shorter answer, or shorten the conversation. Servers tell them in a
sentence only, each in its own.
"""

from __future__ import annotations

import re

from openglm.errors import PromptTooLong

_SENTENCES = tuple(
    re.compile(sentence)
    for sentence in (
        # ours
        r"prompt has (?P<prompt>\d+) tokens(?: and max_tokens is (?P<wanted>\d+))?;"
        r" together at most (?P<limit>\d+)",
        # vLLM, newest first, the last also OpenAI's
        r"requested (?P<wanted>\d+) output tokens and your prompt contains (?:at least )?(?P<prompt>\d+)",
        r"too large: (?P<wanted>\d+)\. .* your request has (?P<prompt>\d+) input tokens",
        r"\((?P<prompt>\d+) in the messages, (?P<wanted>\d+) in the completion\)",
        # SGLang
        r"(?P<prompt>\d+) tokens from the input messages and (?P<wanted>\d+) tokens for the completion",
        r"input \((?P<prompt>\d+) tokens\) is longer than the model's context length \((?P<limit>\d+)",
    )
)
_LIMIT = re.compile(r"maximum context length (?:is|of) (\d+)")
_MARKS = ("maximum context length", "longer than the model's context length")


def read_overflow(message: str, *, code: str, param: str | None) -> PromptTooLong | None:
    """The error that a server's message amounts to, if it is one of these."""
    if code != "context_length_exceeded" and not any(mark in message for mark in _MARKS):
        return None
    found = next(filter(None, (sentence.search(message) for sentence in _SENTENCES)), None)
    numbers = {name: int(text) for name, text in (found.groupdict() if found else {}).items() if text}
    limit = _LIMIT.search(message)
    return PromptTooLong(
        message,
        param=param,
        code="context_length_exceeded",
        prompt=numbers.get("prompt"),
        wanted=numbers.get("wanted"),
        limit=int(limit[1]) if limit else numbers.get("limit"),
    )
