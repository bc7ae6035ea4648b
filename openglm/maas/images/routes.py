"""Where the links of images lead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openglm.maas.images.images import PATH

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from openglm.maas.files.routes import Wrap


def routes(platform: Any, wrap: Wrap) -> list[Route]:
    """`wrap(dialect, handler)` gives a handler whose errors come out in the dialect's shape."""
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    async def image(request: Request) -> Response:
        file, kind, chunks = await platform.images.open(
            request.path_params["name"], request.query_params.get("signature", "")
        )
        headers = {
            "content-length": str(file.bytes),
            "content-security-policy": "default-src 'none'; sandbox",  # they are a stranger's bytes
            "x-content-type-options": "nosniff",
            "cache-control": "private, max-age=86400, immutable",
        }
        return StreamingResponse(chunks, media_type=f"image/{kind}", headers=headers)

    return [Route(PATH + "{name}", wrap("openai", image), methods=["GET"])]
