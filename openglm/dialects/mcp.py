"""MCP servers as requests name them, in any dialect: the platform calls their tools for the model."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from openglm.dialects.fields import Fields
from openglm.errors import InvalidRequest

Transport = Literal["sse", "streamable-http"]
MAX_ALLOWED = 512
MAX_HEADERS = 64
MAX_URL = 2_048
_LABEL = re.compile(r"[\w.-]{1,64}")
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
_VALUE = re.compile(r"[\x20-\x7e]{0,8192}")
_OURS = frozenset(  # what the connection is, and what the protocol says in every request
    ("host", "connection", "content-length", "content-type", "transfer-encoding", "accept", "accept-encoding")
)


@dataclass(frozen=True, slots=True)
class McpServer:
    """Without a URL it is one that the operator has set up. Headers may hold secrets."""

    label: str
    url: str | None = None
    transport: Transport | None = None  # None: found out
    allowed_tools: tuple[str, ...] | None = None  # None: all
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def read_label(fields: Fields) -> str:
    label = fields.needed_text("server_label")
    if not _LABEL.fullmatch(label):
        raise fields.wrong("server_label", "1 to 64 letters, digits or any of _ . -")
    return label


def read_url(fields: Fields) -> str | None:
    url = fields.text("server_url")
    if url and (len(url) > MAX_URL or not url.startswith(("https://", "http://"))):
        raise fields.wrong("server_url", f"an http or https URL of at most {MAX_URL} characters")
    return url or None


def read_allowed(fields: Fields, name: str = "allowed_tools") -> tuple[str, ...] | None:
    if not fields.has(name):
        return None
    allowed = fields.items(name, MAX_ALLOWED)
    if not all(isinstance(one, str) and one for one in allowed):
        raise fields.wrong(name, "a list of names")
    return tuple(allowed)


def read_headers(fields: Fields) -> tuple[tuple[str, str], ...]:
    """What comes is never repeated in an error: it may hold secrets."""
    given = fields.object("headers")
    found = tuple(given.data.items()) if given else ()
    fits = all(
        _HEADER.fullmatch(name)
        and name.lower() not in _OURS
        and isinstance(value, str)
        and _VALUE.fullmatch(value)
        for name, value in found
    )
    if len(found) > MAX_HEADERS or not fits:
        raise InvalidRequest(
            f"{fields.at('headers')} must be an object of at most {MAX_HEADERS} printable texts by names of"
            " headers, without those of the connection itself",
            param=fields.at("headers"),
            code="invalid_value",
        )
    return found


def distinct_servers(servers: list[McpServer]) -> tuple[McpServer, ...]:
    """The servers; two of one label could not be told apart in an answer."""
    labels = [server.label for server in servers]
    if twice := {label for label in labels if labels.count(label) > 1}:
        raise InvalidRequest(
            f"two MCP servers have the label {min(twice)!r}", param="tools", code="invalid_value"
        )
    return tuple(servers)
