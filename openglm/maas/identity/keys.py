"""API keys `id.secret`: made, listed, revoked, and recognised on every request.

The database keeps the SHA-256 of the secret, for raw keys, and the sealed secret, because Zhipu's clients
may sign a token with it instead of sending it. A key that was recognised is remembered for two seconds, so
the hot path is one hash and one look into a dict; what this process revokes it forgets at once. A key that
belongs to a user ends with that user's membership.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import secrets
import string
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

import msgspec

from openglm.errors import Forbidden, InvalidRequest, NotFound, OpenGLMError, Unauthorized
from openglm.maas.database import Database, Row, Transaction
from openglm.maas.identity.addresses import Network, as_address, as_network
from openglm.maas.identity.audit import SYSTEM, Actor, note
from openglm.maas.identity.caller import ENDPOINTS, Caller
from openglm.maas.identity.names import clean_name
from openglm.maas.identity.signed import Claims, read_signed, verify_signed
from openglm.maas.ids import Clock, new_id, wall_clock
from openglm.maas.quotas.quota import check
from openglm.maas.secrets import Secrets, fingerprint, same

logger = logging.getLogger(__name__)

TTL_S = 2.0
REMEMBERED = 10_000  # credentials
USED_EVERY_MS = 60_000  # how often a key's last use is written
SECRET_LENGTH = 40  # of 62 letters: 238 bits
MAX_CREDENTIAL = 4096  # characters
MAX_SCOPES = 200
_LETTERS = string.ascii_letters + string.digits
_PURPOSE = "api-key"


@dataclass(frozen=True, slots=True)
class NewKey:
    """`key` is the whole text, seen here and never again."""

    id: str
    key: str

    def __repr__(self) -> str:
        return f"NewKey(id={self.id!r})"


@dataclass(frozen=True, slots=True)
class Key:
    """A key as its owners see it in a list."""

    id: str
    org_id: str
    project_id: str
    user_id: str | None
    name: str
    models: tuple[str, ...]
    endpoints: tuple[str, ...]
    cidrs: tuple[str, ...]
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None
    created_at: int


@dataclass(slots=True)
class _Known:
    """A credential that was recognised, until `until` on the monotonic clock."""

    caller: Caller
    networks: tuple[Network, ...]
    expires_at: int | None
    token: Claims | None  # the credential was a signed token with a life of its own
    last_used_at: int
    until: float


class Keys:
    def __init__(
        self,
        database: Database,
        secrets: Secrets,
        *,
        jwt: bool = True,
        clock: Clock = wall_clock,
        ticks: Callable[[], float] = time.monotonic,
    ):
        self._database = database
        self._secrets = secrets
        self._jwt = jwt
        self._clock = clock
        self._ticks = ticks
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._generation = (
            0  # grows with every `forget`, so that a slow look-up cannot bring back what it dropped
        )

    async def authenticate(self, credential: str | None, *, ip: str | None) -> Caller:
        """The caller behind a header's value: a raw key or a signed token, with or without `Bearer`."""
        text = _bare(credential)
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(digest)
        if known is None or known.until <= self._ticks():
            known = await self._look_up(text, digest)
        else:
            self._known.move_to_end(digest)
        now = self._clock()
        if known.token is not None:
            known.token.check(now)
        if known.expires_at is not None and known.expires_at <= now:
            raise Unauthorized("this API key has expired", reason="expired")
        if known.networks:
            _check_address(ip, known.networks)
        if now - known.last_used_at >= USED_EVERY_MS:
            known.last_used_at = now
            self._write_use(known.caller.key_id, now)
        return known.caller

    async def still(self, key_id: str) -> Caller:
        """Whoever holds a key now, for work that it began and that goes on without a client; Unauthorized
        once the key has ended. Two seconds late at most, like a request."""
        remembered = b"id:" + key_id.encode()  # no credential: those are 32 bytes of a hash
        known = self._known.get(remembered)
        if known is None or known.until <= self._ticks():
            generation, until = self._generation, self._ticks() + TTL_S
            known = self._remember(remembered, await self._live_row(key_id), None, generation, until)
        if known.expires_at is not None and known.expires_at <= self._clock():
            raise Unauthorized("this API key has expired", reason="expired")
        return known.caller

    def forget(self) -> None:
        """Read keys anew from here on: something about keys, members or organisations has changed."""
        self._generation += 1
        self._known.clear()

    async def create(
        self,
        org_id: str,
        project_id: str,
        name: str,
        *,
        user_id: str | None = None,
        models: Sequence[str] = (),
        endpoints: Sequence[str] = (),
        cidrs: Sequence[str] = (),
        expires_at_ms: int | None = None,
        actor: Actor = SYSTEM,
    ) -> NewKey:
        now = self._clock()
        key_id = new_id("key", now)
        secret = "".join(secrets.choice(_LETTERS) for _ in range(SECRET_LENGTH))
        if expires_at_ms is not None and expires_at_ms <= now:
            raise InvalidRequest("expires_at must be in the future", param="expires_at")
        values = {
            "id": key_id,
            "org": org_id,
            "project": project_id,
            "user": user_id,
            "hash": fingerprint(secret),
            "sealed": self._secrets.seal(_PURPOSE, secret.encode(), context=key_id),
            "expires": expires_at_ms,
            "now": now,
            **_values(name, models, endpoints, cidrs),
        }

        def work(tx: Transaction) -> None:
            if not tx.one(
                "SELECT 1 FROM project WHERE id = :id AND org_id = :org AND archived_at IS NULL",
                id=project_id,
                org=org_id,
            ):
                raise NotFound(f"no project {project_id!r} here")
            if user_id and not tx.one(
                "SELECT 1 FROM member WHERE org_id = :org AND user_id = :user", org=org_id, user=user_id
            ):
                raise NotFound(f"no member {user_id!r} here")
            check(tx, org_id, now, part=project_id, project_keys=1, keys=1)
            tx.run(
                "INSERT INTO api_key (id, org_id, project_id, user_id, name, secret_hash, sealed_secret,"
                " models, endpoints, cidrs, expires_at, created_at) VALUES (:id, :org, :project,"
                " :user, :name, :hash, :sealed, :models, :endpoints, :cidrs, :expires, :now)",
                **values,
            )
            note(tx, now, actor, "key.create", key_id, org_id=org_id, details={"name": values["name"]})

        await self._database.write(work, durable=True, lock=org_id)
        return NewKey(key_id, f"{key_id}.{secret}")

    async def list(self, org_id: str, *, user_id: str | None = None) -> tuple[Key, ...]:
        """An organisation's keys, newest first; of one user, if named."""
        rows = await self._database.read(
            "SELECT * FROM api_key WHERE org_id = :org AND (user_id = :user OR :anybody = 1)"
            " ORDER BY id DESC",
            org=org_id,
            user=user_id or "",
            anybody=int(user_id is None),
        )
        return tuple(_key(row) for row in rows)

    async def get(self, org_id: str, key_id: str) -> Key:
        row = await self._database.read_one(
            "SELECT * FROM api_key WHERE org_id = :org AND id = :id", org=org_id, id=key_id
        )
        if row is None:
            raise NotFound(f"no API key {key_id!r} here")
        return _key(row)

    async def change(
        self,
        org_id: str,
        key_id: str,
        *,
        name: str,
        models: Sequence[str] = (),
        endpoints: Sequence[str] = (),
        cidrs: Sequence[str] = (),
        expires_at_ms: int | None = None,
        actor: Actor = SYSTEM,
    ) -> None:
        """Another name and scope for a key: at once here, within two seconds elsewhere."""
        now, values = self._clock(), _values(name, models, endpoints, cidrs)

        def work(tx: Transaction) -> None:
            if not tx.run(
                "UPDATE api_key SET name = :name, models = :models, endpoints = :endpoints, cidrs = :cidrs,"
                " expires_at = :expires WHERE org_id = :org AND id = :id",
                **values,
                expires=expires_at_ms,
                org=org_id,
                id=key_id,
            ):
                raise NotFound(f"no API key {key_id!r} here")
            note(tx, now, actor, "key.change", key_id, org_id=org_id, details=values)

        await self._database.write(work, durable=True, then=self.forget)

    async def revoke(self, org_id: str, key_id: str, *, actor: Actor = SYSTEM) -> None:
        """End a key for good: at once here, within two seconds elsewhere. Twice does no harm."""
        now = self._clock()

        def work(tx: Transaction) -> None:
            if tx.run(
                "UPDATE api_key SET revoked_at = :now"
                " WHERE org_id = :org AND id = :id AND revoked_at IS NULL",
                now=now,
                org=org_id,
                id=key_id,
            ):
                note(tx, now, actor, "key.revoke", key_id, org_id=org_id)
            elif not tx.one("SELECT 1 FROM api_key WHERE org_id = :org AND id = :id", org=org_id, id=key_id):
                raise NotFound(f"no API key {key_id!r} here")

        await self._database.write(work, durable=True, then=self.forget)

    async def _look_up(self, text: str, digest: bytes) -> _Known:
        """Recognise a credential by the database, and remember it."""
        generation, until = self._generation, self._ticks() + TTL_S
        token = read_signed(text) if text.count(".") == 2 else None
        if token is not None and not self._jwt:
            raise Unauthorized(
                "signed tokens are switched off here", reason="rejected", hint="send the API key itself"
            )
        key_id, secret = (token.key_id, "") if token is not None else _split(text)
        row = await self._live_row(key_id)
        if token is not None:
            sealed = self._secrets.unseal(_PURPOSE, row["sealed_secret"], context=key_id)
            verify_signed(text, sealed)
        elif not same(fingerprint(secret), row["secret_hash"]):
            raise _unknown()
        return self._remember(digest, row, token, generation, until)

    async def _live_row(self, key_id: str) -> Row:
        row = await self._database.read_one(_LOOK_UP, id=key_id)
        if row is None or row["live"] != 1:
            raise _unknown()
        return row

    def _remember(
        self, digest: bytes, row: Row, token: Claims | None, generation: int, until: float
    ) -> _Known:
        known = _Known(
            Caller(
                org_id=row["org_id"],
                project_id=row["project_id"],
                key_id=row["id"],
                user_id=row["user_id"],
                tier=row["tier"],
                models=tuple(msgspec.json.decode(row["models"])),
                endpoints=tuple(msgspec.json.decode(row["endpoints"])),
                body_days=row["body_days"],
            ),
            tuple(as_network(entry, "cidrs") for entry in msgspec.json.decode(row["cidrs"])),
            row["expires_at"],
            token,
            row["last_used_at"] or 0,
            until,
        )
        if generation == self._generation:
            self._known[digest] = known
            self._known.move_to_end(digest)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return known

    def _write_use(self, key_id: str, now: int) -> None:
        """Behind the request's back: nobody waits for it, and a lost one is written a minute later."""
        try:
            self._database.submit(
                lambda tx: tx.run(
                    "UPDATE api_key SET last_used_at = :now"
                    " WHERE id = :id AND (last_used_at IS NULL OR last_used_at <= :before)",
                    now=now,
                    id=key_id,
                    before=now - USED_EVERY_MS,
                )
            )
        except OpenGLMError as error:
            logger.debug("the last use of a key is not written: %s", error.message)


