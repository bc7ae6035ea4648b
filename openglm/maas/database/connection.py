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
from typing import TYPE_CHECKING, Any, Protocol

from openglm.errors import InvalidRequest, OpenGLMError

if TYPE_CHECKING:
    import psycopg

Row = Mapping[str, Any]
BUSY_TIMEOUT_MS = 10_000  # how long another process, such as `glm admin`, may hold the write lock


class Connection(Protocol):
    """What the writer and the readers need of a driver."""

    transient: tuple[type[Exception], ...]  # errors after which the same work may be tried again
    broken: tuple[type[Exception], ...]  # errors after which the connection is of no use

    def run(self, sql: str, parameters: Mapping[str, Any]) -> int: ...

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Row]: ...

    def many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> None: ...

    def begin(self, *, durable: bool) -> None: ...

    def script(self, sql: str) -> None: ...

    def close(self) -> None: ...


class SqliteConnection:
    """SQLite in WAL mode. A commit that need not be durable survives the process, not a power cut."""

    transient: tuple[type[Exception], ...] = ()
    broken: tuple[type[Exception], ...] = ()

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

    def run(self, sql: str, parameters: Mapping[str, Any]) -> int:
        return self._connection.execute(sql, parameters).rowcount

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Row]:
        return self._connection.execute(sql, parameters).fetchall()

    def many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self._connection.executemany(sql, rows)

    def begin(self, *, durable: bool) -> None:
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

        self.transient: tuple[type[Exception], ...] = (
            psycopg.errors.DeadlockDetected,
            psycopg.errors.SerializationFailure,
        )
        self.broken: tuple[type[Exception], ...] = (psycopg.OperationalError,)
        try:
            self._connection: psycopg.Connection[dict[str, Any]] = psycopg.connect(
                url, autocommit=True, row_factory=dict_row
            )
        except psycopg.Error as error:
            raise OpenGLMError(
                f"cannot reach the database: {str(error).splitlines()[0]}",
                hint="check the address, the password, and that the server runs",
            ) from error

    def run(self, sql: str, parameters: Mapping[str, Any]) -> int:
        with _text_is_kept():
            return self._connection.execute(percent(sql), parameters or None).rowcount

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Row]:
        with _text_is_kept():
            return self._connection.execute(percent(sql), parameters or None).fetchall()

    def many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> None:
        with _text_is_kept(), self._connection.cursor() as cursor:
            cursor.executemany(percent(sql), rows)

    def begin(self, *, durable: bool) -> None:
        self._connection.execute("BEGIN")
        if not durable:
            self._connection.execute("SET LOCAL synchronous_commit = off")

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
