"""Reranking: how well each document answers a question.

With a model that makes vectors, by cosine, billed as its embeddings; as `rerank`, where nothing else has that
name, by words alone, which asks no model and costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from starlette.routing import BaseRoute, Route

from openglm.dialects.fields import parse_object
from openglm.errors import InvalidRequest
from openglm.maas.gateway.call import Call
from openglm.maas.gateway.endpoint import Endpoint, json_response
from openglm.maas.gateway.generation import embed
from openglm.maas.gateway.surfaces import ZHIPU
from openglm.messages import EmbeddingRequest

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from openglm.maas.platform import Platform

BY_WORDS = "rerank"
MAX_CHARS = 4_096  # of the question, and of each document
MAX_DOCUMENTS = 128


def routes(platform: Platform) -> list[BaseRoute]:
    async def rerank(call: Call) -> ASGIApp:
        return json_response(await ranked(platform, call))

    return [Route("/api/paas/v4/rerank", Endpoint(platform, ZHIPU, "rerank", rerank), methods=["POST"])]


async def ranked(platform: Platform, call: Call) -> dict[str, Any]:
    fields = await call.read(parse_object)
    model, question = fields.needed_text("model"), fields.needed_text("query")
    documents = fields.items("documents", MAX_DOCUMENTS)
    if not documents or not all(isinstance(text, str) and 0 < len(text) <= MAX_CHARS for text in documents):
        raise fields.wrong(
            "documents", f"a list of 1 to {MAX_DOCUMENTS} texts of 1 to {MAX_CHARS} characters"
        )
    if len(question) > MAX_CHARS:
        raise InvalidRequest(
            f"query must have at most {MAX_CHARS} characters, got {len(question)}", param="query"
        )
    count = fields.integer("top_n", 0, MAX_DOCUMENTS) or len(documents)
    raw, tokens = await _scores(platform, call, model, question, documents)
    shows = fields.flag("return_documents")
    results = []
    for index in sorted(range(len(raw)), key=lambda at: -raw[at])[:count]:
        result: dict[str, Any] = {"index": index, "relevance_score": max(0.0, min(1.0, raw[index]))}
        if fields.flag("return_raw_scores"):
            result["raw_score"] = raw[index]
        if shows:
            result["document"] = documents[index]
        results.append(result)
    return {
        "id": call.request_id,
        "request_id": fields.text("request_id") or call.request_id,
        "created": call.received_ms // 1000,
        "model": model,
        "results": results,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


async def _scores(
    platform: Platform, call: Call, model: str, question: str, documents: Sequence[str]
) -> tuple[list[float], int]:
    if model == BY_WORDS and model not in platform.models_of(call.caller):
        from openglm.maas.knowledge.scoring import lexical

        call.caller.may_use(model)
        with platform.limits.enter(call.caller, BY_WORDS, 0):
            return lexical(question, documents), 0
    vectors, tokens = await embed(platform, call, EmbeddingRequest(model, (question, *documents)))
    import numpy as np

    rows = np.array([np.asarray(vector, np.float32) for vector in vectors])
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return [float(score) for score in rows[1:] @ rows[0]], tokens
