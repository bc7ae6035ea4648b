"""The request log: every refusal, and whole requests of projects that asked for it, until they expire.

What a request that ended well used and cost stands in its usage row; here is what usage rows do not tell.
Bodies are kept only where a project says for how many days, sealed, and cut at a megabyte. Nobody waits for
the log: a row that cannot be written is a warning, never an error of the request. Strangers leave no rows.
"""

from __future__ import annotations

import logging
import zlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from openglm.errors import InvalidRequest, NotFound, OpenGLMError
from openglm.logs import redact
from openglm.maas.database import Database, Row, Transaction
from openglm.maas.identity.audit import SYSTEM, Actor, note
from openglm.maas.ids import Clock, wall_clock
from openglm.maas.rounds import Rounds
from openglm.maas.secrets import Secrets

if TYPE_CHECKING:
    from starlette.types import Message, Send

    from openglm.maas.gateway.call import Call

logger = logging.getLogger(__name__)

DAY_MS = 24 * 3600 * 1000
REFUSALS_KEPT_DAYS = 30
MOST_REFUSALS = 100  # rows of one organisation in a minute; a client gone wild must not fill the disk
MAX_BODY = 1 << 20  # bytes of each body
MAX_PAGE = 200
EXPIRE_EVERY_S = 600.0
CHUNK = 500  # rows of one delete
_PURPOSE = "request-body"
_COLUMNS = "request_id, project_id, key_id, path, model, status, failure, message, duration_ms, is_cut, at"


@dataclass(frozen=True, slots=True)
class Logged:
    """One row. `failure` is the kind of the error, for what was refused."""

    request_id: str
    project_id: str
    key_id: str
    path: str
    model: str | None
    status: int
    failure: str | None
    message: str | None
    duration_ms: int
    is_cut: bool
    at: int


@dataclass(frozen=True, slots=True)
class Bodies:
    """What came in and went out, as text; None where nothing was kept."""

    asked: str | None
    answered: str | None


class _Model(msgspec.Struct):
    model: str | None = None


