"""For operators: all users and organisations."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from openglm.maas.console.access import Body, House, Operator
from openglm.maas.console.money import Amount, Money, Once, Subscribe, add_subscription, money, positive
from openglm.maas.identity.people import Org, SignedUp, User
from openglm.maas.money.subscriptions import Subscription

router = APIRouter(tags=["people"], prefix="/platform")
After = Annotated[str, Query(max_length=100, description="id of the last row of an earlier page")]
Count = Annotated[int, Query(ge=1, le=500)]


class NewUser(Body):
    email: str
    name: str
    password: str


class UserSwitches(Body):
    is_disabled: bool | None = None
    is_operator: bool | None = None


class Password(Body):
    password: str


class OrgSwitches(Body):
    tier: Annotated[str | None, Field(max_length=100)] = None
    is_disabled: bool | None = None


class TopUp(Body):
    amount: Amount
    once: Once
    memo: Annotated[str, Field(max_length=500)] = ""


@router.get("/users")
async def list_users(person: Operator, platform: House, after: After = "", limit: Count = 100) -> list[User]:
    """All users, oldest first."""
    return list(await platform.accounts.users(after=after, limit=limit))


@router.post("/users", status_code=201)
async def add_user(body: NewUser, person: Operator, platform: House) -> SignedUp:
    """Add a user with an organisation of their own, whatever strangers may do."""
    return await platform.accounts.add(body.email, body.password, body.name, actor=person.actor)


@router.patch("/users/{user_id}")
async def switch_user(user_id: str, body: UserSwitches, person: Operator, platform: House) -> User:
    """Disable or enable a user, make them an operator or not. One operator stays."""
    accounts = platform.accounts
    if body.is_operator is not None:
        await accounts.set_operator(user_id, body.is_operator, actor=person.actor)
    if body.is_disabled is not None:
        switch = accounts.disable_user if body.is_disabled else accounts.enable_user
        await switch(user_id, actor=person.actor)
    return await accounts.user(user_id)


@router.post("/users/{user_id}/password", status_code=204)
async def reset_password(user_id: str, body: Password, person: Operator, platform: House) -> None:
    """Give a user a new password; all their sessions end."""
    await platform.accounts.reset_password(user_id, body.password, actor=person.actor)


@router.get("/organisations")
async def list_orgs(person: Operator, platform: House, after: After = "", limit: Count = 100) -> list[Org]:
    """All organisations, oldest first."""
    return list(await platform.accounts.orgs(after=after, limit=limit))


@router.patch("/organisations/{org_id}")
async def switch_org(org_id: str, body: OrgSwitches, person: Operator, platform: House) -> Org:
    """Give an organisation another tier, or stop and restart all its keys."""
    accounts = platform.accounts
    if body.tier is not None:
        await accounts.set_tier(org_id, body.tier, actor=person.actor)
    if body.is_disabled is not None:
        switch = accounts.disable_org if body.is_disabled else accounts.enable_org
        await switch(org_id, actor=person.actor)
    return await accounts.org(org_id)


@router.post("/organisations/{org_id}/top-up")
async def top_up(org_id: str, body: TopUp, person: Operator, platform: House) -> Money:
    """Book money that has come in some other way."""
    await platform.accounts.org(org_id)
    balance = await platform.wallet.top_up(
        org_id, positive(body.amount), idempotency_key=body.once, memo=body.memo, actor=person.actor
    )
    return money(platform, balance)


@router.post("/organisations/{org_id}/subscriptions", status_code=201)
async def give_plan(org_id: str, body: Subscribe, person: Operator, platform: House) -> Subscription:
    """Subscribe an organisation to a plan; its price, if it has one, is taken from its wallet."""
    await platform.accounts.org(org_id)
    return await add_subscription(platform, org_id, body, person.actor)
