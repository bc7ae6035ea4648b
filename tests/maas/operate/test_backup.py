"""Backups that are taken while the platform writes, and what a restore refuses."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import threading
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from openglm.cli import run
from openglm.errors import OpenGLMError
from openglm.maas import folder_lock
from openglm.maas.database import open_database
from openglm.maas.operate.backup import MANIFEST, backup, restore
from openglm.maas.secrets import Secrets


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with a database, a key, a blob and a second SQLite file."""
    folder = tmp_path / "data"
    folder.mkdir()
    Secrets.open(folder)
    (folder / "blobs" / "file").mkdir(parents=True)
    (folder / "blobs" / "file" / "file_1").write_bytes(b"\x00content" * 1000)
    (folder / "platform.toml").write_text('currency = "CNY"\n')
    open_database(url_of(folder)).close()
    with contextlib.closing(sqlite3.connect(folder / "search.db")) as other, other:
        other.execute("CREATE TABLE page (text TEXT)")
    return folder


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'openglm.db'}"


def add_org(folder: Path, name: str) -> None:
    database = open_database(url_of(folder))
    database.write_now(lambda tx: tx.run("INSERT INTO org (id, name, created_at) VALUES (:n, :n, 1)", n=name))
    database.close()


def test_a_restored_folder_holds_every_row_and_file_and_the_key(data: Path, tmp_path: Path) -> None:
    add_org(data, "acme")
    manifest = backup(url_of(data), data, tmp_path / "a.tar")
    restored = tmp_path / "new" / "data"
    assert restore(tmp_path / "a.tar", restored) == manifest
    names = {path.relative_to(restored).as_posix() for path in restored.rglob("*") if path.is_file()}
    assert names == {"openglm.db", "secret.key", "platform.toml", "search.db", "blobs/file/file_1"}
    assert (restored / "secret.key").read_bytes() == (data / "secret.key").read_bytes()
    assert (restored / "secret.key").stat().st_mode & 0o777 == 0o600
    assert (restored / "blobs/file/file_1").read_bytes() == (data / "blobs/file/file_1").read_bytes()
    database = open_database(url_of(restored))
    assert [row["name"] for row in database.read_now("SELECT name FROM org")] == ["acme"]
    database.close()
    assert (tmp_path / "a.tar").stat().st_mode & 0o777 == 0o600


def test_weights_and_the_lock_are_not_carried_even_where_the_cache_lies_in_the_folder(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENGLM_CACHE", str(data / "cache"))
    (data / "cache" / "hub").mkdir(parents=True)
    (data / "cache" / "hub" / "weights.gguf").write_bytes(b"x" * 100_000)
    held = folder_lock.take(data)
    manifest = backup(url_of(data), data, tmp_path / "a.tar")
    os.close(held)
    assert "openglm.db" in manifest.files
    assert not [name for name in manifest.files if "cache" in name or name == "lock"]


def test_a_backup_taken_during_writes_is_one_moment(data: Path, tmp_path: Path) -> None:
    database, stop = open_database(url_of(data)), threading.Event()
    written = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            name = f"n{number}"
            database.write_now(
                lambda tx, name=name: (
                    tx.run("INSERT INTO org (id, name, created_at) VALUES (:n, :n, 1)", n=name),
                    tx.run(
                        "INSERT INTO project (id, org_id, name, created_at) VALUES (:n, :n, :n, 1)", n=name
                    ),
                )
            )
            number += 1
            written.set()

    thread = threading.Thread(target=write)
    thread.start()
    written.wait(10)
    for number in range(5):
        backup(url_of(data), data, tmp_path / f"{number}.tar")
    stop.set()
    thread.join()
    database.close()
    for number in range(5):
        restore(tmp_path / f"{number}.tar", tmp_path / f"r{number}")
        with contextlib.closing(sqlite3.connect(tmp_path / f"r{number}" / "openglm.db")) as connection:
            orgs = connection.execute("SELECT count(*) FROM org").fetchone()[0]
            assert orgs > 0
            assert orgs == connection.execute("SELECT count(*) FROM project").fetchone()[0]


def test_a_changed_byte_or_a_cut_end_is_found_and_nothing_is_put_in_place(data: Path, tmp_path: Path) -> None:
    backup(url_of(data), data, tmp_path / "a.tar")
    whole = (tmp_path / "a.tar").read_bytes()
    at = whole.index(b"\x00content\x00content")
    damaged = {
        "changed": whole[: at + 5] + b"X" + whole[at + 6 :],
        "cut": whole[: len(whole) // 2],
        "no manifest": whole[: whole.rindex(MANIFEST.encode())] + bytes(1024),
        "empty": b"",
        "not a tar": b"hello" * 5000,
    }
    for name, content in damaged.items():
        (tmp_path / "b.tar").write_bytes(content)
        with pytest.raises(OpenGLMError):
            restore(tmp_path / "b.tar", tmp_path / "new")
        assert not (tmp_path / "new").exists(), name
    assert not list(tmp_path.glob(".*restoring*"))


def test_a_folder_that_holds_something_is_never_restored_over(data: Path, tmp_path: Path) -> None:
    backup(url_of(data), data, tmp_path / "a.tar")
    before = (data / "openglm.db").read_bytes()
    with pytest.raises(OpenGLMError, match="not empty"):
        restore(tmp_path / "a.tar", data)
    assert (data / "openglm.db").read_bytes() == before
    with pytest.raises(OpenGLMError, match="exists"):
        backup(url_of(data), data, tmp_path / "a.tar")
    with pytest.raises(OpenGLMError, match="inside the data folder"):
        backup(url_of(data), data, data / "a.tar")


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "a\\..\\evil"])
def test_a_path_that_leaves_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for entry, content in ((name, b"x"), (MANIFEST, b"{}")):
            info = tarfile.TarInfo(entry)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(OpenGLMError, match="unsafe path"):
        restore(tmp_path / "a.tar", tmp_path / "data")
    assert not (tmp_path / "evil").exists()


