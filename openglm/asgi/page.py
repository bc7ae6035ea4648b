"""The built web app: its files, its places, and the headers that keep it safe and its hashed assets cached.

A place is an address that the app shows and no file stands for (/chat/conv_1, /console/keys): it gets the
same page, told where its root is, so that a reload, a link and a proxy's path prefix all work. Assets go out
gzipped to whoever takes that, a third of their size: packed when first asked for, and kept.
"""

from __future__ import annotations

import asyncio
import gzip
import mimetypes
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

STATIC = Path(__file__).parent.parent / "static"
PLACES = frozenset(  # first parts of addresses; web/src/app/routes.ts has the pages
    {
        "archive",
        "assistants",
        "chat",
        "console",
        "memory",
        "projects",
        "prompts",
        "search",
        "setup",
        "share",
        "sign-in",
        "sign-up",
    }
)
# Model output is shown on this page: no script, image or connection but our own.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
    "connect-src 'self'; frame-src 'self'; manifest-src 'self'; base-uri 'self'; form-action 'none'; "
    "frame-ancestors 'none'"
)
# What a model wrote runs in here: with scripts; without an origin, a network, or a way out of its frame.
_FRAME_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src data: blob:; media-src data: blob:; font-src 'self' data:; "
    "worker-src blob:; connect-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)
_FRAME = "/frame.html"
_SAFETY = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
_FOR_A_YEAR = (b"cache-control", b"public, max-age=31536000, immutable")  # names carry a hash
_AS_ASKED = (b"vary", b"accept-encoding")
_ASK_AGAIN = (b"cache-control", b"no-cache")
_FOR_FRAMES = (b"access-control-allow-origin", b"*")  # a frame without an origin loads our modules too


def create_page(folder: Path = STATIC) -> ASGIApp:
    """The app in `folder`, or a text that says how to build it."""
    index = folder / "index.html"
    if not index.is_file():
        return _Guarded(
            PlainTextResponse(f"The page is not built: {folder} has no index.html.\n" + _HOW, 404)
        )
    files = _Packed(StaticFiles(directory=folder), folder)
    return _Guarded(_Places(files, index.read_text(encoding="utf-8")))


_HOW = "Build it with: web/build.sh\nThe API works without it; see /v1/models.\n"


class _Places:
    """The page where the path is one of its places, else the file of that name."""

    def __init__(self, files: ASGIApp, page: str):
        self._files = files
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts = scope["path"].strip("/").split("/")
        if parts != [""] and parts[0] not in PLACES:
            await self._files(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            await PlainTextResponse("this is a page: GET it\n", 405)(scope, receive, send)
        else:
            root = "../" * scope["path"].removeprefix("/").count("/") or "./"
            told = self._page.replace("<head>", f'<head>\n    <base href="{root}" />', 1)
            await HTMLResponse(told)(scope, receive, send)


class _Packed:
    """Scripts, styles, drawings: gzipped. Fonts are packed already, parts of a file come as they are."""

    def __init__(self, files: ASGIApp, folder: Path):
        self._files = files
        found = (path for path in (folder / "assets").glob("*") if path.suffix in (".js", ".css", ".svg"))
        self._sources = {f"/assets/{path.name}": path for path in found}
        self._packed: dict[str, bytes] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        source, headers = self._sources.get(scope["path"]), Headers(scope=scope)
        if (
            source is None
            or scope["method"] not in ("GET", "HEAD")
            or "gzip" not in headers.get("accept-encoding", "")
            or "range" in headers
        ):
            return await self._files(scope, receive, send)
        packed = self._packed.get(source.name)
        if packed is None:
            packed = self._packed[source.name] = await asyncio.to_thread(_pack, source)
        media_type = mimetypes.guess_type(source.name)[0]
        answer = Response(packed, headers={"content-encoding": "gzip"}, media_type=media_type)
        return await answer(scope, receive, send)


def _pack(source: Path) -> bytes:
    return gzip.compress(source.read_bytes(), 9, mtime=0)


class _Guarded:
    """Adds the safety and cache headers to whatever goes out."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        policy = _FRAME_POLICY if scope["path"] == _FRAME else _POLICY
        added = [*_SAFETY, (b"content-security-policy", policy.encode())]

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                hashed = scope["path"].startswith("/assets/") and message["status"] < 400
                cache = [_FOR_A_YEAR, _AS_ASKED, _FOR_FRAMES] if hashed else [_ASK_AGAIN]
                message = {**message, "headers": [*message["headers"], *added, *cache]}
            await send(message)

        await self._app(scope, receive, send_guarded)
