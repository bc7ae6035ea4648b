"""One face, two databases: groups, savepoints, readers, migrations."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path

import pytest

from openglm.errors import InvalidRequest, OpenGLMError, Overloaded
from openglm.maas.database import Database, Transaction, open_database
from openglm.maas.database.connection import percent, statements
from openglm.maas.database.migrate import FOLDER, for_kind, migrate


@pytest.fixture
def table(database: Database) -> Database:
    with database.alone() as connection:
        connection.script("CREATE TABLE thing (id TEXT PRIMARY KEY, size BIGINT NOT NULL, data BLOB);")
    return database


def put(name: str, size: int = 1):
    return lambda tx: tx.run("INSERT INTO thing (id, size) VALUES (:id, :size)", id=name, size=size)


def test_a_write_is_seen_by_the_next_read(table):
    async def scenario():
        await table.write(put("a", 2**62))
        return await table.read_one("SELECT size FROM thing WHERE id = :id", id="a")

    assert asyncio.run(scenario())["size"] == 2**62


def test_a_write_that_fails_is_undone_and_its_neighbours_in_the_group_are_kept(table):
    def half_way(tx: Transaction) -> None:
        put("lost")(tx)
        raise InvalidRequest("no")

    async def scenario():
        works = [put("a"), half_way, put("b"), put("a"), put("c")]
        return await asyncio.gather(*(table.write(work) for work in works), return_exceptions=True)

    outcomes = asyncio.run(scenario())
    assert isinstance(outcomes[1], InvalidRequest)
    assert isinstance(outcomes[3], Exception)  # the name is taken
    assert [row["id"] for row in table.read_now("SELECT id FROM thing ORDER BY id")] == ["a", "b", "c"]


def test_writes_from_many_threads_all_arrive(table):
    def work(number: int) -> None:
        for index in range(50):
            table.write_now(put(f"{number}-{index}"), durable=index % 2 == 0)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert table.read_now("SELECT count(*) AS n FROM thing")[0]["n"] == 400


def test_a_write_given_up_before_its_turn_does_not_run_and_stops_nobody(table):
    gate = threading.Event()

    async def scenario():
        slow = asyncio.ensure_future(table.write(lambda tx: gate.wait()))
        await asyncio.sleep(0)
        given_up = asyncio.ensure_future(table.write(put("given-up")))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait([given_up])
        gate.set()
        await slow
        await table.write(put("next"))
        return [row["id"] for row in await table.read("SELECT id FROM thing")]

    assert asyncio.run(asyncio.wait_for(scenario(), 20)) == ["next"]


def test_writes_go_on_beside_a_long_reader(table):
    for index in range(200):
        table.write_now(put(f"{index:03}"))

    async def scenario():
        product = "SELECT count(*) AS n FROM thing a, thing b, thing c WHERE a.size + b.size + c.size = 3"
        reading = asyncio.create_task(table.read(product))
        await asyncio.gather(*(table.write(put(f"x{index}")) for index in range(1000)))
        return (await reading)[0]["n"]

    assert asyncio.run(scenario()) >= 200**3


def test_what_was_handed_in_before_closing_is_written(database_url):
    database = open_database(database_url)
    with database.alone() as connection:
        connection.script("CREATE TABLE thing (id TEXT PRIMARY KEY, size BIGINT NOT NULL, data BLOB);")
    futures = [database.submit(put(str(index))) for index in range(500)]
    database.close()
    assert all(future.done() and future.exception() is None for future in futures)
    with pytest.raises(Overloaded):
        database.submit(put("late"))
    again = open_database(database_url)
    assert again.read_now("SELECT count(*) AS n FROM thing")[0]["n"] == 500
    again.close()


def test_two_processes_worth_of_writers_share_one_database(table, database_url):
    other = open_database(database_url)
    futures = [side.submit(put(f"{index}")) for index, side in enumerate([table, other] * 200)]
    assert all(future.result() == 1 for future in futures)
    other.close()


def test_migrations_run_once_and_a_newer_database_is_refused(database, tmp_path):
    folder = tmp_path / "migrations"
    folder.mkdir()
    for path in (Path(__file__).parents[3] / "openglm/maas/database/migrations").glob("*.sql"):
        (folder / path.name).write_text(path.read_text())
    (folder / "9001_later.sql").write_text("CREATE TABLE later (id TEXT PRIMARY KEY);\n")
    assert migrate(database, folder) == ["9001_later"]
    assert migrate(database, folder) == []
    with pytest.raises(OpenGLMError, match="newer version"):
        migrate(database)


def test_gaps_in_the_numbers_mean_nothing_and_a_late_lower_number_runs_when_it_comes(database, tmp_path):
    folder = tmp_path / "migrations"
    shutil.copytree(FOLDER, folder)
    (folder / "9003_later.sql").write_text("CREATE TABLE later (x BIGINT);\n")
    assert migrate(database, folder) == ["9003_later"]
    (folder / "9001_late.sql").write_text("CREATE TABLE late (x BIGINT);\n")
    assert migrate(database, folder) == ["9001_late"]
    assert migrate(database, folder) == []
    assert database.read_now("SELECT * FROM late") == database.read_now("SELECT * FROM later") == []


def test_no_two_migrations_have_one_number():
    numbers = [path.name.partition("_")[0] for path in FOLDER.glob("*.sql")]
    assert len(set(numbers)) == len(numbers)


def test_a_migration_that_fails_leaves_nothing_behind(database, tmp_path):
    folder = tmp_path / "migrations"
    folder.mkdir()
    for path in (Path(__file__).parents[3] / "openglm/maas/database/migrations").glob("*.sql"):
        (folder / path.name).write_text(path.read_text())
    broken = folder / "9001_broken.sql"
    broken.write_text("CREATE TABLE half (id TEXT PRIMARY KEY);\nCREATE NONSENSE;\n")
    with pytest.raises(Exception, match=r"(?i)nonsense|syntax"):
        migrate(database, folder)
    broken.write_text("CREATE TABLE half (id TEXT PRIMARY KEY);\n")
    assert migrate(database, folder) == ["9001_broken"]


def test_an_unknown_address_says_what_is_expected():
    with pytest.raises(OpenGLMError, match="sqlite:///FILE or postgresql"):
        open_database("mysql://somewhere")


def test_parameters_are_respelled_and_casts_and_percents_kept():
    assert percent("SELECT :a::text, '50%' WHERE b = :b_1") == "SELECT %(a)s::text, '50%%' WHERE b = %(b_1)s"


def test_a_script_keeps_trigger_bodies_whole():
    script = (
        "CREATE TABLE a (x TEXT);\nCREATE TRIGGER t AFTER INSERT ON a BEGIN\n  SELECT 1;\nEND;\nSELECT 2;"
    )
    assert len(statements(script)) == 3


def test_lines_for_the_other_database_are_left_out():
    script = "A;\n-- sqlite\nB;\n-- postgres\nC;\n-- both\nD;"
    assert for_kind(script, "sqlite").split() == ["A;", "B;", "D;"]
    assert for_kind(script, "postgres").split() == ["A;", "C;", "D;"]