class Recording:
    """One request of a project that keeps bodies."""

    def __init__(self, log: RequestLog, call: Call):
        self._log = log
        self._call = call
        self._status = 0
        self._answer = bytearray()
        self._cut = len(call.body) > MAX_BODY
        self.failure: Exception | None = None

    def through(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._status = message["status"]
            elif body := message.get("body"):
                room = MAX_BODY - len(self._answer)
                self._answer += body[:room]
                self._cut |= len(body) > room
            await send(message)

        return sending

    def close(self) -> None:
        """Write the row, however the request ended. 499: the client left before the answer began."""
        call, answered = self._call, bytes(self._answer)
        self._log.add(
            call, self._status or 499, self.failure, bodies=(call.body[:MAX_BODY], answered), is_cut=self._cut
        )


class RequestLog:
    def __init__(self, database: Database, secrets: Secrets, *, clock: Clock = wall_clock):
        self._database = database
        self._secrets = secrets
        self._clock = clock
        self._minute = 0
        self._refusals: dict[str, int] = {}  # in this minute, by organisation
        self._expiring = Rounds("old rows of the request log are deleted", self.expire, EXPIRE_EVERY_S)

    async def start(self) -> None:
        self._expiring.start(at_once=True)

    async def stop(self) -> None:
        await self._expiring.stop()

    def record(self, call: Call) -> Recording | None:
        """A recording, if the caller's project keeps bodies."""
        return Recording(self, call) if call.caller.body_days else None

    def refused(self, call: Call, status: int, error: Exception) -> None:
        """A request that got an error in place of an answer."""
        minute = call.received_ms // 60_000
        if minute != self._minute:
            self._minute = minute
            self._refusals.clear()
        count = self._refusals.get(call.caller.org_id, 0)
        self._refusals[call.caller.org_id] = count + 1
        if count < MOST_REFUSALS:
            self.add(call, status, error)

    def add(
        self,
        call: Call,
        status: int,
        error: Exception | None,
        *,
        bodies: tuple[bytes, bytes] | None = None,
        is_cut: bool = False,
    ) -> None:
        """Write a row behind the request's back."""
        now, caller = self._clock(), call.caller
        days = caller.body_days if bodies else REFUSALS_KEPT_DAYS
        message = error.message if isinstance(error, OpenGLMError) else "an error of the server"
        values = {
            "id": call.request_id,
            "org": caller.org_id,
            "project": caller.project_id,
            "key": caller.key_id,
            "path": call.scope["path"][:200],
            "model": _model(call.body),
            "status": status,
            "failure": type(error).__name__ if error else None,
            "message": redact(message)[:500].replace("\x00", "") if error else None,
            "duration": now - call.received_ms,
            "asked": self._sealed(call.request_id, bodies[0]) if bodies else None,
            "answered": self._sealed(call.request_id, bodies[1]) if bodies else None,
            "cut": int(is_cut),
            "expires": now + days * DAY_MS,
            "at": call.received_ms,
        }
        try:
            self._database.submit(lambda tx: tx.run(_ADD, **values))
        except OpenGLMError as failure:
            logger.warning("request %s is not logged: %s", call.request_id, failure.message)

    async def page(self, org_id: str, *, before: str | None = None, limit: int = 50) -> list[Logged]:
        """Rows of an organisation, newest first; `before` is the id of an earlier page's last row."""
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidRequest(f"limit must be from 1 to {MAX_PAGE}, got {limit}", param="limit")
        rows = await self._database.read(
            f"SELECT {_COLUMNS} FROM request_log WHERE org_id = :org AND request_id < :before"
            " AND expires_at > :now ORDER BY request_id DESC LIMIT :limit",
            org=org_id,
            before=before or "~",
            now=self._clock(),
            limit=limit,
        )
        return [_logged(row) for row in rows]

    async def one(self, org_id: str, request_id: str, *, actor: Actor = SYSTEM) -> tuple[Logged, Bodies]:
        """A row with its bodies. Whoever reads bodies is written down before they see them."""
        row = await self._database.read_one(
            f"SELECT {_COLUMNS}, asked, answered FROM request_log"
            " WHERE org_id = :org AND request_id = :id AND expires_at > :now",
            org=org_id,
            id=request_id,
            now=self._clock(),
        )
        if row is None:
            raise NotFound(f"no request {request_id[:80]!r} in the log")
        if row["asked"] is not None:
            now = self._clock()
            await self._database.write(
                lambda tx: note(tx, now, actor, "request.read", request_id, org_id=org_id)
            )
        return _logged(row), Bodies(*(self._opened(request_id, row[name]) for name in ("asked", "answered")))

    async def expire(self) -> int:
        """Delete what has expired, a little at a time; returns how many rows."""
        gone = 0
        while True:
            rows = await self._database.read(
                "SELECT request_id AS id FROM request_log WHERE expires_at <= :now LIMIT :chunk",
                now=self._clock(),
                chunk=CHUNK,
            )
            if not rows:
                return gone
            await self._database.write(partial(_delete, [{"id": row["id"]} for row in rows]))
            gone += len(rows)

    def _sealed(self, request_id: str, body: bytes) -> bytes:
        return self._secrets.seal(_PURPOSE, zlib.compress(body, 1), context=request_id)

    def _opened(self, request_id: str, sealed: bytes | None) -> str | None:
        if sealed is None:
            return None
        body = self._secrets.unseal(_PURPOSE, bytes(sealed), context=request_id)
        return zlib.decompress(body).decode("utf-8", "replace")


_ADD = """
INSERT INTO request_log (request_id, org_id, project_id, key_id, path, model, status, failure, message,
    duration_ms, asked, answered, is_cut, expires_at, at)
VALUES (:id, :org, :project, :key, :path, :model, :status, :failure, :message, :duration, :asked, :answered,
    :cut, :expires, :at)
ON CONFLICT (request_id) DO NOTHING
"""


def _delete(keys: list[dict[str, str]], tx: Transaction) -> None:
    tx.many("DELETE FROM request_log WHERE request_id = :id", keys)


def _model(body: bytes) -> str | None:
    """The model that a JSON body names, if it can be told."""
    try:
        name = msgspec.json.decode(body, type=_Model).model
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return name[:200].replace("\x00", "") if name else None


def _logged(row: Row) -> Logged:
    names = [name for name in _COLUMNS.split(", ") if name != "is_cut"]
    return Logged(**{name: row[name] for name in names}, is_cut=bool(row["is_cut"]))
