"""One installation: its database, the master key that belongs to it, and the token for its first account.

The database keeps a mark of the key that it was first opened with. With another key old secrets would not
open and new ones would be sealed beside them, so nothing starts then. The set-up token is made of the key and
the installation's id: every node knows it, nothing stores it, and it opens nothing once there is an account.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from openglm.errors import OpenGLMError
from openglm.maas.database import Database, Row, Transaction
from openglm.maas.ids import new_id, wall_clock
from openglm.maas.secrets import Secrets, same


@dataclass(frozen=True, slots=True)
class Installation:
    id: str
    secrets: Secrets

    @property
    def setup_token(self) -> str:
        """Lets whoever brings it make the first account, the operator's."""
        return f"glmu_{self.secrets.mac('set-up', self.id)}"

    def is_setup_token(self, given: str | None) -> bool:
        return given is not None and same(given, self.setup_token)


def open_installation(folder: Path, database: Database) -> Installation:
    """The key of the environment or the folder, if it is the one that the database was written with. A key is
    made only for a database that knows none."""
    rows = database.read_now("SELECT id, key_mark FROM installation")
    secrets = Secrets.open(folder, make=not rows)
    row = rows[0] if rows else _mark(database, secrets)
    if not same(_key_mark(secrets, row["id"]), row["key_mark"]):
        raise OpenGLMError(
            "this database was written with another master key",
            hint="bring back its secret.key or OPENGLM_SECRET_KEY; if it is lost for good, "
            "`glm admin accept-key` goes on with the present one, and what was sealed stays shut",
        )
    return Installation(row["id"], secrets)


def accept_key(folder: Path, database: Database) -> None:
    """Go on with the present master key, whatever the database was written with."""
    secrets = Secrets.open(folder)
    row = _mark(database, secrets)
    mark = _key_mark(secrets, row["id"])
    database.write_now(lambda tx: tx.run("UPDATE installation SET key_mark = :mark", mark=mark), durable=True)


def _mark(database: Database, secrets: Secrets) -> Row:
    """The database's row, made if it has none; of two nodes that start at once, one makes it."""
    now = wall_clock()
    made = new_id("inst", now)

    def work(tx: Transaction) -> Row:
        tx.run(
            "INSERT INTO installation (only_row, id, key_mark, created_at) VALUES (1, :id, :mark, :now)"
            " ON CONFLICT DO NOTHING",
            id=made,
            mark=_key_mark(secrets, made),
            now=now,
        )
        row = tx.one("SELECT id, key_mark FROM installation")
        assert row is not None, "the row was just made"
        return row

    return database.write_now(work, durable=True)


def _key_mark(secrets: Secrets, installation_id: str) -> str:
    return secrets.mac("key mark", installation_id)
