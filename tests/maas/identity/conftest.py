"""A clock that tests turn by hand, and the parts of identity on a database of their own."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from openglm.maas.database import Database
from openglm.maas.identity import Accounts, Audit, Keys, Projects, Sessions
from openglm.maas.identity.passwords import Passwords
from openglm.maas.secrets import Secrets

PASSWORD = "correct horse battery"


class Time:
    """The wall clock in ms, and the monotonic one in seconds beside it."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000
        self.ticks = 50.0

    def __call__(self) -> int:
        return self.ms

    def pass_s(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)
        self.ticks += seconds


@dataclass
class World:
    database: Database
    time: Time
    secrets: Secrets
    keys: Keys
    accounts: Accounts
    projects: Projects
    sessions: Sessions
    audit: Audit

    def with_sign_up(self, word) -> Accounts:
        return Accounts(self.database, sign_up=word, passwords=Passwords(memory_kib=64), clock=self.time)

    async def person(self, name: str):
        """Sign up `name` with an organisation of their own."""
        return await self.accounts.sign_up(
            f"{name}@example.org", PASSWORD, name, is_founder=True, ip=f"ip-of-{name}"
        )

    async def key(self, person, **scopes) -> str:
        made = await self.keys.create(person.org_id, person.project_id, "k", **scopes)
        return made.key


@pytest.fixture
def world(database: Database) -> World:
    time, secrets = Time(), Secrets(b"m" * 32)
    keys = Keys(database, secrets, clock=time, ticks=lambda: time.ticks)
    accounts = Accounts(database, passwords=Passwords(memory_kib=64), changed=keys.forget, clock=time)
    sessions = Sessions(database, secrets, clock=time)
    projects = Projects(database, changed=keys.forget, clock=time)
    return World(database, time, secrets, keys, accounts, projects, sessions, Audit(database))
