"""Errands: a batch's rows and asynchronous answers go the road of requests, though nobody waits on a line.

Each try is a request of its own whose hold carries the errand's id, so that no two tries run at once and an
errand that was paid for is not run again; what must be kept is kept in the transaction of its bill.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from openglm.dialects import anthropic, openai, zhipu
from openglm.dialects.wire import AnswerObject
from openglm.errors import (
    DuplicateRequest,
    EngineFailure,
    OpenGLMError,
    Overloaded,
    RateLimited,
    UpstreamFailure,
)
from openglm.maas.gateway.agents import begin
from openglm.maas.gateway.call import Call
from openglm.maas.gateway.generation import collect, embed, open_exchange, whole
from openglm.maas.gateway.images import Drawn, draw, kept_by
from openglm.maas.gateway.loop import open_answer
from openglm.maas.gateway.surfaces import ANTHROPIC, OPENAI, ZHIPU
from openglm.maas.gateway.tools import with_findings
from openglm.maas.ids import new_id
from openglm.messages import EmbeddingRequest

if TYPE_CHECKING:
    from openglm.maas.database import Transaction
    from openglm.maas.gateway.exchange import Exchange
    from openglm.maas.gateway.loop import Loop
    from openglm.maas.identity import Caller
    from openglm.maas.platform import Platform

Keep = Callable[["Transaction", int, bytes], None]
WORDS = {
    "chat/completions": "chat",
    "completions": "completions",
    "embeddings": "embeddings",
    "images/generations": "images",
    "agents": "agents",
    "messages": "messages",
}


class Errands:
    """`run(caller, endpoint, body, errand, keep)` is what batches and tasks are given."""

    def __init__(self, platform: Platform, *, batch: bool):
        self._platform = platform
        self._batch = batch

    async def run(
        self, caller: Caller, endpoint: str, body: bytes, errand: str, keep: Keep
    ) -> tuple[int, bytes]:
        """Status and body. Raises, with nothing charged, where the same errand may succeed later.

        It runs on the rights that the caller's key has now, not on those it had when the errand was given.
        """
        platform = self._platform
        version, _, path = endpoint.removeprefix("/").partition("/")
        surface = ZHIPU if version == "v4" else ANTHROPIC if path == "messages" else OPENAI
        request_id = new_id("req", platform.clock())
        try:
            caller = await platform.still(caller)
            caller.may_call(WORDS[path])
            call = Call(
                {"type": "http", "headers": [], "path": endpoint},
                body,
                caller,
                surface,
                request_id,
                platform.clock(),
                batch=self._batch,
                errand=errand,
            )
            work = {
                "chat/completions": self._chat,
                "completions": self._completion,
                "embeddings": self._embedding,
                "images/generations": self._images,
                "agents": self._agent,
                "messages": self._message,
            }[path]
            return 200, await work(call, lambda transaction, answer: keep(transaction, 200, answer))
        except (RateLimited, Overloaded, UpstreamFailure, DuplicateRequest):
            raise
        except EngineFailure as error:
            raise UpstreamFailure(error.message) from error
        except OpenGLMError as error:
            wire = surface.encode_error(error, request_id)
            return wire.status, msgspec.json.encode(wire.body)

    async def _chat(self, call: Call, keep: Callable[[Transaction, bytes], None]) -> bytes:
        if call.surface is OPENAI:
            chat = await call.read(openai.decode_chat)
            logprobs = chat.sampling.logprobs is not None
            exchange = await open_exchange(self._platform, call, chat)
            return await _kept(exchange, openai.ChatObject(chat.model, chat.n, logprobs=logprobs), keep)
        request = await call.read(zhipu.decode_chat)
        chat, hits = await with_findings(self._platform, call, request)
        search = request.tools.web_search
        answer = zhipu.ChatObject(
            chat.model,
            chat.n,
            request_id=request.request_id or call.errand,
            web_search=hits if search and search.show_results else (),
        )
        return await _kept(
            await open_answer(self._platform, call, chat, request.tools.mcp, judged=True), answer, keep
        )

    async def _completion(self, call: Call, keep: Callable[[Transaction, bytes], None]) -> bytes:
        request = await call.read(openai.decode_completion)
        count = request.n * len(request.prompts)
        logprobs = request.sampling.logprobs is not None
        exchange = await open_exchange(self._platform, call, request)
        return await _kept(exchange, openai.CompletionObject(request.model, count, logprobs=logprobs), keep)

    async def _message(self, call: Call, keep: Callable[[Transaction, bytes], None]) -> bytes:
        key = self._platform.secrets.derive(anthropic.KEY_PURPOSE)
        chat = (await call.read(lambda body: anthropic.decode_messages(body, key))).chat
        exchange = await open_exchange(self._platform, call, chat)
        return await _kept(exchange, anthropic.MessageObject(chat.model, key), keep)

    async def _embedding(self, call: Call, keep: Callable[[Transaction, bytes], None]) -> bytes:
        if call.surface is OPENAI:
            wanted, encode = await call.read(openai.decode_embedding), openai.encode_embeddings
        else:
            wanted, encode = (await call.read(zhipu.decode_embedding)).embedding, zhipu.encode_embeddings
        body = b""

        def encoded(vectors: Any, tokens: int) -> Callable[[Transaction], None]:
            nonlocal body
            body = msgspec.json.encode(
                encode(vectors, model=wanted.model, encoding=wanted.encoding, prompt_tokens=tokens)
            )
            return lambda transaction: keep(transaction, body)

        await embed(self._platform, call, wanted, also=encoded)
        return body

    async def _images(self, call: Call, keep: Callable[[Transaction, bytes], None]) -> bytes:
        wanted = await call.read(zhipu.decode_image)
        body = b""

        def encoded(drawn: Drawn) -> Callable[[Transaction], None]:
            nonlocal body
            body = msgspec.json.encode(
                zhipu.encode_images(drawn.shown, content_filter=drawn.content_filter, entries="image_result")
            )
            return lambda transaction: keep(transaction, body)

        await draw(
            self._platform,
            call,
            wanted.image,
            keep=kept_by(self._platform, call, wanted.wanted),
            also=encoded,
        )
        return body

    async def _agent(self, call: Call, keep: Callable[[Transaction, bytes], None]) -> bytes:
        asked = await call.read(zhipu.decode_agent)
        agent = self._platform.agents.get(asked.agent_id)

        def also(answer: zhipu.AgentObject) -> Callable[[Transaction], None]:
            body = msgspec.json.encode(answer.body())
            return lambda transaction: keep(transaction, body)

        answer, opening = await begin(self._platform, call, agent, asked, also=also)
        return msgspec.json.encode((await whole(await opening, answer)).body())


async def _kept(
    exchange: Exchange | Loop, into: AnswerObject, keep: Callable[[Transaction, bytes], None]
) -> bytes:
    try:
        await collect(exchange, into)
        body = msgspec.json.encode(into.body())
        exchange.keep(lambda transaction: keep(transaction, body))
    finally:
        settling = exchange.close()
        if settling:
            await asyncio.shield(settling)
    return body


class Vectors:
    """Vectors for knowledge bases: the road of embeddings, without a client on the line."""

    def __init__(self, platform: Platform):
        self._platform = platform

    async def __call__(
        self,
        caller: Caller,
        model: str,
        texts: Sequence[str],
        errand: str,
        keep: Callable[[Transaction, list[array[float]]], None] | None = None,
    ) -> list[array[float]]:
        platform = self._platform
        call = Call(
            {"type": "http", "headers": [], "path": "/v4/embeddings"},
            b"",
            await platform.still(caller),
            ZHIPU,
            new_id("req", platform.clock()),
            platform.clock(),
            errand=errand,
        )

        def also(vectors: list[array[float]], tokens: int) -> Callable[[Transaction], None]:
            return lambda transaction: keep(transaction, vectors) if keep else None

        vectors, _ = await embed(platform, call, EmbeddingRequest(model, tuple(texts)), also=also)
        return vectors
