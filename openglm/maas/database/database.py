"""The database: one writer thread that commits in groups, and readers that never wait for it.

A write is a function of a `Transaction`. The writer runs all that wait, each inside a savepoint, and commits
them together: one slow disk flush serves hundreds. Writes that must survive a power cut are `durable`; the
others are acknowledged once they survive the end of the process, and are flushed with the next durable group.
Work may run twice (after a deadlock, or a lost connection before the commit), so it must do nothing but SQL.

On PostgreSQL other nodes write too. Writes that name the same `lock` never run at once on two of them, and a
group takes its locks in one order before it begins; those that name none are committed one by one. So two
nodes never wait for each other in a ring, as long as one write changes one organisation's shared rows only
(its accounts, its counts in `stored`), and names its lock if it changes more of them than one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Literal, TypeVar

from openglm.errors import OpenGLMError, Overloaded
from openglm.maas.database.connection import (
    Connection,
    Fault,
    PostgresConnection,
    Row,
    SqliteConnection,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")
Kind = Literal["sqlite", "postgres"]
GROUP = 256  # writes of one commit, so that nobody waits long for the others
LINGER_S = 0.004  # that a durable write waits for company: a flush costs more than what it flushes
READERS = 4
ATTEMPTS = 5  # at one group, when another node's transaction was in the way or the connection was lost


class DatabaseDown(Overloaded):
    """The database cannot be used just now. Nothing is known to be written, and nothing to be not."""

    def __init__(self) -> None:
        # What the driver says is for the log: it may name hosts and statements.
        super().__init__("the database cannot be used just now", hint="try again in a moment")


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
    __slots__ = ("durable", "future", "lock", "work")

    def __init__(self, work: Callable[[Transaction], Any], durable: bool, lock: str | None):
        self.work = work
        self.durable = durable
        self.lock = lock
        self.future: Future[Any] = Future()

    def begins(self) -> bool:
        """Whether it is to run: not if it was given up before its first turn."""
        future = self.future
        return future.running() or (not future.cancelled() and future.set_running_or_notify_cancel())


Outcome = tuple[Any, BaseException | None]


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
        lock: str | None = None,
        then: Callable[[], None] | None = None,
    ) -> T:
        """Run `work` in the writer and wait for its commit. What it raises is raised here, undone.

        `lock`: what no two nodes may change at once, such as an organisation's money by the org's id.
        `then` forgets what was remembered of it: also after a failure, since a commit may be half known.
        """
        try:
            return await asyncio.wrap_future(self.submit(work, durable=durable, lock=lock))
        finally:
            if then:
                then()

    def write_now(
        self, work: Callable[[Transaction], T], *, durable: bool = False, lock: str | None = None
    ) -> T:
        return self.submit(work, durable=durable, lock=lock).result()

    def submit(
        self, work: Callable[[Transaction], T], *, durable: bool = False, lock: str | None = None
    ) -> Future[T]:
        """As `write`, without waiting."""
        if self._closed:
            raise Overloaded("the platform is stopping")
        write = _Write(work, durable, lock)
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
        while True:
            try:
                connection, fresh = self._idle.pop(), False
            except IndexError:
                connection, fresh = self._open(reader=True), True
            try:
                rows = connection.rows(sql, parameters)
            except Exception as error:
                fault = connection.fault(error)
                if fault == "lost":
                    connection.close()
                else:
                    self._idle.append(connection)
                if fault == "theirs":
                    raise
                if fresh or fault != "lost":  # one that lay idle may have been lost long ago
                    raise _down("a read", error) from error
                continue
            self._idle.append(connection)
            return rows

    def _open(self, *, reader: bool) -> Connection:
        try:
            return self._connect(reader)
        except OpenGLMError as error:
            raise _down("opening a connection", error) from error

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
        if self.kind == "sqlite":
            self._commit_together(writes, durable)
            return
        locked = [write for write in writes if write.lock is not None]
        for together in (locked, *([write] for write in writes if write.lock is None)):
            if together:
                self._commit_together(together, durable)

    def _commit_together(self, writes: list[_Write], durable: bool) -> None:
        """Run and commit one group. A failure of the database is every writer's failure, and is said."""
        try:
            outcomes = self._outcomes(writes, durable)
        except DatabaseDown:
            outcomes = [(None, DatabaseDown()) for _ in writes]
        for write, (value, failure) in zip(writes, outcomes, strict=True):
            if write.future.cancelled():  # before its turn came: it did not run
                continue
            if failure is None:
                write.future.set_result(value)
            else:
                write.future.set_exception(failure)

    def _outcomes(self, writes: list[_Write], durable: bool) -> list[Outcome]:
        for attempt in range(ATTEMPTS):
            if self._connection is None:
                self._connection = self._open(reader=False)
            connection, committing = self._connection, False
            try:
                outcomes = self._run_group(connection, writes, durable)
                committing = True
                connection.run("COMMIT", {})
                return outcomes
            except BaseException as error:
                fault = self._let_go(connection, error)
                if fault == "theirs":
                    if len(writes) == 1:
                        return [(None, error)]
                    # Of a group it may be anybody's: some constraints are judged at the commit.
                    return [self._outcomes([write], durable)[0] for write in writes]
                # What was lost while it was committed may be written: only its sender can know what to do.
                again = fault == "again" or (fault == "lost" and not committing)
                if not again or attempt + 1 == ATTEMPTS:
                    raise _down("a commit" if committing else "a write", error) from error
        raise AssertionError("the last attempt returns or raises")

    def _let_go(self, connection: Connection, error: BaseException) -> Fault:
        """Undo what is open; a connection that is of no use any more is closed."""
        fault = connection.fault(error)
        try:
            connection.run("ROLLBACK", {})
        except Exception:
            if self.kind == "postgres":  # SQLite has undone it already
                fault = "lost"
        if fault == "lost":
            connection.close()
            self._connection = None
        return fault

    def _run_group(self, connection: Connection, writes: list[_Write], durable: bool) -> list[Outcome]:
        transaction = Transaction(connection, self.kind)
        locks = {write.lock for write in writes if write.lock is not None}
        connection.begin(durable=durable, locks=[_key(lock) for lock in locks])
        if len(writes) == 1:  # which needs no savepoint
            return [(writes[0].work(transaction) if writes[0].begins() else None, None)]
        outcomes: list[Outcome] = []
        for write in writes:
            if not write.begins():
                outcomes.append((None, None))
                continue
            connection.run("SAVEPOINT work", {})
            try:
                outcome: Outcome = (write.work(transaction), None)
            except BaseException as error:
                if connection.fault(error) != "theirs":
                    raise
                connection.run("ROLLBACK TO work", {})
                outcome = (None, error)
            connection.run("RELEASE work", {})
            outcomes.append(outcome)
        return outcomes

    @contextlib.contextmanager
    def alone(self) -> Iterator[Connection]:
        """A connection of one's own, for migrations and backups."""
        connection = self._connect(False)
        try:
            yield connection
        finally:
            connection.close()


def _down(doing: str, error: BaseException) -> DatabaseDown:
    logger.error("the database failed at %s: %s", doing, error)
    return DatabaseDown()


@lru_cache(maxsize=4096)
def _key(lock: str) -> int:
    """The number by which PostgreSQL knows a lock."""
    return int.from_bytes(hashlib.blake2b(lock.encode(), digest_size=8).digest(), signed=True)


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
