"""`glm admin` over organisations, and the audit log."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from openglm.commands.admin import admin, org
from openglm.commands.office import Office, moment, org_of

if TYPE_CHECKING:
    from openglm.maas.platform import Platform

Which = Annotated[str, Parameter(help="id or name")]


@org.command(name="list")
def list_orgs(*, office: Office = Office()) -> None:
    """List all organisations."""

    async def work(platform: Platform) -> None:
        rows, after = [], ""
        while page := await platform.accounts.orgs(after=after):
            rows += [asdict(one) for one in page]
            after = page[-1].id
        office.show(rows, ("name", "tier", "is_disabled", "id"))

    office.run(work)


@org.command(name="tier")
def set_tier(name: Which, tier: str, /, *, office: Office = Office()) -> None:
    """Put an organisation under the limits of a tier; `glm admin limit` says what they are."""

    async def work(platform: Platform) -> None:
        await platform.accounts.set_tier((await org_of(platform, name)).id, tier)

    office.run(work)


@org.command(name="disable")
def disable_org(name: Which, /, *, office: Office = Office()) -> None:
    """Stop all keys of an organisation, and what runs on in their name. Nothing is deleted."""

    async def work(platform: Platform) -> None:
        await platform.accounts.disable_org((await org_of(platform, name)).id)

    office.run(work)


@org.command(name="enable")
def enable_org(name: Which, /, *, office: Office = Office()) -> None:
    """Let an organisation's keys work again."""

    async def work(platform: Platform) -> None:
        await platform.accounts.enable_org((await org_of(platform, name)).id)

    office.run(work)


@admin.command(name="audit")
def audit(
    *,
    org: Annotated[str | None, Parameter(help="one organisation's rows; default: all")] = None,
    limit: Annotated[int, Parameter(help="how many rows")] = 50,
    after: Annotated[str | None, Parameter(help="id of the last row of an earlier page")] = None,
    office: Office = Office(),
) -> None:
    """Show who did what, newest first."""

    async def work(platform: Platform) -> None:
        if org is None:
            page = await platform.audit.page_of_platform(after=after, limit=limit)
        else:
            page = await platform.audit.page((await org_of(platform, org)).id, after=after, limit=limit)
        rows = [
            {**asdict(row), "time": moment(row.at), "actor": row.actor_id or "machine"} for row in page.rows
        ]
        office.show(rows, ("time", "actor", "ip", "action", "target", "details", "id"))

    office.run(work)
