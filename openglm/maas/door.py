"""Who knocks: the credential of a request in any client's spelling, and the caller behind it.

A platform that nobody has signed up to is open to programs of its own machine: they need no key, so that
`glm up` answers its first question at once. The first account closes that door for good, and so does a
`public_url`: whoever names one has a proxy in front, whose requests come from this machine too.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.types import Scope

    from openglm.maas.identity import Caller
    from openglm.maas.platform import Platform

_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-real-ip")  # somebody else's request, brought by a proxy


def header(scope: Scope, name: str) -> str | None:
    wanted = name.encode()
    for key, value in scope["headers"]:
        if key == wanted:
            return value.decode("latin-1")
    return None


def credential(scope: Scope) -> str | None:
    """The API key as any client sends it: Authorization with or without Bearer, or Anthropic's x-api-key."""
    return header(scope, "authorization") or header(scope, "x-api-key")


def address(scope: Scope) -> str | None:
    client = scope.get("client")
    return client[0] if client else None


async def admit(platform: Platform, scope: Scope, endpoint: str | None) -> Caller:
    """The caller of an API request, if their key is good and covers the endpoint, where one is named."""
    # Clients insist on sending some key, so at home none is asked for and none is looked at.
    if (caller := await at_home(platform, scope)) is not None:
        return caller
    caller = await platform.keys.authenticate(credential(scope), ip=address(scope))
    if endpoint is not None:
        caller.may_call(endpoint)
    return caller


def our_address(platform: Platform, scope: Scope) -> str:
    """Where links to us lead: the public address, else the one that was asked."""
    public = platform.settings.public_url
    return public.rstrip("/") if public else f"{scope['scheme']}://{header(scope, 'host') or ''}"


async def at_home(platform: Platform, scope: Scope) -> Caller | None:
    """Whom a program of this machine speaks for while nobody has signed up and no proxy stands in front."""
    if platform.settings.public_url or not _is_local(scope):
        return None
    return await platform.household.caller()


def _is_local(scope: Scope) -> bool:
    """Whether a program of this machine asks by itself: no proxy in between, and no page of another site.

    The Host header must name this machine too, or a site could point its own name at 127.0.0.1. A bare
    `proxy_pass` of nginx adds no header and sends our own name as Host, but speaks HTTP/1.0, as no client
    does; newer ones do not even that: behind a proxy `public_url` is what counts.
    """
    if scope["http_version"] == "1.0":
        return False
    host = origin = None
    for name, value in scope["headers"]:
        if name in _FORWARDED:
            return False
        if name == b"host" and host is None:
            host = value
        elif name == b"origin":
            origin = value
    client = address(scope)
    return (
        client is not None
        and _is_loopback(client)
        and _names_us(b"//" + (host or b""))
        and (origin is None or _names_us(origin))
    )


@lru_cache(maxsize=256)
def _names_us(data: bytes) -> bool:
    url = data.decode("latin-1")
    try:
        name = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return name == "localhost" or _is_loopback(name)


@lru_cache(maxsize=256)
def _is_loopback(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False
