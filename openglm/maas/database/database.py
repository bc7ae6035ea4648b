"""The database: one writer thread that commits in groups, and readers that never wait for it.

A write is a function of a `Transaction`. The writer runs all that wait, each inside a savepoint, and commits
them together: one slow disk flush serves hundreds. Writes that must survive a power cut are `durable`; the
others are acknowledged once they survive the end of the process, and are flushed with the next durable group.
Work may run twice (after a deadlock, or a lost connection before the commit), so it must do nothing but SQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Literal, TypeVar

from openglm.errors import OpenGLMError, Overloaded
from openglm.maas.database.connection import (
    Connection,
    PostgresConnection,
    Row,
    SqliteConnection,
)

T = TypeVar("T")
Kind = Literal["sqlite", "postgres"]
GROUP = 256  # writes of one commit, so that nobody waits long for the others
LINGER_S = 0.004  # that a durable write waits for company: a flush costs more than what it flushes
READERS = 4
ATTEMPTS = 5  # at one group, when another node's transaction was in the way


class DatabaseDown(OpenGLMError):
    """The database cannot be reached; nothing is known to be written."""


class Transaction:
    """What a write may do. Rows are read by column name; `run` says how many rows it touched."""

    def __init__(self, connection: Connection, kind: Kind):
        self._connection = connection
        self.kind: Kind = kind

    def run(self, sql: str, **parameters: Any) -> int:
        return self._connection.run(sql, parameters)

    def many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            self._connection.many(sql, rows)

    def one(self, sql: str, **parameters: Any) -> Row | None:
        rows = self._connection.rows(sql, parameters)
        return rows[0] if rows else None

    def all(self, sql: str, **parameters: Any) -> Sequence[Row]:
        return self._connection.rows(sql, parameters)


class _Write:
    __slots__ = ("durable", "future", "work")

    def __init__(self, work: Callable[[Transaction], Any], durable: bool):
        self.work = work
        self.durable = durable
        self.future: Future[Any] = Future()


class Database:
    """Open with `open_database`. `write` and `read` are for coroutines, their `_now` twins for threads."""

    def __init__(self, kind: Kind, connect: Callable[[bool], Connection]):
        self.kind: Kind = kind
        self._connect = connect
        self._queue: SimpleQueue[_Write | None] = SimpleQueue()
        self._closed = False
        self._connection: Connection | None = connect(False)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="openglm-reader")
        self._idle: deque[Connection] = deque()
        self._writer = threading.Thread(target=self._write_groups, name="openglm-writer", daemon=True)
        self._writer.start()

    async def write(
        self,
        work: Callable[[Transaction], T],
        *,
        durable: bool = False,
        then: Callable[[], None] | None = None,
    ) -> T:
        """Run `work` in the writer and wait for its commit. What it raises is raised here, undone.

        `then` forgets what was remembered of it: also after a failure, since a commit may be half known.
        """
        try:
            return await asyncio.wrap_future(self.submit(work, durable=durable))
        finally:
            if then:
                then()

    def write_now(self, work: Callable[[Transaction], T], *, durable: bool = False) -> T:
        return self.submit(work, durable=durable).result()

    def submit(self, work: Callable[[Transaction], T], *, durable: bool = False) -> Future[T]:
        """As `write`, without waiting."""
        if self._closed:
            raise Overloaded("the platform is stopping")
        write = _Write(work, durable)
        self._queue.put(write)
        return write.future

    async def read(self, sql: str, **parameters: Any) -> Sequence[Row]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._read, sql, parameters)

    async def read_one(self, sql: str, **parameters: Any) -> Row | None:
        rows = await self.read(sql, **parameters)
        return rows[0] if rows else None

    def read_now(self, sql: str, **parameters: Any) -> Sequence[Row]:
        return self._read(sql, parameters)

    def close(self) -> None:
        """Commit what was handed in, then let go of everything."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._writer.join()
        self._readers.shutdown()
        for connection in self._idle:
            connection.close()

    def _read(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Row]:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect(True)
        try:
            rows = connection.rows(sql, parameters)
        except connection.broken as error:
            connection.close()
            raise DatabaseDown("the database went away during a read") from error
        except BaseException:
            self._idle.append(connection)
            raise
        self._idle.append(connection)
        return rows

    def _write_groups(self) -> None:
        lingering: list[_Write] = []  # durable ones, in the order they came
        due, stopping = 0.0, False
        while not stopping:
            group, stopping = self._next_group(due - monotonic() if lingering else None)
            # What need not be durable goes at once: somebody waits for it before a first byte.
            if quick := [write for write in group if not write.durable]:
                self._commit(quick, durable=False)
            if not lingering:
                due = monotonic() + LINGER_S
            lingering += [write for write in group if write.durable]
            if lingering and (stopping or len(lingering) >= GROUP or monotonic() >= due):
                self._commit(lingering, durable=True)
                lingering = []
        if self._connection:
            self._connection.close()

    def _next_group(self, wait_s: float | None) -> tuple[list[_Write], bool]:
        """What has been handed in, or nothing if `wait_s` pass before; and whether that was the end."""
        group: list[_Write] = []
        try:
            write = self._queue.get(timeout=None if wait_s is None else max(0.0, wait_s))
            while write is not None:
                group.append(write)
                if len(group) == GROUP:
                    return group, False
                write = self._queue.get_nowait()
        except Empty:
            return group, False
        return group, True

    def _commit(self, writes: list[_Write], durable: bool) -> None:
        """Run and commit one group. A failure of the database is every writer's failure, and is said."""
        for attempt in range(ATTEMPTS):
            try:
                if self._connection is None:
                    self._connection = self._connect(False)
                outcomes = self._run_group(self._connection, writes, durable)
            except Exception as error:
                connection, again = self._connection, False
                if connection is not None:
                    with contextlib.suppress(Exception):
                        connection.run("ROLLBACK", {})
                    again = isinstance(error, connection.transient)
                    if isinstance(error, connection.broken) and not again:
                        connection.close()
                        self._connection = None
                if again and attempt + 1 < ATTEMPTS:
                    continue
                for write in writes:
                    if write.future.cancelled():
                        continue
                    down = DatabaseDown(f"the database failed: {error}")
                    down.__cause__ = error
                    write.future.set_exception(down)
                return
            for write, (value, failure) in zip(writes, outcomes, strict=True):
                if write.future.cancelled():  # before its turn came: it did not run
                    continue
                if failure is None:
                    write.future.set_result(value)
                else:
                    write.future.set_exception(failure)
            return

    def _run_group(
        self, connection: Connection, writes: list[_Write], durable: bool
    ) -> list[tuple[Any, BaseException | None]]:
        transaction = Transaction(connection, self.kind)
        outcomes: list[tuple[Any, BaseException | None]] = []
        connection.begin(durable=durable)
        for write in writes:
            if not write.future.running() and not write.future.set_running_or_notify_cancel():
                outcomes.append((None, None))
                continue
            connection.run("SAVEPOINT work", {})
            try:
                outcome: tuple[Any, BaseException | None] = (write.work(transaction), None)
            except (*connection.transient, *connection.broken):
                raise
            except BaseException as error:
                connection.run("ROLLBACK TO work", {})
                outcome = (None, error)
            connection.run("RELEASE work", {})
            outcomes.append(outcome)
        connection.run("COMMIT", {})
        return outcomes

    @contextlib.contextmanager
    def alone(self) -> Iterator[Connection]:
        """A connection of one's own, for migrations and backups."""
        connection = self._connect(False)
        try:
            yield connection
        finally:
            connection.close()


def open_database(url: str) -> Database:
    """`sqlite:///path/to/file` or `postgresql://…`; the schema is brought up to date first."""
    from openglm.maas.database.migrate import migrate

    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///"))
        database = Database("sqlite", lambda reader: SqliteConnection(path, read_only=reader))
    elif url.startswith(("postgresql://", "postgres://")):
        database = Database("postgres", lambda reader: PostgresConnection(url))
    else:
        raise OpenGLMError(
            f"the database must be sqlite:///FILE or postgresql://…, got {url.partition('://')[0]!r}"
        )
    try:
        migrate(database)
    except BaseException:
        database.close()
        raise
    return database