_LOOK_UP = """
SELECT k.*, o.tier, p.body_days, CASE
    WHEN k.revoked_at IS NOT NULL OR o.disabled_at IS NOT NULL OR p.archived_at IS NOT NULL THEN 0
    WHEN k.user_id IS NULL THEN 1
    WHEN m.user_id IS NULL OR u.disabled_at IS NOT NULL THEN 0
    ELSE 1 END AS live
FROM api_key k
JOIN org o ON o.id = k.org_id
JOIN project p ON p.id = k.project_id
LEFT JOIN member m ON m.org_id = k.org_id AND m.user_id = k.user_id
LEFT JOIN app_user u ON u.id = k.user_id
WHERE k.id = :id
"""


def _unknown() -> Unauthorized:
    return Unauthorized("this API key is not known or was revoked", reason="rejected")


def _bare(credential: str | None) -> str:
    """The credential without `Bearer`."""
    text = (credential or "").strip()
    if text[:7].lower() == "bearer ":
        text = text[7:].lstrip()
    if not text or text.lower() == "bearer":
        raise Unauthorized(
            "no API key was sent", reason="missing", hint="send the header Authorization: Bearer id.secret"
        )
    if len(text) > MAX_CREDENTIAL:
        raise Unauthorized("the API key is far too long", reason="malformed")
    return text


