"""Every test that takes `database` runs on SQLite and on a real PostgreSQL server, started once."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from openglm.maas.database import Database, open_database


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server of our own: a Unix socket in a temporary folder, no TCP.

    The folder is not pytest's: other runs tidy and lock those, and the server has another user.
    """
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    found = shutil.which("pg_ctl")
    bin_folder = programs[-1] if programs else Path(found).parent if found else None
    assert bin_folder, "PostgreSQL is not installed; `make test` installs it (setup/packages.sh)"
    folder = Path(tempfile.mkdtemp(prefix="openglm-pg-"))
    as_user: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]

    def pg(*command: str) -> None:
        subprocess.run([*as_user, *command], check=True, capture_output=True, cwd=folder)

    data = folder / "data"
    pg(str(bin_folder / "initdb"), "-D", str(data), "-U", "openglm", "-A", "trust", "-E", "UTF8")
    options = (
        f"-k {folder} -c listen_addresses='' -c max_connections=200 -c shared_buffers=32MB"
        " -c fsync=off"  # tests kill clients and servers, never the machine
    )
    pg(str(bin_folder / "pg_ctl"), "-D", str(data), "-o", options, "-w", "-l", str(folder / "log"), "start")
    try:
        yield f"postgresql://openglm@/postgres?host={folder}"
    finally:
        pg(str(bin_folder / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder)


@contextlib.contextmanager
def database_of_ones_own(postgres: str, template: str = "template1") -> Iterator[str]:
    """The address of a copy of a database of the server, for one test: thousands would fill the disk."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        # Copying files takes half as long as logging every page, which older servers do not know.
        strategy = "STRATEGY file_copy" if connection.info.server_version >= 150_000 else ""
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} {strategy}")
        yield postgres.replace("/postgres?", f"/{name}?")
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    """The address of an empty database of one's own on the server."""
    with database_of_ones_own(postgres) as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that all migrations have run in: copying it costs a hundredth of running them."""
    path = tmp_path_factory.mktemp("template") / "openglm.db"
    open_database(f"sqlite:///{path}").close()
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres: str) -> str:
    """The name of one on the server."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE template")
    open_database(postgres.replace("/postgres?", "/template?")).close()
    return "template"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database of one's own, with nothing in its tables."""
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("sqlite_template"), tmp_path / "openglm.db")
        yield f"sqlite:///{tmp_path / 'openglm.db'}"
        return
    template = request.getfixturevalue("postgres_template")
    with database_of_ones_own(request.getfixturevalue("postgres"), template) as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = open_database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """Polls a condition until it holds, for at most a minute."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, "the condition never held"
            time.sleep(0.005)

    return wait
