"""One archive of a data folder, taken while the platform serves, and its way back.

The database is read as of one moment (SQLite's online backup, or pg_dump) before anything else; files are
written before their rows, so whatever that moment knows is there, unless its owner deletes it meanwhile.
The archive is a tar with a manifest of checksums at its end. It holds the master key: guard it like one.
Files in a bucket (OPENGLM_BLOBS_URL) are not in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from openglm import __version__
from openglm.errors import OpenGLMError
from openglm.maas.database.migrate import FOLDER as MIGRATIONS
from openglm.maas.folder_lock import NAME as LOCK
from openglm.runtime import cache_folder

FORMAT = 1
MANIFEST = "manifest.json"
DUMP = "postgres.dump"  # not a file of the data folder: pg_restore reads it
MAX_MANIFEST = 256 << 20
_CHUNK = 1 << 20
_SQLITE = b"SQLite format 3\0"
_BESIDE_SQLITE = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive holds. `migrations` names the schema; `files` maps a path to size and SHA-256."""

    format: int
    openglm: str
    made_at: int  # ms UTC
    database: str  # "sqlite" or "postgres"
    migrations: tuple[str, ...]
    has_key: bool  # False: the master key is in the environment, and must be kept by itself
    files: dict[str, tuple[int, str]]


def backup(database_url: str, data: Path, archive: Path) -> Manifest:
    """Write `archive`, whole or not at all."""
    data, archive = data.absolute(), archive.absolute()
    if archive.exists():
        raise OpenGLMError(f"{archive} exists", hint="give each backup a name of its own")
    if archive.is_relative_to(data):
        raise OpenGLMError(f"the backup would lie inside the data folder {data}", hint="put it elsewhere")
    if not data.is_dir():
        raise OpenGLMError(f"there is no data folder {data}")
    draft = archive.with_name(archive.name + ".partial")
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".openglm-backup-", dir=archive.parent) as scratch:
            manifest = _write(database_url, data, draft, Path(scratch))
        draft.rename(archive)
    except OSError as error:
        raise OpenGLMError(f"cannot write the backup {archive}: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return manifest


def restore(archive: Path, data: Path, database_url: str | None = None) -> Manifest:
    """Unpack into an empty or missing folder: everything is checked beside it, then moved in by one rename.

    An archive of PostgreSQL also needs `database_url`, an empty database.
    """
    archive, data = archive.absolute(), data.absolute()
    _check_free(data)
    data.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{data.name}-restoring-", dir=data.parent))
    try:
        manifest = _unpack(archive, staging)
        _check_schema(manifest)
        if manifest.database == "postgres":
            _pg_restore(staging / DUMP, database_url)
            (staging / DUMP).unlink()
        for path in staging.rglob("*"):
            if path.is_file() and _is_sqlite(path):
                _check_sqlite(path)
        staging.rename(data)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise OpenGLMError(f"cannot restore {archive}: {error}", hint="nothing was put in place") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return manifest


def _write(database_url: str, data: Path, draft: Path, scratch: Path) -> Manifest:
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    files: dict[str, tuple[int, str]] = {}
    with os.fdopen(handle, "wb") as out, tarfile.open(fileobj=out, mode="w") as tar:
        if database_url.startswith("sqlite:///"):
            kind = "sqlite"
            main = Path(database_url.removeprefix("sqlite:///")).absolute()
            if not main.is_relative_to(data):
                raise OpenGLMError(f"the database {main} is not in the data folder {data}")
            if not main.exists():
                raise OpenGLMError(f"there is no database {main}", hint="start the platform once")
            _snapshot(main, scratch / "main.db")
            migrations = _migrations(scratch / "main.db")
            files[_name(main, data)] = _add(tar, _name(main, data), scratch / "main.db")
        else:
            kind, main = "postgres", None
            migrations = _pg_dump(database_url, scratch / DUMP)
            files[DUMP] = _add(tar, DUMP, scratch / DUMP)
        for path in _files(data):
            name = _name(path, data)
            if path == main or name in (MANIFEST, DUMP):
                continue
            with contextlib.suppress(FileNotFoundError):  # deleted by its owner meanwhile
                if _is_sqlite(path):
                    _snapshot(path, scratch / "other.db")
                    files[name] = _add(tar, name, scratch / "other.db")
                else:
                    files[name] = _add(tar, name, path)
        has_key = "secret.key" in files
        now = time.time_ns() // 1_000_000
        manifest = Manifest(FORMAT, __version__, now, kind, migrations, has_key, files)
        text = json.dumps(asdict(manifest)).encode()
        tar.addfile(_entry(MANIFEST, len(text)), io.BytesIO(text))
        tar.close()
        out.flush()
        os.fsync(out.fileno())
    return manifest


def _files(data: Path) -> Iterator[Path]:
    """Plain files in order; no links, sockets, lock, cache, nor what stands beside a SQLite file."""
    cache = cache_folder().absolute()
    for folder, folders, names in os.walk(data):
        folders[:] = sorted(name for name in folders if Path(folder, name) != cache)
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_symlink() or not path.is_file() or path == data / LOCK:
                continue
            stem = next((name.removesuffix(end) for end in _BESIDE_SQLITE if name.endswith(end)), None)
            if stem is None or not path.with_name(stem).exists():
                yield path


def _add(tar: tarfile.TarFile, name: str, path: Path) -> tuple[int, str]:
    """Copy one file into the archive: as long as it was when it was opened, with its checksum."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        reader = _Hashed(file)
        tar.addfile(_entry(name, size), reader)
    return size, reader.digest.hexdigest()


class _Hashed(io.RawIOBase):
    """A file that hashes what is read from it."""

    def __init__(self, file: IO[bytes]):
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        chunk = self._file.read(size)
        self.digest.update(chunk)
        return chunk


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o600, int(time.time())
    return entry


def _name(path: Path, data: Path) -> str:
    return path.relative_to(data).as_posix()


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _snapshot(source: Path, target: Path) -> None:
    """One moment of a SQLite file, however busy it is: in WAL mode one step of reading blocks nobody."""
    target.unlink(missing_ok=True)
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True, timeout=30)) as read,
            contextlib.closing(sqlite3.connect(target)) as write,
        ):
            read.backup(write)
            write.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
    except sqlite3.Error as error:
        raise OpenGLMError(f"cannot copy the database {source}: {error}") from error
    _check_sqlite(target)


def _check_sqlite(path: Path) -> None:
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        found = str(error)
    if found != "ok":
        raise OpenGLMError(f"the database {path.name} is damaged: {found}")


def _migrations(path: Path) -> tuple[str, ...]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        try:
            rows = connection.execute("SELECT name FROM migration ORDER BY name").fetchall()
        except sqlite3.Error as error:
            raise OpenGLMError(f"{path.name} is no database of a platform: {error}") from error
    return tuple(row[0] for row in rows)


def _check_free(data: Path) -> None:
    if data.is_symlink() or (data.exists() and not data.is_dir()):
        raise OpenGLMError(f"{data} is not a folder")
    if data.is_dir() and any(data.iterdir()):
        raise OpenGLMError(f"{data} is not empty", hint="restore into a new folder, then move it")
    if data.is_mount():
        raise OpenGLMError(
            f"{data} is a mount point, into which nothing can be moved in one step",
            hint="restore into a folder below it, and name that one with --data",
        )


def _unpack(archive: Path, staging: Path) -> Manifest:
    """Every file of the archive under `staging`, checked against the manifest; nothing else."""
    found: dict[str, tuple[int, str]] = {}
    text: bytes | None = None
    with tarfile.open(archive, mode="r:") as tar:
        for entry in tar:
            if text is not None or not entry.isfile():
                raise OpenGLMError(f"{archive} is no backup: unexpected entry {entry.name!r}")
            source = tar.extractfile(entry)
            assert source is not None, "a plain file has content"
            if entry.name == MANIFEST:
                if entry.size > MAX_MANIFEST:
                    raise OpenGLMError(f"{archive} is no backup: its manifest is {entry.size} bytes")
                text = source.read()
            else:
                found[entry.name] = _put(source, staging, entry.name)
    if text is None:
        raise OpenGLMError(f"{archive} has no manifest: it is cut off, or no backup")
    manifest = _read_manifest(text, archive)
    for name in sorted(manifest.files.keys() | found.keys()):
        if manifest.files.get(name) != found.get(name):
            raise OpenGLMError(
                f"{archive} is damaged: {name} is not what the manifest says", hint="use another backup"
            )
    return manifest


def _put(source: IO[bytes], staging: Path, name: str) -> tuple[int, str]:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or str(path) != name or name == ".":
        raise OpenGLMError(f"the backup holds an unsafe path {name!r}")
    target = staging / path
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    digest, size = hashlib.sha256(), 0
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    return size, digest.hexdigest()


def _read_manifest(text: bytes, archive: Path) -> Manifest:
    try:
        given = json.loads(text)
        files = {str(name): (int(size), str(digest)) for name, (size, digest) in given["files"].items()}
        manifest = Manifest(**{**given, "migrations": tuple(given["migrations"]), "files": files})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OpenGLMError(f"{archive}: the manifest cannot be read: {error}") from None
    if manifest.format != FORMAT:
        raise OpenGLMError(f"the backup has format {manifest.format}, this version reads {FORMAT}")
    return manifest


def _check_schema(manifest: Manifest) -> None:
    known = {path.stem for path in MIGRATIONS.glob("[0-9]*.sql")}
    if newer := sorted(set(manifest.migrations) - known):
        raise OpenGLMError(
            f"the backup was made by a newer version ({manifest.openglm}): it has {newer[-1]}",
            hint="install that version or a later one",
        )


def _pg_dump(url: str, target: Path) -> tuple[str, ...]:
    import psycopg

    try:
        with psycopg.connect(url) as connection:
            rows = connection.execute("SELECT name FROM migration ORDER BY name").fetchall()
    except psycopg.Error as error:
        raise OpenGLMError(f"cannot read the database: {str(error).splitlines()[0]}") from error
    _pg("pg_dump", url, "--format=custom", "--no-owner", "--no-privileges", f"--file={target}")
    return tuple(row[0] for row in rows)


def _pg_restore(dump: Path, url: str | None) -> None:
    import psycopg

    if not url or url.startswith("sqlite:"):
        raise OpenGLMError(
            "the backup is of a PostgreSQL database", hint="set OPENGLM_DATABASE_URL to an empty database"
        )
    try:
        with psycopg.connect(url) as connection:
            taken = connection.execute(
                "SELECT 1 FROM information_schema.tables WHERE table_schema = 'public' LIMIT 1"
            ).fetchone()
    except psycopg.Error as error:
        raise OpenGLMError(f"cannot reach the database: {str(error).splitlines()[0]}") from error
    if taken:
        raise OpenGLMError("the PostgreSQL database is not empty", hint="create a new one for the restore")
    name = psycopg.conninfo.conninfo_to_dict(url).get("dbname") or "postgres"
    _pg(
        "pg_restore", url, "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges",
        f"--dbname={name}", str(dump),
    )  # fmt: skip


def _pg(program: str, url: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs; the password goes by the environment, where `ps` does not show it."""
    from psycopg.conninfo import conninfo_to_dict

    found = shutil.which(program)
    if found is None:
        raise OpenGLMError(f"{program} is not installed", hint="install PostgreSQL's client programs")
    variables = {"dbname": "PGDATABASE", "passfile": "PGPASSFILE", "hostaddr": "PGHOSTADDR"}
    given: dict[str, Any] = conninfo_to_dict(url)
    environment = os.environ | {
        variables.get(name, f"PG{name.upper()}"): str(value) for name, value in given.items()
    }
    done = subprocess.run([found, *arguments], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise OpenGLMError(f"{program} failed: {last}")
