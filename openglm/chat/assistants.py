"""Assistants: what is judged of them, and the MCP servers that they bring.

Headers of servers are secrets: they are sealed, never shown, and never leave with an export."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from openglm.chat.attachments import image_type
from openglm.dialects.mcp import McpServer
from openglm.errors import InvalidRequest

PICTURE_BYTES = 64 << 10
_PICTURES = ("image/png", "image/jpeg", "image/webp")


def checked_picture(picture: str | None) -> str | None:
    """A data URL of a small picture, judged by its bytes and not by what it says it is."""
    if not picture:
        return None
    head, _, encoded = picture.partition(",")
    if not (head.startswith("data:") and head.endswith(";base64")):
        raise InvalidRequest("picture must be a data: URL in base64", param="picture")
    try:
        data = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise InvalidRequest("picture must be a data: URL in base64", param="picture") from None
    kind = image_type(data[:16])
    if kind not in _PICTURES or len(data) > PICTURE_BYTES:
        raise InvalidRequest(
            f"picture must be a PNG, JPEG or WebP of at most {PICTURE_BYTES} bytes", param="picture"
        )
    return f"data:{kind};base64,{encoded}"


def parted(
    mcp: Sequence[Mapping[str, Any]], before: Mapping[str, Any] | None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Servers as they are shown, with the names of their headers, and the headers by label. Headers stay
    where none are given, and so does one whose value is null."""
    shown, secret = [], {}
    for server in mcp:
        old = (before or {}).get(server["label"])
        kept = old["headers"] if old and old["url"] == server["url"] else {}
        headers = _filled(server, kept)
        if headers:
            secret[server["label"]] = {"url": server["url"], "headers": headers}
        shown.append(
            {
                "label": server["label"],
                "url": server["url"],
                "has_headers": bool(headers),
                "header_names": list(headers),
            }
        )
    return shown, secret


def _filled(server: Mapping[str, Any], kept: Mapping[str, str]) -> dict[str, str]:
    """The headers of a server, with the values that are kept where none are written."""
    given = server.get("headers")
    if given is None:
        return dict(kept)
    for name, value in given.items():
        if value is None and name not in kept:
            raise InvalidRequest(
                f"no value is kept of the header {name!r} of the server {server['label']!r}",
                param="tools",
                hint="write it: values are kept for a label and a URL, and go when one of them changes",
            )
    return {name: kept[name] if value is None else value for name, value in given.items()}


def check_listed(body: Mapping[str, Any], secret: Mapping[str, Any]) -> None:
    """What everybody may use must not open what is one organisation's."""
    if body.get("visibility") == "listed" and (secret or body.get("knowledge")):
        raise InvalidRequest(
            "an assistant that is listed for everybody brings neither knowledge nor headers of servers",
            param="visibility",
            hint="share it in the organisation instead",
        )


def servers_of(body: Mapping[str, Any], secret: Mapping[str, Any] | None) -> list[McpServer]:
    servers = []
    for one in body["tools"]["mcp"]:
        kept = (secret or {}).get(one["label"])
        headers = kept["headers"] if kept and kept["url"] == one["url"] else {}
        servers.append(McpServer(one["label"], one["url"], headers=tuple(headers.items())))
    return servers
