"""`glm admin quota`: how much of each thing a tenant may have."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from openglm.commands.admin import admin
from openglm.commands.office import Office, org_of, user_of
from openglm.errors import InvalidRequest

if TYPE_CHECKING:
    from openglm.maas.platform import Platform

quota = App(
    "quota",
    "Files, bytes, keys, documents … that a tenant may have; the most exact limit holds.",
    help_format="plaintext",
)
admin.command(quota)

Name = Annotated[str, Parameter(help="files, file_bytes, keys …; glm admin quota list shows all")]
OneOrg = Annotated[str | None, Parameter(help="one organisation's: id or name")]
OneTier = Annotated[str | None, Parameter(help="that of all organisations of a tier")]
OnePerson = Annotated[str | None, Parameter(help="one person's, by e-mail: for the quota organisations")]
UNITS = {"": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}


@quota.command(name="set")
def set_quota(
    name: Name,
    most: Annotated[str, Parameter(help="a number, for bytes also as 50GiB; none: no bound")],
    /,
    *,
    org: OneOrg = None,
    tier: OneTier = None,
    user: OnePerson = None,
    office: Office = Office(),
) -> None:
    """Set a limit: for one organisation, for a tier, or for all. What is there already stays."""
    wanted = amount(most)

    async def work(platform: Platform) -> None:
        from openglm.maas.quotas.quotas import Limit, known

        limit = Limit(await holder_of(platform, org, tier, user), known(name), wanted)
        await platform.quotas.set(limit)
        office.say(asdict(limit))

    office.run(work)


@quota.command(name="list")
def list_quotas(*, org: OneOrg = None, office: Office = Office()) -> None:
    """List all limits and defaults; with --org what one organisation has, and may have."""

    async def work(platform: Platform) -> None:
        from openglm.maas.quotas.quota import QUOTAS

        if org is not None:
            found = await platform.quotas.of((await org_of(platform, org)).id)
            office.show([asdict(one) for one in found], ("name", "used", "limit", "what"))
            return
        limits = await platform.quotas.list()
        rows = []
        for name, quota in QUOTAS.items():
            rows.append({"name": name, "holder": "default", "most": quota.default, "what": quota.what})
            rows += [{**asdict(one), "what": quota.what} for one in limits if one.name == name]
        office.show(rows, ("name", "holder", "most", "what"))

    office.run(work)


@quota.command(name="remove")
def remove_quota(
    name: Name,
    /,
    *,
    org: OneOrg = None,
    tier: OneTier = None,
    user: OnePerson = None,
    office: Office = Office(),
) -> None:
    """Remove a limit that was set, back to what holds without it."""

    async def work(platform: Platform) -> None:
        await platform.quotas.remove(await holder_of(platform, org, tier, user), name)

    office.run(work)


def amount(text: str) -> int | None:
    """A number as people write it; None is no bound."""
    if text == "none":
        return None
    found = re.fullmatch(r"(\d{1,16}) ?(|KiB|MiB|GiB|TiB)", text)
    if found is None:
        raise InvalidRequest(f"a quota must be a number, as 500 or 50GiB, or none; got {text[:40]!r}")
    return int(found[1]) << UNITS[found[2]]


async def holder_of(platform: Platform, org: str | None, tier: str | None, user: str | None) -> str:
    from openglm.maas.quotas.quota import ALL

    if sum(one is not None for one in (org, tier, user)) > 1:
        raise InvalidRequest("name one of --org, --tier and --user", hint="without any it is for all")
    if org is not None:
        return (await org_of(platform, org)).id
    if user is not None:
        return (await user_of(platform, user)).id
    return tier or ALL
