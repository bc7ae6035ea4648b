"""The routes of one model's server. Each handler parses, calls the service, and formats; nothing more."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from openglm.asgi.body import decoded
from openglm.asgi.events import KEEP_ALIVE_S, EventStream
from openglm.asgi.page import STATIC, create_page
from openglm.dialects import openai
from openglm.dialects.fields import LARGE_BODY, parse_object
from openglm.errors import CheckpointError, Forbidden, InvalidRequest
from openglm.serve.answer import Answer
from openglm.serve.endpoint import (
    MAX_BODY,
    REQUEST_ID,
    Endpoint,
    error_response,
    json_response,
    wire_error_response,
)
from openglm.serve.metrics import CONTENT_TYPE
from openglm.serve.service import ModelCard, Service, off_loop


def create_app(
    service: Service,
    *,
    page: bool = False,
    static: Path = STATIC,
    cors_origins: Sequence[str] = (),
    lora_loading: bool = False,
    max_body: int = MAX_BODY,
    keep_alive_s: float = KEEP_ALIVE_S,
) -> Starlette:
    """The server of one model.

    `page` adds the web page at /; `cors_origins` lets other sites' pages call; `lora_loading` lets whoever
    reaches the server have it open adapters on its disk; `keep_alive_s` is how long a stream may be silent
    before a comment goes out.
    """
    handlers = Handlers(service, keep_alive_s, lora_loading)
    posts: dict[str, Callable[[bytes], Awaitable[ASGIApp]]] = {
        "/v1/chat/completions": handlers.chat,
        "/v1/completions": handlers.completion,
        "/v1/embeddings": handlers.embedding,
        "/tokenize": handlers.tokenize,
        "/detokenize": handlers.detokenize,
        "/abort": handlers.abort,
        "/v1/load_lora_adapter": handlers.load_lora_adapter,
        "/v1/unload_lora_adapter": handlers.unload_lora_adapter,
    }
    routes: list[BaseRoute] = [
        Route(path, Endpoint(handler, service.metrics, max_body=max_body), methods=["POST"])
        for path, handler in posts.items()
    ]
    routes += [
        Route("/v1/models", handlers.models),
        Route("/v1/models/{name:path}", handlers.model),
        Route("/health", handlers.health),
        Route("/metrics", handlers.metrics),
    ]
    if page:
        routes.append(Mount("/", create_page(static)))
    cors = Middleware(CORSMiddleware, allow_origins=cors_origins, allow_methods=["*"], allow_headers=["*"])
    app = Starlette(
        routes=routes,
        middleware=[cors] if cors_origins else [],
        exception_handlers={HTTPException: unknown_route, Exception: server_error},
    )
    app.state.service = service
    app.state.stop = service.stop
    return app


class Handlers:
    """What the routes do, for one service."""

    def __init__(self, service: Service, keep_alive_s: float, lora_loading: bool):
        self._service = service
        self._keep_alive_s = keep_alive_s
        self._lora_loading = lora_loading
        self._created = int(time.time())

    async def chat(self, body: bytes) -> ASGIApp:
        request = await decoded(lambda data: openai.decode_chat(data, self._service.sampling), body)
        model = self._service.card_of(request.model).name
        answer = await self._service.chat(request, name=REQUEST_ID.get())
        if request.stream:
            chunks = openai.ChatChunks(
                model, include_usage=request.include_usage, continuous_usage=request.continuous_usage
            )
            return EventStream(answer, chunks, keep_alive_s=self._keep_alive_s)
        logprobs = request.sampling.logprobs is not None
        return await whole(answer, openai.ChatObject(model, request.n, logprobs=logprobs))

    async def completion(self, body: bytes) -> ASGIApp:
        request = await decoded(lambda data: openai.decode_completion(data, self._service.sampling), body)
        model = self._service.card_of(request.model).name
        answer = await self._service.completion(request, name=REQUEST_ID.get())
        if request.stream:
            chunks = openai.CompletionChunks(
                model, include_usage=request.include_usage, continuous_usage=request.continuous_usage
            )
            return EventStream(answer, chunks, keep_alive_s=self._keep_alive_s)
        count = request.n * len(request.prompts)
        logprobs = request.sampling.logprobs is not None
        return await whole(answer, openai.CompletionObject(model, count, logprobs=logprobs))

    async def embedding(self, body: bytes) -> ASGIApp:
        request = await decoded(openai.decode_embedding, body)
        model = self._service.card_of(request.model).name
        result = await self._service.embed(request)
        return json_response(
            openai.encode_embeddings(
                result.vectors,
                model=model,
                encoding=request.encoding,
                prompt_tokens=result.prompt_tokens,
            )
        )

    async def tokenize(self, body: bytes) -> ASGIApp:
        request = await decoded(openai.decode_tokenize, body)
        service = self._service
        service.card_of(request.model)
        if request.chat:
            ids = await service.render(request.chat, generate=request.generate)
        else:
            ids = await service.tokenize(request.prompt or "", add_bos=request.add_bos)
        texts = None
        if request.return_texts:
            texts = await off_loop(
                len(body) > LARGE_BODY, lambda: [service.tokenizer.decode([i]) for i in ids]
            )
        length = service.card.max_model_len
        return json_response({"count": len(ids), "max_model_len": length, "tokens": ids, "token_strs": texts})

    async def detokenize(self, body: bytes) -> ASGIApp:
        model, ids = await decoded(openai.decode_detokenize, body)
        service = self._service
        service.card_of(model)
        text = await off_loop(
            len(body) > LARGE_BODY, lambda: service.tokenizer.decode(service.prompt_ids(ids))
        )
        return json_response({"prompt": text})

    async def abort(self, body: bytes) -> ASGIApp:
        """Ends the answer to the request that carried this id as its x-request-id."""
        fields = parse_object(body)
        name = fields.text("request_id")
        if not name:
            raise fields.wrong("request_id", "the x-request-id of a running request")
        return json_response({"aborted": self._service.cancel(name)})

    async def load_lora_adapter(self, body: bytes) -> ASGIApp:
        """Serves a LoRA adapter from a folder on this machine, as vLLM's route of that name does."""
        self._check_lora_loading()
        fields = parse_object(body)
        name, path = fields.needed_text("lora_name"), fields.needed_text("lora_path")
        try:
            await off_loop(True, lambda: self._service.load_adapter(name, Path(path)))
        except CheckpointError as error:
            raise InvalidRequest(
                error.message, param="lora_path", code="invalid_adapter", hint=error.hint
            ) from error
        return PlainTextResponse(f"LoRA adapter {name!r} is loaded\n")

    async def unload_lora_adapter(self, body: bytes) -> ASGIApp:
        self._check_lora_loading()
        name = parse_object(body).needed_text("lora_name")
        await off_loop(True, lambda: self._service.unload_adapter(name))
        return PlainTextResponse(f"LoRA adapter {name!r} is unloaded\n")

    def _check_lora_loading(self) -> None:
        if not self._lora_loading:
            raise Forbidden(
                "this server opens no adapters on request",
                hint="start it with --lora-loading, or on a Unix socket",
            )

    async def models(self, request: Request) -> Response:
        return json_response({"object": "list", "data": [self._card(card) for card in self._service.cards]})

    async def model(self, request: Request) -> Response:
        try:
            card = self._service.card_of(request.path_params["name"])
        except Exception as error:
            return error_response(error)
        return json_response(self._card(card))

    async def health(self, request: Request) -> Response:
        if not self._service.engine.alive:
            return json_response({"status": "failed"}, status=503)
        return json_response({"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        return Response(self._service.metrics.text(), media_type=CONTENT_TYPE)

    def _card(self, model: ModelCard) -> dict[str, Any]:
        card = asdict(model)
        return {"id": card.pop("name"), "object": "model", "created": self._created, **card}


async def whole(answer: Answer, into: openai.ChatObject | openai.CompletionObject) -> Response:
    """Collect an answer to its end and encode it."""
    with answer:
        async for choice, events in answer:
            into.add(choice, events)
            if into.failure:
                return wire_error_response(openai.encode_failure(into.failure))
    return json_response(into.body())


async def unknown_route(request: Request, error: Exception) -> Response:
    """404 and 405 of the router, in the dialect's shape."""
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path}"
    message = f"no such route: {what}" if error.status_code == 404 else f"{what}: {error.detail}"
    code = "unknown_route" if error.status_code == 404 else "method_not_allowed"
    body = openai.error_body(message, "invalid_request_error", None, code)
    return json_response(body, error.status_code, dict(error.headers or {}))


async def server_error(request: Request, error: Exception) -> Response:
    return wire_error_response(openai.encode_error(error))
