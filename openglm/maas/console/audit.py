"""The audit log in the console: an organisation's for those who may read it, all of it for operators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from openglm.maas.console.access import House, Operator, Seat, seat
from openglm.maas.identity.audit import AuditPage

router = APIRouter(tags=["audit"])
After = Annotated[str | None, Query(max_length=100, description="the next of an earlier page")]
Limit = Annotated[int, Query(ge=1, le=200)]


@router.get("/organisations/{org_id}/audit")
async def org_audit(
    here: Annotated[Seat, seat("audit.read")], platform: House, after: After = None, limit: Limit = 50
) -> AuditPage:
    """Who did what in the organisation, newest first."""
    return await platform.audit.page(here.org_id, after=after, limit=limit)


@router.get("/platform/audit")
async def whole_audit(person: Operator, platform: House, after: After = None, limit: Limit = 50) -> AuditPage:
    """Who did what anywhere, newest first."""
    return await platform.audit.page_of_platform(after=after, limit=limit)
