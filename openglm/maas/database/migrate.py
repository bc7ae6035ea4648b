"""Numbered migrations, run in order, each once, each in a transaction of its own.

A migration is a file `migrations/NNNN_name.sql`. Statements end with a semicolon at the end of a line; a
statement that only one database understands stands between `-- sqlite` or `-- postgres` and `-- both`.
They are append-only: what has run anywhere is never edited. Numbers order, they do not count: gaps mean
nothing, and one that arrives after higher ones runs when it arrives, so it may build on lower ones alone.
"""

from __future__ import annotations

import time
from pathlib import Path

from openglm.errors import OpenGLMError
from openglm.maas.database.connection import Connection
from openglm.maas.database.database import Database, Kind

FOLDER = Path(__file__).parent / "migrations"
_LOCK = 0x676C6D  # PostgreSQL: one node migrates, the others wait


def migrate(database: Database, folder: Path = FOLDER) -> list[str]:
    """Run what has not run yet; returns the names. A database from a newer version is refused."""
    files = sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    known = {path.stem for path in files}
    with database.alone() as connection:
        connection.script(
            "CREATE TABLE IF NOT EXISTS migration (name TEXT PRIMARY KEY, run_at BIGINT NOT NULL);"
        )
        if database.kind == "postgres":
            connection.rows(f"SELECT pg_advisory_lock({_LOCK})", {})
        done = {row["name"] for row in connection.rows("SELECT name FROM migration", {})}
        if newer := sorted(done - known):
            raise OpenGLMError(
                f"the database was made by a newer version: it has {newer[-1]}",
                hint="install that version or a later one, or restore a backup made before it",
            )
        return [_run(connection, path, database.kind) for path in files if path.stem not in done]


def _run(connection: Connection, path: Path, kind: Kind) -> str:
    connection.begin(durable=True)
    try:
        # Another process may have run it between our look and our lock.
        if not connection.rows("SELECT 1 FROM migration WHERE name = :name", {"name": path.stem}):
            connection.script(for_kind(path.read_text(encoding="utf-8"), kind))
            connection.run(
                "INSERT INTO migration (name, run_at) VALUES (:name, :now)",
                {"name": path.stem, "now": int(time.time() * 1000)},
            )
        connection.run("COMMIT", {})
    except BaseException:
        connection.run("ROLLBACK", {})
        raise
    return path.stem


def for_kind(script: str, kind: Kind) -> str:
    """The lines of a migration that are meant for one kind of database."""
    lines: list[str] = []
    only: str | None = None
    for line in script.splitlines():
        word = line.strip().removeprefix("--").strip()
        if line.startswith("--"):
            if word in ("sqlite", "postgres"):
                only = word
            elif word == "both":
                only = None
            continue
        if only in (None, kind):
            lines.append(line)
    return "\n".join(lines)
