"""The request log in the console: refusals, and whole requests of projects that keep bodies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query

from openglm.maas.console.access import House, Seat, seat
from openglm.maas.operate.request_log import Logged

router = APIRouter(tags=["usage"], prefix="/organisations/{org_id}")


@dataclass(frozen=True, slots=True)
class Whole:
    """A request with what came in and went out; null where the project kept nothing."""

    request: Logged
    asked: str | None
    answered: str | None


@router.get("/requests")
async def list_requests(
    here: Annotated[Seat, seat("usage.read")],
    platform: House,
    before: Annotated[
        str | None, Query(max_length=100, description="id of an earlier page's last row")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> list[Logged]:
    """What was refused, and what projects asked to be kept; newest first."""
    return await platform.request_log.page(here.org_id, before=before, limit=limit)


@router.get("/requests/{request_id}")
async def get_request(request_id: str, here: Annotated[Seat, seat("data.write")], platform: House) -> Whole:
    """One of them with its bodies. That they were read is audited."""
    row, bodies = await platform.request_log.one(here.org_id, request_id, actor=here.actor)
    return Whole(row, bodies.asked, bodies.answered)
