"""Browser sessions: an opaque cookie, kept hashed, that lives while it is used and can be ended everywhere.

The CSRF token is a MAC of the cookie: bound to its session, never stored, useless without it. A request that
changes something must bring it in a header, which no foreign page can set.
"""

from __future__ import annotations

from dataclasses import dataclass

from openglm.errors import Forbidden, NotFound, Unauthorized
from openglm.maas.database import Database, Transaction
from openglm.maas.identity.people import User, user_of
from openglm.maas.ids import Clock, new_id, wall_clock
from openglm.maas.secrets import Secrets, fingerprint, new_token, same

IDLE_MS = 14 * 24 * 3600 * 1000  # unused for this long, a session ends
LIFE_MS = 90 * 24 * 3600 * 1000  # and after this long in any case
TOUCH_MS = 10 * 60 * 1000  # how often its use is written
MAX_AGENT = 200  # characters of the browser's name
MAX_PER_USER = 50
CSRF_HEADER = "x-csrf-token"
_TOKEN_LENGTH = 80


@dataclass(frozen=True, slots=True)
class OpenSession:
    """`cookie` is seen here and never again."""

    id: str
    cookie: str
    csrf: str
    ends_at: int

    def __repr__(self) -> str:
        return f"OpenSession(id={self.id!r})"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Whose session it is."""

    session_id: str
    user: User
    csrf: str
    opened_at: int

    def __repr__(self) -> str:
        return f"SignedIn(session_id={self.session_id!r}, user_id={self.user.id!r})"


@dataclass(frozen=True, slots=True)
class Session:
    """One row of the list that users see of themselves."""

    id: str
    ip: str | None
    agent: str
    seen_at: int
    expires_at: int
    created_at: int


class Sessions:
    def __init__(self, database: Database, secrets: Secrets, *, clock: Clock = wall_clock):
        self._database = database
        self._secrets = secrets
        self._clock = clock

    async def open(self, user_id: str, *, ip: str | None = None, agent: str = "") -> OpenSession:
        """A session for a user who has just proven who they are; always a new cookie: none can be planted."""
        now, token = self._clock(), new_token("s")
        made = OpenSession(new_id("sess", now), token, self._csrf(token), now + LIFE_MS)

        def work(tx: Transaction) -> None:
            if not tx.one("SELECT 1 FROM app_user WHERE id = :id AND disabled_at IS NULL", id=user_id):
                raise NotFound(f"no user {user_id!r}")
            tx.run("DELETE FROM session WHERE expires_at <= :now", now=now)
            tx.run(
                "DELETE FROM session WHERE user_id = :user AND id NOT IN (SELECT id FROM session"
                " WHERE user_id = :user ORDER BY seen_at DESC, id DESC LIMIT :kept)",
                user=user_id,
                kept=MAX_PER_USER - 1,
            )
            tx.run(
                "INSERT INTO session (token_hash, id, user_id, ip, agent, expires_at, ends_at, seen_at,"
                " created_at) VALUES (:hash, :id, :user, :ip, :agent, :expires, :ends, :now, :now)",
                hash=fingerprint(token),
                id=made.id,
                user=user_id,
                ip=ip,
                agent="".join(letter for letter in agent if letter.isprintable())[:MAX_AGENT],
                expires=now + IDLE_MS,
                ends=made.ends_at,
                now=now,
            )

        await self._database.write(work)
        return made

    async def whose(self, cookie: str | None, csrf: str | None = None, *, writes: bool = False) -> SignedIn:
        """Who sent this cookie. With `writes`, or when a CSRF token came, the token must be the session's."""
        if not cookie:
            raise Unauthorized("you are not signed in", reason="missing")
        if len(cookie) > _TOKEN_LENGTH or not cookie.isascii():
            raise Unauthorized("the session cookie is garbled", reason="malformed")
        now, hashed = self._clock(), fingerprint(cookie)
        row = await self._database.read_one(_WHOSE, hash=hashed)
        if row is None or row["disabled_at"] is not None:
            raise Unauthorized("you are not signed in any more", reason="rejected")
        if min(row["expires_at"], row["ends_at"]) <= now:
            raise Unauthorized("the session has expired", reason="expired", hint="sign in again")
        expected = self._csrf(cookie)
        if (writes or csrf is not None) and not same(csrf or "", expected):
            raise Forbidden(
                "the CSRF token is missing or not this session's", hint=f"send it in the header {CSRF_HEADER}"
            )
        if now - row["seen_at"] >= TOUCH_MS:
            await self._touch(hashed, now)
        return SignedIn(row["session_id"], user_of(row), expected, row["opened_at"])

    async def close(self, cookie: str) -> None:
        """Sign out here."""
        hashed = fingerprint(cookie)
        await self._database.write(
            lambda tx: tx.run("DELETE FROM session WHERE token_hash = :hash", hash=hashed)
        )

    async def close_one(self, user_id: str, session_id: str) -> None:
        """Sign out another browser of one's own."""
        if not await self._database.write(
            lambda tx: tx.run(
                "DELETE FROM session WHERE user_id = :user AND id = :id", user=user_id, id=session_id
            )
        ):
            raise NotFound(f"no session {session_id!r} of yours")

    async def close_all(self, user_id: str, *, but: str | None = None) -> int:
        """Sign out everywhere, `but` in one session if named; returns how many ended."""
        return await self._database.write(
            lambda tx: tx.run(
                "DELETE FROM session WHERE user_id = :user AND id <> :but", user=user_id, but=but or ""
            ),
            durable=True,
        )

    async def list(self, user_id: str) -> tuple[Session, ...]:
        rows = await self._database.read(
            "SELECT * FROM session WHERE user_id = :user AND expires_at > :now ORDER BY seen_at DESC, id",
            user=user_id,
            now=self._clock(),
        )
        return tuple(
            Session(row["id"], row["ip"], row["agent"], row["seen_at"], row["expires_at"], row["created_at"])
            for row in rows
        )

    def _csrf(self, cookie: str) -> str:
        return self._secrets.mac("csrf", cookie)

    async def _touch(self, hashed: str, now: int) -> None:
        await self._database.write(
            lambda tx: tx.run(
                "UPDATE session SET seen_at = :now, expires_at = CASE WHEN ends_at < :until THEN ends_at"
                " ELSE :until END WHERE token_hash = :hash AND seen_at < :now",
                now=now,
                until=now + IDLE_MS,
                hash=hashed,
            )
        )


_WHOSE = """
SELECT s.id AS session_id, s.created_at AS opened_at, s.expires_at, s.ends_at, s.seen_at, u.*
FROM session s JOIN app_user u ON u.id = s.user_id
WHERE s.token_hash = :hash
"""


def cookie_name(secure: bool) -> str:
    """Behind https the name makes browsers refuse a cookie that a sub-domain or plain http would plant."""
    return "__Host-glm_session" if secure else "glm_session"


def set_cookie(cookie: str, *, secure: bool) -> str:
    """The value of a Set-Cookie header. SameSite=Lax: links from elsewhere still find the user signed in."""
    attributes = f"Path=/; Max-Age={LIFE_MS // 1000}; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}"
    return f"{cookie_name(secure)}={cookie}; {attributes}"


def drop_cookie(*, secure: bool) -> str:
    attributes = f"Path=/; Max-Age=0; HttpOnly; SameSite=Lax{'; Secure' if secure else ''}"
    return f"{cookie_name(secure)}=; {attributes}"
