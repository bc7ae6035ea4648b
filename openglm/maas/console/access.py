"""Who asks the console (anybody signed in, a member who may, an operator), and from which page.

A request that changes something carries the session's CSRF token and comes from no other site's page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, model_validator

from openglm.errors import Forbidden, InvalidRequest, NotFound
from openglm.maas import door
from openglm.maas.identity.audit import Actor
from openglm.maas.identity.people import Member, User
from openglm.maas.identity.roles import Permission
from openglm.maas.identity.sessions import CSRF_HEADER, OpenSession, cookie_name, set_cookie

if TYPE_CHECKING:
    from fastapi import Response

    from openglm.maas.platform import Platform

_READS = ("GET", "HEAD", "OPTIONS")


def _holds_unkept(given: Any) -> bool:
    """Text that not every database keeps: U+0000, or half a character."""
    if isinstance(given, dict):
        return any(_holds_unkept(name) or _holds_unkept(value) for name, value in given.items())
    if isinstance(given, list):
        return any(map(_holds_unkept, given))
    if not isinstance(given, str):
        return False
    try:
        given.isascii() or given.encode()
    except UnicodeEncodeError:
        return True
    return "\x00" in given


class Body(BaseModel):
    """What a request brings: unknown fields are refused, and so is text that no database keeps."""

    model_config = ConfigDict(extra="forbid", str_max_length=20_000)

    @model_validator(mode="before")
    @classmethod
    def _that_is_kept(cls, given: Any) -> Any:
        if _holds_unkept(given):
            raise ValueError("text must not hold the character U+0000 or half a character")
        return given


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody signed in."""

    user: User
    session_id: str
    csrf: str
    opened_at: int  # when they last proved who they are
    actor: Actor


@dataclass(frozen=True, slots=True)
class Seat:
    """A person in one organisation, with a permission that was asked for."""

    member: Member
    actor: Actor

    @property
    def org_id(self) -> str:
        return self.member.org_id

    @property
    def user_id(self) -> str:
        return self.member.user_id


def platform_of(request: Request) -> Any:
    return request.app.state.platform


House = Annotated[Any, Depends(platform_of)]


def origin_of(request: Request, platform: Platform) -> str:
    """Where the browser sees us: the public address if the Host header names it, else what it asked."""
    host = request.headers.get("host", "")
    public = platform.settings.public_url
    if public and urlsplit(public).netloc.lower() == host.lower():
        return public.rstrip("/")
    return f"{request.url.scheme}://{host}"


def is_secure(request: Request, platform: Platform) -> bool:
    return origin_of(request, platform).startswith("https://")


def check_page(request: Request, platform: Platform) -> None:
    """Raise if a page of another site sends this."""
    origin = request.headers.get("origin")
    if origin is not None and origin.lower() != origin_of(request, platform).lower():
        raise Forbidden(
            f"a page of {origin[:100]} may not do this here",
            hint="behind a proxy, set public_url in platform.toml to the address that browsers use",
        )
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise Forbidden("a page of another site may not do this here")


def same_page(request: Request, platform: House) -> None:
    """For what is done before anybody is signed in."""
    check_page(request, platform)


def actor_of(request: Request, user_id: str | None = None) -> Actor:
    return Actor(user_id, door.address(request.scope))


async def person_of(request: Request, platform: House) -> Person:
    """Who is signed in; for what changes something, with the session's CSRF token."""
    writes = request.method not in _READS
    if writes:
        check_page(request, platform)
    cookie = request.cookies.get(cookie_name(is_secure(request, platform)))
    signed_in = await platform.sessions.whose(cookie, request.headers.get(CSRF_HEADER), writes=writes)
    user = signed_in.user
    actor = actor_of(request, user.id)
    return Person(user, signed_in.session_id, signed_in.csrf, signed_in.opened_at, actor)


SignedIn = Annotated[Person, Depends(person_of)]


def seat(permission: Permission) -> Any:
    """A dependency: the signed-in member of the path's organisation, who must hold the permission."""
    return Depends(_seat(permission))


def _seat(permission: Permission) -> Callable[..., Awaitable[Seat]]:
    async def check(org_id: str, person: SignedIn, platform: House) -> Seat:
        member = await platform.accounts.membership(org_id, person.user.id)
        member.may(permission)
        return Seat(member, person.actor)

    return check


async def _operator(person: SignedIn) -> Person:
    if not person.user.is_operator:
        raise Forbidden("only the platform's operators may do this")
    return person


Operator = Annotated[Person, Depends(_operator)]


def keep(response: Response, request: Request, platform: Platform, session: OpenSession) -> None:
    """Hand the browser its session."""
    response.headers["set-cookie"] = set_cookie(session.cookie, secure=is_secure(request, platform))


def one_of(found: Any, what: str, name: str) -> Any:
    """`found`, or NotFound in the words that all of the console uses."""
    if found is None:
        raise NotFound(f"no {what} {name[:80]!r} here")
    return found


def checked_period(start: int, end: int) -> None:
    if start >= end:
        raise InvalidRequest(f"start must be before end, got {start} and {end}", param="start")