def test_a_backup_of_a_newer_version_is_refused_by_name(data: Path, tmp_path: Path) -> None:
    backup(url_of(data), data, tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as old, tarfile.open(tmp_path / "b.tar", "w") as new:
        for entry in old:
            content = old.extractfile(entry).read()  # type: ignore[union-attr]
            if entry.name == MANIFEST:
                manifest = json.loads(content)
                manifest["migrations"].append("9999_future")
                content = json.dumps(manifest).encode()
            entry.size = len(content)
            new.addfile(entry, io.BytesIO(content))
    with pytest.raises(OpenGLMError, match="9999_future"):
        restore(tmp_path / "b.tar", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def two_databases(postgres: str) -> list[str]:
    urls = []
    with psycopg.connect(postgres, autocommit=True) as connection:
        for _ in range(2):
            name = f"test_{uuid4().hex}"
            connection.execute(f"CREATE DATABASE {name}")
            urls.append(postgres.replace("/postgres?", f"/{name}?"))
    return urls


@pytest.mark.skipif(not shutil.which("pg_dump"), reason="PostgreSQL's client programs are not installed")
def test_a_postgres_backup_comes_back_into_an_empty_database_only(postgres: str, tmp_path: Path) -> None:
    urls = two_databases(postgres)
    data = tmp_path / "data"
    data.mkdir()
    Secrets.open(data)
    database = open_database(urls[0])
    database.write_now(lambda tx: tx.run("INSERT INTO org (id, name, created_at) VALUES ('o', 'acme', 1)"))
    database.close()
    manifest = backup(urls[0], data, tmp_path / "a.tar")
    assert manifest.database == "postgres"
    with pytest.raises(OpenGLMError, match="not empty"):
        restore(tmp_path / "a.tar", tmp_path / "new", urls[0])
    with pytest.raises(OpenGLMError, match="PostgreSQL"):
        restore(tmp_path / "a.tar", tmp_path / "new")
    restore(tmp_path / "a.tar", tmp_path / "new", urls[1])
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"secret.key"}
    database = open_database(urls[1])
    assert [row["name"] for row in database.read_now("SELECT name FROM org")] == ["acme"]
    database.close()


@pytest.mark.skipif(not shutil.which("pg_dump"), reason="PostgreSQL's client programs are not installed")
def test_the_command_restores_into_the_database_that_the_environment_names(
    postgres: str, tmp_path: Path, capsys, monkeypatch
) -> None:
    urls, archive, again = two_databases(postgres), str(tmp_path / "a.tar"), str(tmp_path / "again")
    (tmp_path / "password").write_text("a long and odd passphrase\n")
    monkeypatch.setenv("OPENGLM_DATABASE_URL", urls[0])
    data = ["--data", str(tmp_path / "data")]
    add = ["admin", "user", "add", "ann@example.com", "--password-file", str(tmp_path / "password")]
    assert run([*add, *data]) == 0
    assert run(["admin", "backup", archive, *data]) == 0
    monkeypatch.delenv("OPENGLM_DATABASE_URL")
    assert run(["admin", "restore", archive, "--data", again]) != 0
    assert "OPENGLM_DATABASE_URL" in capsys.readouterr().err
    monkeypatch.setenv("OPENGLM_DATABASE_URL", urls[1])
    assert run(["admin", "restore", archive, "--data", again]) == 0
    assert run(["admin", "user", "list", "--data", again]) == 0
    assert "ann@example.com" in capsys.readouterr().out
