"""API keys in the console. Developers see and make their own; admins everybody's, and those of nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from openglm.errors import NotFound
from openglm.maas.console.access import Body, House, Seat, seat
from openglm.maas.identity.caller import ENDPOINTS
from openglm.maas.identity.keys import Key
from openglm.maas.identity.roles import PERMISSIONS
from openglm.maas.money.amounts import nano

router = APIRouter(tags=["keys"], prefix="/organisations/{org_id}")
Holder = Annotated[Seat, seat("keys.own")]
Names = Annotated[list[str], Field(max_length=200, default_factory=list)]


class Scope(Body):
    """What a key may do; empty lists allow everything."""

    name: str
    models: Names
    endpoints: Annotated[
        list[str], Field(max_length=200, default_factory=list, description=f"of {', '.join(ENDPOINTS)}")
    ]
    cidrs: Names
    expires_at: Annotated[int | None, Field(ge=0, le=2**53, description="ms UTC; null: never")] = None


class NewKey(Scope):
    project_id: str
    personal: bool = True  # ends with one's membership
    budget: Annotated[str | None, Field(description="of the currency, as 12.50; null: no budget")] = None
    budget_period: str = "month"


@dataclass(frozen=True, slots=True)
class Made:
    """`key` is shown here and never again."""

    id: str
    key: str


@router.get("/keys")
async def list_keys(here: Holder, platform: House) -> list[Key]:
    """One's own keys; for admins all keys."""
    mine = None if _rules(here) else here.user_id
    return list(await platform.keys.list(here.org_id, user_id=mine))


@router.post("/keys", status_code=201)
async def create_key(body: NewKey, here: Holder, platform: House) -> Made:
    """Make a key."""
    if not body.personal:
        here.member.may("keys.write")
    limit = None if body.budget is None else nano(body.budget, param="budget")
    if limit is not None:
        platform.budgets.check(body.budget_period, limit)
    made = await platform.keys.create(
        here.org_id,
        body.project_id,
        body.name,
        user_id=here.user_id if body.personal else None,
        models=body.models,
        endpoints=body.endpoints,
        cidrs=body.cidrs,
        expires_at_ms=body.expires_at,
        actor=here.actor,
    )
    if limit is not None:
        await platform.budgets.set(here.org_id, "key", made.id, body.budget_period, limit, actor=here.actor)
    return Made(made.id, made.key)


@router.put("/keys/{key_id}")
async def change_key(key_id: str, body: Scope, here: Holder, platform: House) -> Key:
    """Rename a key and change what it may do."""
    await _mine(platform, here, key_id)
    given = body.model_dump()
    expires = given.pop("expires_at")
    await platform.keys.change(here.org_id, key_id, **given, expires_at_ms=expires, actor=here.actor)
    return await platform.keys.get(here.org_id, key_id)


@router.delete("/keys/{key_id}", status_code=204)
async def revoke_key(key_id: str, here: Holder, platform: House) -> None:
    """End a key for good."""
    await _mine(platform, here, key_id)
    await platform.keys.revoke(here.org_id, key_id, actor=here.actor)


def _rules(here: Seat) -> bool:
    return "keys.write" in PERMISSIONS[here.member.role]


async def _mine(platform: House, here: Seat, key_id: str) -> None:
    key = await platform.keys.get(here.org_id, key_id)
    if not _rules(here) and key.user_id != here.user_id:
        raise NotFound(f"no API key {key_id[:80]!r} here")
