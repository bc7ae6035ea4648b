"""Sign-in through an identity provider: OIDC's authorization code flow with PKCE, state and nonce.

`begin` sends the browser away, `complete` takes it back. State is bound to the browser by a cookie, so nobody
can be signed in to somebody else's account. An identity that is known signs in; a verified address joins the
account whose own address is verified too; an unverified account must link by hand, signed in, so that nobody
can wait in an account made under a stranger's address. Discovery and keys are remembered for an hour.
"""

from __future__ import annotations

import base64
import hashlib
import secrets as chance
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec

from openglm.errors import Conflict, Forbidden, InvalidRequest, NotFound, Unauthorized, UpstreamFailure
from openglm.maas.database import Database, Transaction
from openglm.maas.identity import attempts
from openglm.maas.identity.accounts import Accounts
from openglm.maas.identity.audit import Actor, note
from openglm.maas.identity.names import clean_email
from openglm.maas.identity.people import User, user_of
from openglm.maas.ids import Clock, wall_clock
from openglm.maas.outbound import GuardedSession
from openglm.maas.secrets import Secrets, fingerprint, same

LOGIN_MS = 10 * 60 * 1000  # from `begin` to `complete`
REMEMBER_MS = 3600 * 1000  # discovery and keys
REREAD_MS = 60 * 1000  # keys are not read anew more often than this, whatever tokens name
LEEWAY_S = 60
MAX_DOCUMENT = 512 * 1024  # bytes
FORGET_AT_ONCE = 500  # departures, so that nobody waits long for the writer
ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
BROWSER_COOKIE = "glm_oidc"
_PURPOSE = "oidc-login"


@dataclass(frozen=True, slots=True)
class Provider:
    """One identity provider, as the operator wrote it down."""

    name: str
    issuer: str
    client_id: str
    client_secret: str = ""  # empty: a public client, PKCE alone
    title: str = ""
    scopes: str = "openid email profile"

    def __repr__(self) -> str:
        return f"Provider(name={self.name!r}, issuer={self.issuer!r}, client_id={self.client_id!r})"


@dataclass(frozen=True, slots=True)
class Departure:
    """Send the browser to `url` with the cookie BROWSER_COOKIE=`browser`: HttpOnly, SameSite=Lax, 10 min."""

    url: str
    browser: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """Who came back, and where they were going."""

    user: User
    is_new: bool
    return_to: str


@dataclass(frozen=True, slots=True)
class Link:
    """An identity of somebody's at one provider."""

    issuer: str
    created_at: int


@dataclass(slots=True)
class _Read:
    """What a provider says of itself, and when we read it."""

    metadata: dict[str, Any]
    keys: Any
    read_at: int