def _split(text: str) -> tuple[str, str]:
    key_id, _, secret = text.partition(".")
    if not key_id or not secret or not text.isascii() or not text.isprintable() or " " in text:
        raise Unauthorized(
            "this is not an API key of the form id.secret", reason="malformed", hint="copy the whole key"
        )
    return key_id, secret


def _check_address(ip: str | None, networks: tuple[Network, ...]) -> None:
    address = as_address(ip) if ip else None
    if address is None or not any(address in network for network in networks):
        raise Forbidden(f"this API key may not be used from {ip or 'an unknown address'}")


def _values(
    name: str, models: Sequence[str], endpoints: Sequence[str], cidrs: Sequence[str]
) -> dict[str, str]:
    """Name and scope as the database keeps them."""
    return {
        "name": clean_name(name),
        "models": _scope(models, "models"),
        "endpoints": _scope([_endpoint(word) for word in endpoints], "endpoints"),
        "cidrs": _scope([str(as_network(text, "cidrs")) for text in cidrs], "cidrs"),
    }


def _endpoint(word: str) -> str:
    if word not in ENDPOINTS:
        near = difflib.get_close_matches(str(word), ENDPOINTS, 1)
        raise InvalidRequest(
            f"endpoints: there is no {str(word)[:80]!r}",
            param="endpoints",
            hint=f"did you mean {near[0]}?" if near else f"known: {', '.join(ENDPOINTS)}",
        )
    return word


def _scope(entries: Iterable[str], param: str) -> str:
    """A scope as the database keeps it."""
    wanted = list(dict.fromkeys(entries))
    if len(wanted) > MAX_SCOPES:
        raise InvalidRequest(f"at most {MAX_SCOPES} {param}, got {len(wanted)}", param=param)
    for entry in wanted:
        if not isinstance(entry, str) or not entry.strip() or len(entry) > 200 or "*" in entry[:-1]:
            raise InvalidRequest(
                f"{param}: {entry!r} is neither a name nor a prefix with * at its end", param=param
            )
    return msgspec.json.encode(wanted).decode()


def _key(row: Row) -> Key:
    values = {field.name: row[field.name] for field in fields(Key)}
    for name in ("models", "endpoints", "cidrs"):
        values[name] = tuple(msgspec.json.decode(values[name]))
    return Key(**values)
