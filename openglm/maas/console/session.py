"""Sign up, sign in, sign out; one's own name, password, sessions and identities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import Field

from openglm.errors import OpenGLMError, Unauthorized
from openglm.maas import door
from openglm.maas.console.access import (
    Body,
    House,
    SignedIn,
    is_secure,
    keep,
    origin_of,
    person_of,
    same_page,
)
from openglm.maas.identity.oidc import BROWSER_COOKIE
from openglm.maas.identity.people import Member, User
from openglm.maas.identity.roles import PERMISSIONS, Role
from openglm.maas.identity.sessions import OpenSession, Session, cookie_name, drop_cookie

router = APIRouter(tags=["session"])
Ours = Depends(same_page)


@dataclass(frozen=True, slots=True)
class Seated:
    """An organisation that somebody belongs to, and what they may do there."""

    id: str
    name: str
    role: Role
    permissions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """A provider that people may sign in with."""

    name: str
    title: str


@dataclass(frozen=True, slots=True)
class Linked:
    """An identity that is linked to one's account."""

    provider: str | None
    title: str
    issuer: str
    created_at: int


@dataclass(frozen=True, slots=True)
class State:
    """Who is here, and what a page needs to greet them. `user` is null for strangers."""

    user: User | None
    csrf: str | None
    session_id: str | None
    organisations: tuple[Seated, ...]
    currency: str
    sign_up: str
    needs_first_account: bool
    providers: tuple[Identity, ...]


class SignUp(Body):
    email: str
    password: str
    name: str
    invitation: str | None = None
    setup: Annotated[str | None, Field(description="for the first account: the token that glm up prints")] = (
        None
    )


class Login(Body):
    email: str
    password: str


class NewName(Body):
    name: str


class NewPassword(Body):
    old: Annotated[str | None, Field(description="null: there is none yet")] = None
    new: str


class Token(Body):
    token: str


@router.get("/session")
async def who_is_here(request: Request, platform: House) -> State:
    """Who is signed in, with the CSRF token; also for strangers, who learn how to sign in."""
    try:
        person = await person_of(request, platform)
    except Unauthorized:
        return await _state(platform, None, None, None)
    return await _state(platform, person.user, person.csrf, person.session_id)


@router.post("/sign-up", dependencies=[Ours], status_code=201)
async def sign_up(body: SignUp, request: Request, response: Response, platform: House) -> State:
    """Make an account and sign in. The first account of all, the operator's, needs the set-up token."""
    made = await platform.accounts.sign_up(
        body.email,
        body.password,
        body.name,
        invitation=body.invitation,
        is_founder=platform.installation.is_setup_token(body.setup),
        ip=door.address(request.scope),
    )
    return await _enter(request, response, platform, made.user)


@router.post("/login", dependencies=[Ours])
async def login(body: Login, request: Request, response: Response, platform: House) -> State:
    """Sign in with a password."""
    user = await platform.accounts.login(body.email, body.password, ip=door.address(request.scope))
    return await _enter(request, response, platform, user)


@router.post("/logout", status_code=204)
async def logout(request: Request, response: Response, platform: House, person: SignedIn) -> None:
    """Sign out here."""
    secure = is_secure(request, platform)
    await platform.sessions.close(request.cookies[cookie_name(secure)])
    response.headers["set-cookie"] = drop_cookie(secure=secure)


@router.get("/sessions")
async def list_sessions(platform: House, person: SignedIn) -> list[Session]:
    """The browsers that one is signed in with."""
    return list(await platform.sessions.list(person.user.id))


@router.delete("/sessions/{session_id}", status_code=204)
async def end_session(session_id: str, platform: House, person: SignedIn) -> None:
    """Sign another browser out."""
    await platform.sessions.close_one(person.user.id, session_id)


@router.delete("/sessions", status_code=204)
async def end_other_sessions(platform: House, person: SignedIn) -> None:
    """Sign out everywhere but here."""
    await platform.sessions.close_all(person.user.id, but=person.session_id)


@router.patch("/me", status_code=204)
async def rename_me(body: NewName, platform: House, person: SignedIn) -> None:
    """Change one's name."""
    await platform.accounts.rename_user(person.user.id, body.name)


@router.post("/me/password", status_code=204)
async def change_password(body: NewPassword, platform: House, person: SignedIn) -> None:
    """Change one's password, or set a first one soon after signing in; other sessions end."""
    accounts, user_id, here = platform.accounts, person.user.id, person.session_id
    if body.old is None:
        proven_at = person.opened_at
        await accounts.set_first_password(
            user_id, body.new, proven_at=proven_at, actor=person.actor, keep_session=here
        )
    else:
        await accounts.change_password(user_id, body.old, body.new, actor=person.actor, keep_session=here)


