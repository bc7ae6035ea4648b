"""Quotas: members see how their organisation stands, operators say how much there may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from openglm.maas.console.access import Body, House, Operator, Seat, seat
from openglm.maas.quotas.quota import ALL, QUOTAS, Standing
from openglm.maas.quotas.quotas import Limit

router = APIRouter()
Name = Annotated[str, Field(min_length=1, max_length=100, description=f"of {', '.join(QUOTAS)}")]
Holder = Annotated[
    str,
    Field(
        min_length=1, max_length=200, description="an organisation's or a person's id, a tier, or * for all"
    ),
]


@dataclass(frozen=True, slots=True)
class Bound:
    """One quota: what holds unless something was set, and what was."""

    name: str
    what: str
    default: int | None
    limits: tuple[Limit, ...]


class NewLimit(Body):
    name: Name
    most: Annotated[int | None, Field(ge=0, le=2**53, description="null: no bound")]
    holder: Holder = ALL


@router.get("/organisations/{org_id}/quotas", tags=["organisations"])
async def org_quotas(here: Annotated[Seat, seat("org.read")], platform: House) -> list[Standing]:
    """What the organisation has of each thing, and may have; `limit` null: no bound."""
    return list(await platform.quotas.of(here.org_id))


@router.get("/platform/quotas", tags=["limits"])
async def list_quotas(person: Operator, platform: House) -> list[Bound]:
    """All quotas. The most exact limit holds: one's own, the tier's, that for all, the default."""
    limits = await platform.quotas.list()
    return [
        Bound(name, quota.what, quota.default, tuple(one for one in limits if one.name == name))
        for name, quota in QUOTAS.items()
    ]


@router.put("/platform/quotas", tags=["limits"])
async def set_quota(body: NewLimit, person: Operator, platform: House) -> Limit:
    """Set a limit. What is there already stays, also where it is more."""
    limit = Limit(body.holder, body.name, body.most)
    await platform.quotas.set(limit, actor=person.actor)
    return limit


@router.delete("/platform/quotas", tags=["limits"], status_code=204)
async def remove_quota(
    person: Operator,
    platform: House,
    name: Annotated[str, Query(max_length=100)],
    holder: Annotated[str, Query(max_length=200)] = ALL,
) -> None:
    """Remove a limit that was set."""
    await platform.quotas.remove(holder, name, actor=person.actor)


@router.get("/platform/organisations/{org_id}/quotas", tags=["limits"])
async def quotas_of(org_id: str, person: Operator, platform: House) -> list[Standing]:
    """How any organisation stands."""
    return list(await platform.quotas.of((await platform.accounts.org(org_id)).id))
