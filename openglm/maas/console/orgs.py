"""Organisations, their members, invitations and projects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from openglm.maas.console.access import Body, House, Seat, SignedIn, seat
from openglm.maas.identity.invitations import Invitation
from openglm.maas.identity.people import Member, Org, Project
from openglm.maas.identity.roles import Role
from openglm.maas.limits import Rule

router = APIRouter(tags=["organisations"])
Reader = Annotated[Seat, seat("org.read")]
Inviter = Annotated[Seat, seat("members.write")]
Builder = Annotated[Seat, seat("projects.write")]


class Name(Body):
    name: str


class ProjectChange(Body):
    name: str | None = None
    body_days: Annotated[int | None, Field(ge=0, le=90)] = None


class NewRole(Body):
    role: Role


class Invite(Body):
    email: str
    role: Role


@dataclass(frozen=True, slots=True)
class Invited:
    """`token` is shown here and never again: hand it to whom you invite."""

    id: str
    token: str
    expires_at: int


@router.post("/organisations", status_code=201)
async def create_org(body: Name, platform: House, person: SignedIn) -> Org:
    """Found an organisation; who does owns it."""
    return await platform.accounts.create_org(body.name, person.user.id, actor=person.actor)


@router.get("/organisations/{org_id}")
async def get_org(here: Reader, platform: House) -> Org:
    """One organisation of one's own."""
    return await platform.accounts.org(here.org_id)


@router.patch("/organisations/{org_id}")
async def rename_org(body: Name, here: Annotated[Seat, seat("org.edit")], platform: House) -> Org:
    """Rename it."""
    await platform.accounts.rename_org(here.org_id, body.name, actor=here.actor)
    return await platform.accounts.org(here.org_id)


@router.get("/organisations/{org_id}/limits")
async def list_limits(here: Reader, platform: House) -> list[Rule]:
    """How much the organisation, and each of its keys, may ask at once and in a minute."""
    tier = (await platform.accounts.org(here.org_id)).tier
    return [rule for rule in await platform.limits.rules.list() if rule.tier in (tier, "*")]


@router.get("/organisations/{org_id}/members")
async def list_members(here: Annotated[Seat, seat("members.read")], platform: House) -> list[Member]:
    """Who belongs to it."""
    return list(await platform.accounts.members(here.org_id))


@router.patch("/organisations/{org_id}/members/{user_id}", status_code=204)
async def change_role(user_id: str, body: NewRole, here: Inviter, platform: House) -> None:
    """Give a member another role. Only owners make and unmake owners; one owner stays."""
    await platform.accounts.set_role(here.org_id, user_id, body.role, by=here.actor)


@router.delete("/organisations/{org_id}/members/{user_id}", status_code=204)
async def remove_member(user_id: str, here: Reader, platform: House) -> None:
    """Take a member out, or leave oneself; keys that belong to them stop."""
    await platform.accounts.remove_member(here.org_id, user_id, by=here.actor)


@router.get("/organisations/{org_id}/invitations")
async def list_invitations(here: Inviter, platform: House) -> list[Invitation]:
    """Invitations that can still be accepted."""
    return list(await platform.accounts.open_invitations(here.org_id))


@router.post("/organisations/{org_id}/invitations", status_code=201)
async def invite(body: Invite, here: Inviter, platform: House) -> Invited:
    """Invite an address."""
    made = await platform.accounts.invite(here.org_id, body.email, body.role, by=here.actor)
    return Invited(made.id, made.token, made.expires_at)


@router.delete("/organisations/{org_id}/invitations/{invitation_id}", status_code=204)
async def withdraw(invitation_id: str, here: Inviter, platform: House) -> None:
    """Take an invitation back."""
    await platform.accounts.withdraw(here.org_id, invitation_id, actor=here.actor)


@router.get("/organisations/{org_id}/projects")
async def list_projects(here: Reader, platform: House) -> list[Project]:
    """Its projects; archived ones too."""
    return list(await platform.projects.list(here.org_id))


@router.post("/organisations/{org_id}/projects", status_code=201)
async def create_project(body: Name, here: Builder, platform: House) -> Project:
    """Begin a project."""
    return await platform.projects.create(here.org_id, body.name, actor=here.actor)


@router.patch("/organisations/{org_id}/projects/{project_id}")
async def change_project(project_id: str, body: ProjectChange, here: Builder, platform: House) -> Project:
    """Rename a project, or say for how many days its whole requests are kept (0: not at all)."""
    if body.name is not None:
        await platform.projects.rename(here.org_id, project_id, body.name, actor=here.actor)
    if body.body_days is not None:
        await platform.projects.keep_bodies(here.org_id, project_id, body.body_days, actor=here.actor)
    return await platform.projects.get(here.org_id, project_id)


@router.delete("/organisations/{org_id}/projects/{project_id}", status_code=204)
async def archive_project(project_id: str, here: Builder, platform: House) -> None:
    """Archive a project: its keys stop, its usage and bills stay."""
    await platform.projects.archive(here.org_id, project_id, actor=here.actor)
