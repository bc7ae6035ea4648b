"""A database from before quotas: what lies in it is counted when the tables of counts are made."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from openglm.maas.database import Database
from openglm.maas.database.connection import PostgresConnection, SqliteConnection
from openglm.maas.database.migrate import FOLDER, migrate

NEW = "0020_stored"
BEFORE = (
    "INSERT INTO app_user (id, email, name, created_at) VALUES ('user_a', 'a', 'a', 1)",
    "INSERT INTO org (id, name, created_at) VALUES ('org_a', 'a', 1)",
    "INSERT INTO member (org_id, user_id, role, created_at) VALUES ('org_a', 'user_a', 'owner', 1)",
    "INSERT INTO quota (tier, name, most) VALUES ('gold', 'files', 3)",
    "INSERT INTO file (id, org_id, project_id, purpose, name, bytes, created_at)"
    " VALUES ('f1', 'org_a', 'p', 'agent', 'n', 10, 1), ('f2', 'org_a', 'p', 'agent', 'n', 5, 1)",
    "INSERT INTO knowledge_document (id, knowledge_id, org_id, caller, name, separators, bytes, word_num,"
    " created_at) VALUES ('d1', 'k', 'org_a', '', 'n', '', 7, 4, 1)",
    "INSERT INTO response (id, org_id, node_id, status, body, items, expires_at)"
    " VALUES ('r1', 'org_a', 'n', 'completed', 'four', 'six666', 1)",
)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_what_was_there_before_is_counted(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if kind == "sqlite":
        database = Database("sqlite", lambda reader: SqliteConnection(tmp_path / "old.db", read_only=reader))
    else:
        url = request.getfixturevalue("postgres_url")
        database = Database("postgres", lambda reader: PostgresConnection(url))
    older = tmp_path / "older"
    shutil.copytree(FOLDER, older)
    (older / f"{NEW}.sql").unlink()
    try:
        migrate(database, older)
        for statement in BEFORE:
            database.write_now(lambda tx, statement=statement: tx.run(statement))
        assert migrate(database) == [NEW]
        rows = database.read_now("SELECT kind, number, bytes, characters FROM stored ORDER BY kind")
        assert [tuple(dict(row).values()) for row in rows] == [
            ("document", 1, 7, 4),
            ("file", 2, 15, 0),
            ("response", 1, 10, 0),
        ]
        (founded,) = database.read_now("SELECT founder FROM org")
        (limit,) = database.read_now("SELECT holder FROM quota")
        assert (founded["founder"], limit["holder"]) == ("user_a", "gold")
    finally:
        database.close()
