"""What a prompt says, and how long it is: an upper bound for free, the exact count, or a guess."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from openglm.errors import InvalidRequest
from openglm.maas.gateway.call import Call
from openglm.messages import ChatRequest, CompletionRequest, EmbeddingRequest, ImagePart, Part, TextPart

if TYPE_CHECKING:
    from openglm.maas.platform import Platform

TURN_TOKENS = 16  # what a prompt format adds to a turn, at most
IMAGE_TOKENS = 6_000  # of one image, at most
TOKEN_BYTES = 4  # of a token of English or Chinese text, by rule of thumb
Request = ChatRequest | CompletionRequest | EmbeddingRequest


async def count(platform: Platform, call: Call, request: Request) -> int:
    """The exact number of prompt tokens, by the model's own tokenizer; of images behind links, the most."""
    if isinstance(request, ChatRequest):
        here, links = without_links(request)
        counted = await platform.router.count_tokens(here, request.model, request_id=call.request_id)
        return counted + links * IMAGE_TOKENS
    prompts = request.inputs if isinstance(request, EmbeddingRequest) else request.prompts
    total = 0
    for prompt in prompts:
        if isinstance(prompt, str):
            total += await platform.router.count_tokens(prompt, request.model, request_id=call.request_id)
        else:
            total += len(prompt)
    return total


def without_links(chat: ChatRequest) -> tuple[ChatRequest, int]:
    """A chat without its images that are links, which no server of models is to follow, and how many."""

    def is_link(part: Part) -> bool:
        return isinstance(part, ImagePart) and not part.url.lower().startswith("data:image/")

    links = sum(is_link(part) for message in chat.messages for part in message.parts)
    if not links:
        return chat, 0
    messages = (
        replace(message, parts=tuple(part for part in message.parts if not is_link(part)))
        for message in chat.messages
    )
    return replace(chat, messages=tuple(messages)), links


def answers(request: ChatRequest | CompletionRequest) -> int:
    """How many answers a request asks for."""
    return request.n * (len(request.prompts) if isinstance(request, CompletionRequest) else 1)


def prompt_bound(request: Request) -> int:
    """At least as many tokens as the prompt can have: a token of text covers one byte of UTF-8 or more."""
    return _prompt(request, _bytes)


def prompt_guess(request: Request) -> int:
    """About as many tokens as the prompt has, where nobody can count them."""
    return _prompt(request, text_guess)


def text_guess(text: str) -> int:
    return -(-_bytes(text) // TOKEN_BYTES)


def _prompt(request: Request, tokens: Callable[[str], int]) -> int:
    if isinstance(request, EmbeddingRequest):
        return sum(tokens(text) if isinstance(text, str) else len(text) for text in request.inputs)
    if isinstance(request, CompletionRequest):
        prompts = (tokens(text) if isinstance(text, str) else len(text) for text in request.prompts)
        return sum(prompts) + tokens(request.suffix or "")
    size = TURN_TOKENS
    for message in request.messages:
        size += TURN_TOKENS + tokens(message.reasoning or "")
        for part in message.parts:
            if isinstance(part, TextPart):
                size += tokens(part.text)
            elif isinstance(part, ImagePart):
                size += IMAGE_TOKENS
        for call in message.tool_calls:
            size += TURN_TOKENS + len(call.name) + tokens(call.arguments)
    for tool in request.tools:
        size += TURN_TOKENS + len(tool.name) + tokens(tool.description)
        size += 2 * len(msgspec.json.encode(tool.parameters))  # formats indent schemas
    return size


def texts_of(request: ChatRequest | CompletionRequest) -> Iterator[str]:
    """All text that a model will read, whoever is said to have spoken it: clients write every turn."""
    if isinstance(request, CompletionRequest):
        for prompt in request.prompts:
            if not isinstance(prompt, str):
                raise InvalidRequest(
                    "a prompt must be text here, got token ids",
                    param="prompt",
                    code="invalid_value",
                    hint="prompts are judged before they are answered",
                )
            yield prompt
        yield request.suffix or ""
        return
    for message in request.messages:
        yield message.text
        yield message.reasoning or ""
        yield message.name or ""
        for call in message.tool_calls:
            yield call.name
            yield call.arguments
    for tool in request.tools:
        yield tool.name
        yield tool.description
        yield msgspec.json.encode(tool.parameters).decode()
    if request.template_options:
        yield msgspec.json.encode(request.template_options).decode()


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
