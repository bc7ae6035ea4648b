"""When the database fails: who is told, what is tried again, and that no write fails for another's fault."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from openglm.errors import Overloaded
from openglm.maas.database import Database, Transaction, connection, open_database
from openglm.maas.database.database import DatabaseDown

THING = "CREATE TABLE thing (id TEXT PRIMARY KEY, size BIGINT NOT NULL DEFAULT 1);"
HANG_UP = "SELECT pg_terminate_backend(pg_backend_pid())"


@pytest.fixture
def far(postgres_url: str) -> Iterator[Database]:
    """A database on PostgreSQL, whose connections can be lost."""
    database = open_database(postgres_url)
    with database.alone() as alone:
        alone.script(THING)
    yield database
    database.close()


def put(name: str) -> Callable[[Transaction], int]:
    return lambda tx: tx.run("INSERT INTO thing (id) VALUES (:id)", id=name)


def hang_up_once(name: str) -> Callable[[Transaction], int]:
    """Loses the connection in the middle of its first turn."""
    turns = []

    def work(tx: Transaction) -> int:
        turns.append(name)
        put(name)(tx)
        if len(turns) == 1:
            tx.all(HANG_UP)
        return len(turns)

    return work


def names(database: Database) -> list[str]:
    return [row["id"] for row in database.read_now("SELECT id FROM thing ORDER BY id")]


def together(database: Database, *works: Callable[[Transaction], object], give_up: int | None = None) -> list:
    """What each of the works came to, handed in while the writer is busy, so that they are one group."""
    gate = threading.Event()
    busy = database.submit(lambda tx: gate.wait())
    futures = [database.submit(work, lock="same") for work in works]
    if give_up is not None:
        assert futures[give_up].cancel()
    gate.set()
    busy.result()
    return [None if future.cancelled() else future.exception(20) or future.result() for future in futures]


def test_a_group_whose_connection_is_lost_before_the_commit_is_written_after_all(far):
    assert together(far, put("a"), hang_up_once("b"), put("c")) == [1, 2, 1]
    assert names(far) == ["a", "b", "c"]


def test_a_write_given_up_stops_nobody_when_its_group_is_run_again(far):
    assert together(far, put("a"), put("given-up"), hang_up_once("b"), give_up=1) == [1, None, 2]
    assert names(far) == ["a", "b"]


def test_what_is_lost_at_the_commit_is_not_run_again_and_nobody_hears_that_it_is_written(far):
    with far.alone() as alone:
        alone.script(
            "CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS $$\nBEGIN\n"
            "PERFORM pg_terminate_backend(pg_backend_pid());\nRETURN NEW;\nEND;\n$$;\n"
            "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON thing DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW WHEN (NEW.id = 'b') EXECUTE FUNCTION hang_up();"
        )
    outcomes = together(far, put("a"), put("b"))
    assert [type(outcome) for outcome in outcomes] == [DatabaseDown, DatabaseDown]
    assert together(far, put("c")) == [1]
    assert names(far) == ["c"]


def test_a_value_that_no_index_takes_fails_its_own_write_alone(far):
    """It comes as an OperationalError, like a lost connection."""
    outcomes = together(far, put("a"), put(secrets.token_hex(10_000)), put("b"))
    assert (outcomes[0], outcomes[2]) == (1, 1)
    assert "index row requires" in str(outcomes[1])
    assert names(far) == ["a", "b"]


def test_a_constraint_judged_at_the_commit_fails_its_own_write_alone(database):
    with database.alone() as alone:
        alone.script(
            THING + "\nCREATE TABLE part (id TEXT PRIMARY KEY,"
            " whole TEXT REFERENCES thing (id) DEFERRABLE INITIALLY DEFERRED);"
        )

    def part_of_nothing(tx: Transaction) -> None:
        tx.run("INSERT INTO part (id, whole) VALUES ('p', 'none')")

    good, bad, other = together(database, put("a"), part_of_nothing, put("b"))
    assert (good, other) == (1, 1)
    assert "constraint" in str(bad).lower()
    assert names(database) == ["a", "b"]


def test_readers_whose_connections_were_lost_while_they_lay_idle_read_on(far):
    async def scenario():
        await asyncio.gather(*(far.read("SELECT 1 AS one") for _ in range(8)))
        with far.alone() as alone:
            alone.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()",
                {},
            )
        return await asyncio.gather(*(far.read("SELECT 1 AS one") for _ in range(8)))

    assert [rows[0]["one"] for rows in asyncio.run(scenario())] == [1] * 8


def test_a_full_disk_is_said_without_a_word_of_the_driver_and_passes(tmp_path):
    database = open_database(f"sqlite:///{tmp_path / 'openglm.db'}")
    pages = database.write_now(lambda tx: tx.one("PRAGMA page_count"))["page_count"]
    database.write_now(lambda tx: tx.all(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(DatabaseDown) as caught:
        database.write_now(lambda tx: tx.run("CREATE TABLE thing (id TEXT PRIMARY KEY)"))
    assert "full" not in str(caught.value)
    assert isinstance(caught.value, Overloaded)  # which every dialect answers with "try again"
    database.write_now(lambda tx: tx.all("PRAGMA max_page_count = 1000000"))
    database.write_now(lambda tx: tx.run("CREATE TABLE thing (id TEXT PRIMARY KEY)"))
    database.close()


def test_a_database_that_another_process_keeps_locked_is_down_until_it_lets_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 50)
    database = open_database(f"sqlite:///{tmp_path / 'openglm.db'}")
    other = sqlite3.connect(tmp_path / "openglm.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseDown):
        database.write_now(lambda tx: tx.run("CREATE TABLE thing (id TEXT PRIMARY KEY)"))
    other.execute("ROLLBACK")
    database.write_now(lambda tx: tx.run("CREATE TABLE thing (id TEXT PRIMARY KEY)"))
    other.close()
    database.close()
