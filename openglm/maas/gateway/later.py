"""Documented routes that this platform does not offer yet: they say so in their dialect, to known callers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import BaseRoute, Route

from openglm.errors import NotOffered
from openglm.maas.gateway.endpoint import wrapped
from openglm.maas.gateway.surfaces import ENVELOPE, OPENAI, ZHIPU

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from openglm.maas.platform import Platform

_ANY = ["GET", "POST", "PUT", "DELETE", "PATCH"]
ZHIPU_PATHS = (
    "/api/paas/v4/audio/{rest:path}",
    "/api/paas/v4/voice/{rest:path}",
    "/api/paas/v4/files/parser/{rest:path}",
    "/api/paas/v4/files/ocr",
    "/api/paas/v4/layout_parsing",
    "/api/paas/v4/assistant",
    "/api/paas/v4/assistant/{rest:path}",
    "/api/paas/v4/videos/{rest:path}",
    "/api/paas/v4/async/videos/{rest:path}",
    "/api/paas/v4/realtime",
    "/api/agent/managed/v1/{rest:path}",
)
ENVELOPE_PATHS = ("/api/llm-application/open/{rest:path}",)
OPENAI_PATHS = (
    "/v1/images/{rest:path}",
    "/v1/audio/{rest:path}",
    "/v1/videos",
    "/v1/videos/{rest:path}",
    "/v1/fine_tuning/alpha/{rest:path}",
    "/v1/fine_tuning/checkpoints/{rest:path}",
    "/v1/assistants",
    "/v1/assistants/{rest:path}",
    "/v1/threads",
    "/v1/threads/{rest:path}",
    "/v1/vector_stores",
    "/v1/vector_stores/{rest:path}",
    "/v1/uploads",
    "/v1/uploads/{rest:path}",
    "/v1/evals",
    "/v1/evals/{rest:path}",
    "/v1/containers",
    "/v1/containers/{rest:path}",
    "/v1/conversations",
    "/v1/conversations/{rest:path}",
)


def routes(platform: Platform) -> list[BaseRoute]:
    async def not_yet(request: Request) -> Response:
        await platform.caller(request)
        raise NotOffered(f"{request.url.path} is not offered by this platform yet")

    return [
        Route(path, wrapped(platform, surface, not_yet), methods=_ANY)
        for surface, paths in ((ZHIPU, ZHIPU_PATHS), (ENVELOPE, ENVELOPE_PATHS), (OPENAI, OPENAI_PATHS))
        for path in paths
    ]
