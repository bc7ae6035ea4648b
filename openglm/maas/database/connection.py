"""Connections to SQLite and PostgreSQL that take the same SQL and return the same rows.

Both run in autocommit: the writer says BEGIN and COMMIT itself. Text columns are TEXT, numbers and times
BIGINT, bytes BLOB, which PostgreSQL calls BYTEA. Rows are read by column name on both.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from openglm.errors import InvalidRequest, OpenGLMError

if TYPE_CHECKING:
    import psycopg

Row = Mapping[str, Any]
BUSY_TIMEOUT_MS = 10_000  # how long another process, such as `glm admin`, may hold the write lock
ASLEEP_MS = 30_000  # after which PostgreSQL ends the transaction of a node that stopped in the middle of it

# What an error says. "theirs": the statement was wrong, and only its own work fails. "again": another node's
# transaction was in the way. "lost": the connection is of no use. "down": the database cannot do it now.
Fault = Literal["theirs", "again", "lost", "down"]
_SQLITE_DOWN = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
}
# Beginnings of SQLSTATE, https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRES_FAULTS: tuple[tuple[str, Fault], ...] = (
    ("40001", "again"),  # serialization failure
    ("40P01", "again"),  # deadlock
    ("08", "lost"),  # connection exceptions
    ("25006", "lost"),  # read only: a standby, since the primary has moved
    ("25P03", "lost"),  # idle in a transaction for too long
    ("25P04", "lost"),  # in a transaction for too long
    ("57P", "lost"),  # the server stops or starts
    ("53", "down"),  # disk full, out of memory, too many connections
    ("55P03", "down"),  # a lock could not be had
    ("57014", "down"),  # cancelled by its timeout or its operator
    ("58", "down"),  # the server's disk
    ("XX", "down"),  # the server's own failure
)


class Connection(Protocol):
    """What the writer and the readers need of a driver."""

    def fault(self, error: BaseException) -> Fault: ...

    def run(self, sql: str, parameters: Mapping[str, Any]) -> int: ...

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Row]: ...

    def many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> None: ...

    def begin(self, *, durable: bool, locks: Sequence[int] = ()) -> None: ...

    def script(self, sql: str) -> None: ...

    def close(self) -> None: ...


class SqliteConnection:
    """SQLite in WAL mode. A commit that need not be durable survives the process, not a power cut."""

    def __init__(self, path: Path, *, read_only: bool = False):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, cached_statements=512
            )
            self._connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA foreign_keys=ON")
            self._connection.execute("PRAGMA cache_size=-16384")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            if read_only:
                self._connection.execute("PRAGMA query_only=ON")
        except (OSError, sqlite3.Error) as error:
            raise OpenGLMError(
                f"cannot open the database {path}: {error}", hint="check the folder and its permissions"
            ) from error
        path.chmod(0o600)
        self._connection.row_factory = sqlite3.Row
        self._durable = False

    def fault(self, error: BaseException) -> Fault:
        code = getattr(error, "sqlite_errorcode", 0) if isinstance(error, sqlite3.Error) else 0
        return "down" if code & 0xFF in _SQLITE_DOWN else "theirs"

    def run(self, sql: str, parameters: Mapping[str, Any]) -> int:
        return self._connection.execute(sql, parameters).rowcount

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Row]:
        return self._connection.execute(sql, parameters).fetchall()

    def many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self._connection.executemany(sql, rows)

    def begin(self, *, durable: bool, locks: Sequence[int] = ()) -> None:
        if durable != self._durable:
            self._connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        self._connection.execute("BEGIN IMMEDIATE")

    def script(self, sql: str) -> None:
        for statement in statements(sql):
            self._connection.execute(statement)

    def close(self) -> None:
        self._connection.close()


class PostgresConnection:
    """PostgreSQL through psycopg. A commit that need not be durable does not wait for the disk."""

    def __init__(self, url: str):
        import psycopg
        from psycopg.rows import dict_row

        try:
            self._connection: psycopg.Connection[dict[str, Any]] = psycopg.connect(
                url, autocommit=True, row_factory=dict_row
            )
        except psycopg.Error as error:
            raise OpenGLMError(
                f"cannot reach the database: {str(error).splitlines()[0]}",
                hint="check the address, the password, and that the server runs",
            ) from error

    def fault(self, error: BaseException) -> Fault:
        import psycopg

        if not isinstance(error, psycopg.Error):
            return "theirs"
        if error.sqlstate is None:  # the driver's own: the server has gone, or the call was wrong
            return (
                "lost" if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) else "theirs"
            )
        return next(
            (fault for start, fault in _POSTGRES_FAULTS if error.sqlstate.startswith(start)), "theirs"
        )

    def run(self, sql: str, parameters: Mapping[str, Any]) -> int:
        with _text_is_kept():
            return self._connection.execute(percent(sql), parameters or None).rowcount

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Row]:
        with _text_is_kept():
            return self._connection.execute(percent(sql), parameters or None).fetchall()

    def many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> None:
        with _text_is_kept(), self._connection.cursor() as cursor:
            cursor.executemany(percent(sql), rows)

    def begin(self, *, durable: bool, locks: Sequence[int] = ()) -> None:
        """`locks` are had in their order before anything else, so that nodes do not wait in a ring."""
        said = ["BEGIN", f"SET LOCAL idle_in_transaction_session_timeout = {ASLEEP_MS}"]
        if not durable:
            said.append("SET LOCAL synchronous_commit = off")
        if locks:
            said.append(
                f"SELECT pg_advisory_xact_lock(key) FROM unnest(ARRAY{sorted(locks)}::bigint[]) AS key"
            )
        self._connection.execute("; ".join(said), prepare=False)

    def script(self, sql: str) -> None:
        for statement in statements(sql):
            self._connection.execute(re.sub(r"\bBLOB\b", "BYTEA", statement))

    def close(self) -> None:
        self._connection.close()


@contextmanager
def _text_is_kept() -> Iterator[None]:
    """PostgreSQL keeps no U+0000 and no lone surrogate, which strangers may send wherever text is taken."""
    import psycopg

    try:
        yield
    except (psycopg.DataError, UnicodeEncodeError) as error:
        if isinstance(error, UnicodeEncodeError) or "NUL" in str(error):
            raise InvalidRequest("text must not hold the character U+0000 or half a character") from None
        raise


@lru_cache(maxsize=2048)
def percent(sql: str) -> str:
    """`:name` parameters as psycopg spells them. A `::cast` stays, and so does a lone percent sign."""
    return re.sub(r"(?<![:\w]):([a-z_]\w*)", r"%(\1)s", sql.replace("%", "%%"))


def statements(script: str) -> list[str]:
    """The statements of a migration: each ends with a semicolon at a line's end, outside BEGIN ... END."""
    found: list[str] = []
    lines: list[str] = []
    for line in script.splitlines():
        lines.append(line)
        text = "\n".join(lines)
        in_body = text.count("$$") % 2 or (
            "CREATE TRIGGER" in text and "BEGIN" in text and line.strip() != "END;"
        )
        if line.rstrip().endswith(";") and not in_body:
            found.append(text)
            lines = []
    if "".join(lines).strip():
        found.append("\n".join(lines))
    return found