@router.post("/invitations/accept")
async def accept_invitation(body: Token, platform: House, person: SignedIn) -> Member:
    """Join the organisation that invited one's address."""
    return await platform.accounts.accept(person.user.id, body.token, actor=person.actor)


@router.get("/oidc/callback", status_code=303, response_class=RedirectResponse)
async def oidc_callback(
    request: Request,
    platform: House,
    *,
    state: Annotated[str | None, Query(max_length=500)] = None,
    code: Annotated[str | None, Query(max_length=4000)] = None,
    error: Annotated[str | None, Query(max_length=500)] = None,
    iss: Annotated[str | None, Query(max_length=500)] = None,
) -> RedirectResponse:
    """Where an identity provider sends the browser back to."""
    secure = is_secure(request, platform)
    try:
        arrival = await platform.oidc.complete(
            state=state,
            code=code,
            browser=request.cookies.get(BROWSER_COOKIE),
            error=error,
            issuer=iss,
            ip=door.address(request.scope),
        )
    except OpenGLMError as failure:  # a person waits, not a program: the page says it
        away = RedirectResponse(f"/?sign_in_error={quote(failure.message[:300])}", 303)
    else:
        away = RedirectResponse(arrival.return_to, 303)
        await _open_session(request, away, platform, arrival.user)
    away.delete_cookie(BROWSER_COOKIE, path="/api/console/oidc", secure=secure, httponly=True)
    return away


@router.get("/oidc/{provider}", status_code=303, response_class=RedirectResponse)
async def oidc_begin(
    provider: str,
    request: Request,
    platform: House,
    return_to: Annotated[str, Query(max_length=500)] = "/",
) -> RedirectResponse:
    """Go to an identity provider to sign in."""
    return await _depart(provider, request, platform, return_to=return_to, user_id=None)


@router.get("/me/identities")
async def list_identities(platform: House, person: SignedIn) -> list[Linked]:
    """The identities that one may sign in with. `provider` is null where the platform knows it no more."""
    names = {one.issuer: one for one in platform.oidc.providers}
    return [
        Linked(
            known.name if (known := names.get(link.issuer)) else None,
            known.title or known.name if known else link.issuer,
            link.issuer,
            link.created_at,
        )
        for link in await platform.oidc.links(person.user.id)
    ]


@router.post("/me/identities/{provider}")
async def link_identity(
    provider: str, request: Request, response: Response, platform: House, person: SignedIn
) -> dict[str, str]:
    """Link an identity to one's account: go to the `url` in the answer."""
    away = await _depart(provider, request, platform, return_to="/", user_id=person.user.id)
    response.headers["set-cookie"] = away.headers["set-cookie"]
    return {"url": away.headers["location"]}


@router.delete("/me/identities/{provider}", status_code=204)
async def unlink_identity(provider: str, platform: House, person: SignedIn) -> None:
    """Take an identity off one's account."""
    await platform.oidc.unlink(person.user.id, platform.oidc.named(provider).issuer, actor=person.actor)


async def _depart(
    provider: str, request: Request, platform: House, *, return_to: str, user_id: str | None
) -> RedirectResponse:
    back = origin_of(request, platform) + "/api/console/oidc/callback"
    ip = door.address(request.scope)
    departure = await platform.oidc.begin(provider, back, return_to=return_to, user_id=user_id, ip=ip)
    away = RedirectResponse(departure.url, 303)
    away.set_cookie(
        BROWSER_COOKIE,
        departure.browser,
        max_age=900,
        path="/api/console/oidc",
        secure=is_secure(request, platform),
        httponly=True,
        samesite="lax",
    )
    return away


async def _enter(request: Request, response: Response, platform: House, user: User) -> State:
    opened = await _open_session(request, response, platform, user)
    return await _state(platform, user, opened.csrf, opened.id)


async def _open_session(request: Request, response: Response, platform: House, user: User) -> OpenSession:
    """A session for somebody who has just proven who they are; an older one of this browser ends."""
    if old := request.cookies.get(cookie_name(is_secure(request, platform))):
        await platform.sessions.close(old)
    agent = request.headers.get("user-agent", "")
    opened = await platform.sessions.open(user.id, ip=door.address(request.scope), agent=agent)
    keep(response, request, platform, opened)
    return opened


async def _state(platform: House, user: User | None, csrf: str | None, session_id: str | None) -> State:
    orgs = await platform.accounts.orgs_of(user.id) if user else ()
    return State(
        user=user,
        csrf=csrf,
        session_id=session_id,
        organisations=tuple(
            Seated(org.id, org.name, role, tuple(sorted(PERMISSIONS[role]))) for org, role in orgs
        ),
        currency=platform.settings.currency,
        sign_up=platform.settings.sign_up,
        needs_first_account=user is None and await platform.accounts.is_empty(),
        providers=tuple(Identity(one.name, one.title or one.name) for one in platform.oidc.providers),
    )
