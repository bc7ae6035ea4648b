"""What `glm admin` works on: the parts of a platform over its data folder, without serving anybody.

Safe beside a running server, which sees changes within seconds. Answers are tables, or JSON with --json.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import Parameter

from openglm.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from openglm.maas.identity.people import Org, User
    from openglm.maas.platform import Platform
    from openglm.maas.settings import Settings

T = TypeVar("T")


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """Where to work, and how to answer."""

    data: Annotated[Path | None, Parameter(help="the platform's data folder; default: $OPENGLM_DATA")] = None
    json_: Annotated[bool, Parameter(name="--json", negative=(), help="print JSON")] = False

    def settings(self, *, begins: bool = False) -> Settings:
        """Of the platform in the folder, which must be there: in a mistyped one nothing is made, unless the
        command `begins` a platform."""
        from openglm.maas.settings import default_data_folder, read_settings

        folder = (self.data or default_data_folder()).expanduser().absolute()
        settings = read_settings(folder, make=begins)
        database = settings.database.removeprefix("sqlite:///")
        if not begins and database != settings.database and not Path(database).exists():
            raise NotFound(
                f"there is no platform in {folder}",
                hint="name its folder with --data or $OPENGLM_DATA; glm up or glm admin user add begins one",
            )
        return settings

    def run(self, work: Callable[[Platform], Awaitable[T]], *, begins: bool = False) -> T:
        """Do it with the platform's parts. Nothing is served, no model is loaded."""
        from openglm import logs
        from openglm.maas.platform import Platform

        settings = self.settings(begins=begins)

        logs.to_stderr()

        async def working() -> T:
            platform = Platform(settings, serves=False)
            try:
                return await work(platform)
            finally:
                await platform.close()

        return asyncio.run(working())

    def show(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """Rows as a table with these columns; as JSON, whole."""
        if self.json_:
            print(json.dumps([dict(row) for row in rows], default=str, ensure_ascii=False))
            return
        cells = [[name.upper() for name in columns]]
        cells += [["" if row[name] is None else str(row[name]) for name in columns] for row in rows]
        widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
        for line in cells:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())

    def say(self, values: Mapping[str, Any]) -> None:
        """One thing that was done: a line for each value."""
        if self.json_:
            print(json.dumps(dict(values), default=str, ensure_ascii=False))
            return
        for name, value in values.items():
            print(f"{name}: {value}")


async def org_of(platform: Platform, wanted: str | None) -> Org:
    """An organisation by id or name; without a word, the only one."""
    from openglm.maas import household

    found: list[Org] = []
    after = ""
    while page := await platform.accounts.orgs(after=after):
        found += [org for org in page if org.id != household.ORG or wanted == household.ORG]
        after = page[-1].id
    chosen = [org for org in found if wanted is None or wanted in (org.id, org.name)]
    if len(chosen) == 1:
        return chosen[0]
    if not found:
        raise NotFound("there is no organisation yet", hint="glm admin user add EMAIL makes the first one")
    known = ", ".join(f"{org.name} ({org.id})" for org in found[:20])
    if not chosen:
        raise NotFound(f"there is no organisation {wanted!r}; known: {known}")
    raise InvalidRequest(f"say which organisation with --org: {known}", param="org")


async def user_of(platform: Platform, email: str) -> User:
    from openglm.maas.identity.names import clean_email

    wanted, after = clean_email(email), ""
    while page := await platform.accounts.users(after=after):
        for user in page:
            if user.email == wanted:
                return user
        after = page[-1].id
    raise NotFound(f"there is no user {email!r}")


def moment(time_ms: int | None) -> str:
    return "" if time_ms is None else f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M}"