class Oidc:
    def __init__(
        self,
        database: Database,
        secrets: Secrets,
        accounts: Accounts,
        providers: tuple[Provider, ...],
        *,
        session: GuardedSession | None = None,
        clock: Clock = wall_clock,
    ):
        self._database = database
        self._secrets = secrets
        self._accounts = accounts
        self._providers = {provider.name: provider for provider in providers}
        # Providers are named by the operator, and companies have theirs inside.
        self._session = session or GuardedSession(allow_private=True)
        self._clock = clock
        self._read: dict[str, _Read] = {}

    @property
    def providers(self) -> tuple[Provider, ...]:
        return tuple(self._providers.values())

    async def close(self) -> None:
        await self._session.close()

    async def begin(
        self,
        provider: str,
        redirect_uri: str,
        *,
        return_to: str = "/",
        user_id: str | None = None,
        ip: str | None = None,
    ) -> Departure:
        """Start a sign-in; with `user_id`, link the identity to that signed-in user instead.

        Anybody may, and each leaves a row: an address may only so often, and old rows go.
        """
        chosen, now = self.named(provider), self._clock()
        await self._database.write(lambda tx: attempts.to_depart(tx, now, ip))
        metadata = (await self._metadata(chosen)).metadata
        state, browser, nonce, verifier = (chance.token_urlsafe(32) for _ in range(4))
        hashed = fingerprint(state)
        values = {
            "state": hashed,
            "browser": fingerprint(browser),
            "provider": provider,
            "sealed": self._secrets.seal(_PURPOSE, f"{nonce} {verifier}".encode(), context=hashed),
            "user": user_id,
            "uri": redirect_uri,
            "back": return_to if _is_local(return_to) else "/",
            "expires": now + LOGIN_MS,
        }

        def work(tx: Transaction) -> None:
            _forget_expired(tx, now)
            tx.run(
                "INSERT INTO oidc_login (state_hash, browser_hash, provider, sealed, user_id, redirect_uri,"
                " return_to, expires_at)"
                " VALUES (:state, :browser, :provider, :sealed, :user, :uri, :back, :expires)",
                **values,
            )

        await self._database.write(work)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": chosen.client_id,
            "redirect_uri": redirect_uri,
            "scope": chosen.scopes,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        address = str(metadata["authorization_endpoint"])
        return Departure(f"{address}{'&' if '?' in address else '?'}{urlencode(query)}", browser)

    async def complete(
        self,
        *,
        state: str | None,
        code: str | None,
        browser: str | None,
        error: str | None = None,
        issuer: str | None = None,
        ip: str | None = None,
    ) -> Arrival:
        """Take the browser back, with what the redirect and the cookie brought. State is good once."""
        hashed, now = fingerprint(state or ""), self._clock()

        def take(tx: Transaction) -> dict[str, Any] | None:
            row = tx.one("SELECT * FROM oidc_login WHERE state_hash = :state", state=hashed)
            _forget_expired(tx, now)
            gone = tx.run("DELETE FROM oidc_login WHERE state_hash = :state", state=hashed)
            return dict(row) if row is not None and gone else None

        login = await self._database.write(take)
        if login is None or login["expires_at"] <= now:
            raise Unauthorized(
                "this sign-in is not known or took too long", reason="expired", hint="start again"
            )
        if not same(fingerprint(browser or ""), login["browser_hash"]):
            raise Forbidden("this sign-in was started in another browser", hint="start again")
        if error or not code:
            raise Unauthorized("the identity provider did not sign you in", reason="rejected")
        provider = self.named(login["provider"])
        if issuer is not None and issuer != provider.issuer:  # RFC 9207
            raise Unauthorized("another identity provider answered", reason="rejected")
        nonce, verifier = self._secrets.unseal(_PURPOSE, login["sealed"], context=hashed).decode().split(" ")
        token = await self._exchange(provider, code, verifier, login["redirect_uri"])
        claims = await self._verify(provider, token, nonce)
        user, is_new = await self._whose(provider, claims, login["user_id"], Actor(login["user_id"], ip))
        details = {"issuer": provider.issuer}
        await self._database.write(
            lambda tx: note(
                tx, now, Actor(user.id, ip), "user.sign_in", user.id, org_id=None, details=details
            )
        )
        return Arrival(user, is_new, login["return_to"])

    async def links(self, user_id: str) -> tuple[Link, ...]:
        rows = await self._database.read(
            "SELECT issuer, created_at FROM oidc_link WHERE user_id = :id ORDER BY created_at", id=user_id
        )
        return tuple(Link(row["issuer"], row["created_at"]) for row in rows)

    async def unlink(self, user_id: str, issuer: str, *, actor: Actor) -> None:
        """Part from an identity. Who has no password keeps their last one."""
        now = self._clock()

        def work(tx: Transaction) -> None:
            user = tx.one("SELECT * FROM app_user WHERE id = :id", id=user_id)
            links = tx.all("SELECT issuer FROM oidc_link WHERE user_id = :id", id=user_id)
            if user is None or issuer not in {link["issuer"] for link in links}:
                raise NotFound("no such identity is linked")
            if user["password_hash"] is None and len(links) == 1:
                raise Conflict("this is the only way to sign in", hint="set a password first")
            tx.run(
                "DELETE FROM oidc_link WHERE user_id = :id AND issuer = :issuer", id=user_id, issuer=issuer
            )
            note(tx, now, actor, "user.unlink", user_id, org_id=None, details={"issuer": issuer})

        await self._database.write(work, durable=True)

    def named(self, name: str) -> Provider:
        if name not in self._providers:
            raise NotFound(f"no identity provider {name!r} here")
        return self._providers[name]

    async def _metadata(self, provider: Provider, *, older_than_ms: int = REMEMBER_MS) -> _Read:
        now, read = self._clock(), self._read.get(provider.name)
        if read is not None and 0 <= now - read.read_at < older_than_ms:
            return read
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        place = provider.issuer.rstrip("/") + "/.well-known/openid-configuration"
        metadata = await self._json("GET", place)
        if metadata.get("issuer") != provider.issuer:
            raise UpstreamFailure(f"{provider.name} calls itself another issuer than {provider.issuer!r}")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not str(metadata.get(name, "")).startswith(("https://", "http://")):
                raise UpstreamFailure(f"{provider.name} names no {name}")
        try:
            keys = KeySet.import_key_set(await self._json("GET", metadata["jwks_uri"]))  # type: ignore[arg-type]
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise UpstreamFailure(f"{provider.name} publishes keys that cannot be read") from error
        self._read[provider.name] = _Read(metadata, keys, now)
        return self._read[provider.name]

    async def _exchange(self, provider: Provider, code: str, verifier: str, redirect_uri: str) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "client_id": provider.client_id,
            "code_verifier": verifier,
        }
        if provider.client_secret:
            form["client_secret"] = provider.client_secret
        metadata = (await self._metadata(provider)).metadata
        answer = await self._json("POST", metadata["token_endpoint"], form)
        if not isinstance(answer.get("id_token"), str):
            raise UpstreamFailure(f"{provider.name} sent no id_token")
        return answer["id_token"]

    async def _verify(self, provider: Provider, token: str, nonce: str) -> dict[str, Any]:
        """The claims of an id_token that this provider signed for us, now, for this very sign-in."""
        from joserfc import jwt
        from joserfc.errors import JoseError

        decoded = None
        for age in (REMEMBER_MS, REREAD_MS):  # a new key may have come since we read them
            keys = (await self._metadata(provider, older_than_ms=age)).keys
            try:
                decoded = jwt.decode(token, keys, algorithms=list(ALGORITHMS))
                break
            except (JoseError, ValueError, KeyError, TypeError):
                continue
        if decoded is None or not isinstance(decoded.claims, dict):
            raise Unauthorized("the identity token is not signed by its provider", reason="rejected")
        claims = decoded.claims
        rules = jwt.JWTClaimsRegistry(
            now=self._clock() // 1000,
            leeway=LEEWAY_S,
            iss={"essential": True, "value": provider.issuer},
            sub={"essential": True},
            aud={"essential": True, "value": provider.client_id},
            exp={"essential": True},
            iat={"essential": True},
        )
        try:
            rules.validate(claims)
        except (JoseError, ValueError, TypeError) as error:
            raise Unauthorized("the identity token is not for this sign-in", reason="rejected") from error
        if "azp" in claims and claims["azp"] != provider.client_id:
            raise Unauthorized("the identity token is for another application", reason="rejected")
        if not isinstance(claims.get("nonce"), str) or not same(claims["nonce"], nonce):
            raise Unauthorized("the identity token is for another sign-in", reason="rejected")
        if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= 255:
            raise Unauthorized("the identity token names nobody", reason="rejected")
        return claims

    async def _whose(
        self, provider: Provider, claims: dict[str, Any], wanted: str | None, actor: Actor
    ) -> tuple[User, bool]:
        """The user behind an identity: linked before, by hand now, by a verified address, or new."""
        row = await self._database.read_one(
            "SELECT u.* FROM oidc_link l JOIN app_user u ON u.id = l.user_id"
            " WHERE l.issuer = :issuer AND l.subject = :subject",
            issuer=provider.issuer,
            subject=claims["sub"],
        )
        if row is not None:
            if wanted not in (None, row["id"]):
                raise Conflict("this identity belongs to another account")
            return _alive(user_of(row)), False
        if wanted is not None:
            user = _alive(await self._accounts.user(wanted))
            await self._link(provider, claims["sub"], user, actor)
            return user, False
        if claims.get("email_verified") is not True:
            raise Forbidden(
                "the identity provider has not verified your e-mail address", hint="verify it there first"
            )
        email = clean_email(claims.get("email", ""))
        row = await self._database.read_one("SELECT * FROM app_user WHERE email = :email", email=email)
        if row is not None:
            user = _alive(user_of(row))
            if not user.is_verified:
                raise Conflict(
                    "an account with this address exists whose address was never verified",
                    hint="sign in with its password and link the identity in its settings",
                )
            await self._link(provider, claims["sub"], user, actor)
            return user, False
        name = claims.get("name")
        name = name if isinstance(name, str) and name.strip() else email.partition("@")[0]
        made = await self._accounts.sign_up_proven(email, name[:100], ip=actor.ip)
        await self._link(provider, claims["sub"], made.user, actor)
        return made.user, True

    async def _link(self, provider: Provider, subject: str, user: User, actor: Actor) -> None:
        now = self._clock()

        def work(tx: Transaction) -> None:
            if tx.one(
                "SELECT 1 FROM oidc_link WHERE issuer = :issuer AND user_id = :user",
                issuer=provider.issuer,
                user=user.id,
            ):
                raise Conflict("another identity of this provider is linked to the account already")
            tx.run(
                "INSERT INTO oidc_link (issuer, subject, user_id, created_at)"
                " VALUES (:issuer, :subject, :user, :now)",
                issuer=provider.issuer,
                subject=subject,
                user=user.id,
                now=now,
            )
            details = {"issuer": provider.issuer}
            note(tx, now, Actor(user.id, actor.ip), "user.link", user.id, org_id=None, details=details)

        await self._database.write(work, durable=True)

    async def _json(self, method: str, url: str, form: dict[str, str] | None = None) -> dict[str, Any]:
        headers = {"accept": "application/json"}
        if form is not None:
            headers["content-type"] = "application/x-www-form-urlencoded"
        data = urlencode(form).encode() if form is not None else None
        try:
            answer = await self._session.fetch(
                url, method=method, headers=headers, data=data, max_bytes=MAX_DOCUMENT, timeout_s=10
            )
            found = msgspec.json.decode(answer.body) if answer.status == 200 else None
        except InvalidRequest as error:
            raise UpstreamFailure(f"the identity provider cannot be used: {error.message}") from error
        except (msgspec.DecodeError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise UpstreamFailure(
                f"the identity provider answered {answer.status} without what was asked for"
            )
        return found


def _forget_expired(tx: Transaction, now: int) -> None:
    """Some of those who never came back; each that comes takes more of them away than it adds."""
    tx.run(
        "DELETE FROM oidc_login WHERE state_hash IN"
        " (SELECT state_hash FROM oidc_login WHERE expires_at <= :now ORDER BY expires_at LIMIT :most)",
        now=now,
        most=FORGET_AT_ONCE,
    )


def _alive(user: User) -> User:
    if user.is_disabled:
        raise Unauthorized("this account is disabled", reason="rejected")
    return user


def _is_local(path: str) -> bool:
    """A path of ours; anything that a browser could read as another host is not."""
    return (
        path.startswith("/")
        and not path.startswith(("//", "/\\"))
        and path.isprintable()
        and "\\" not in path
    )
