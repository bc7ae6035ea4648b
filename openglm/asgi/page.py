"""The built web page at /, with the headers that keep it safe and its hashed assets cached."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse
from starlette.staticfiles import StaticFiles

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

STATIC = Path(__file__).parent.parent / "static"
# Model output is shown on this page: no script, image or connection but our own.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAFETY = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
_FOR_A_YEAR = (b"cache-control", b"public, max-age=31536000, immutable")  # names carry a hash
_ASK_AGAIN = (b"cache-control", b"no-cache")


def create_page(folder: Path = STATIC) -> ASGIApp:
    """The page in `folder`, or a text that says how to build it."""
    if not (folder / "index.html").is_file():
        return _Guarded(
            PlainTextResponse(f"The page is not built: {folder} has no index.html.\n" + _HOW, 404)
        )
    return _Guarded(StaticFiles(directory=folder, html=True))


_HOW = "Build it with: web/build.sh\nThe API works without it; see /v1/models.\n"


class _Guarded:
    """Adds the safety and cache headers to whatever goes out."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                hashed = scope["path"].startswith("/assets/") and message["status"] < 400
                cache = _FOR_A_YEAR if hashed else _ASK_AGAIN
                message = {**message, "headers": [*message["headers"], *_SAFETY, cache]}
            await send(message)

        await self._app(scope, receive, send_guarded)
