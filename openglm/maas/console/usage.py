"""Usage in the console: sums for charts, single requests, CSV; and the models that one may call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from openglm.errors import InvalidRequest
from openglm.maas.console.access import House, Seat, checked_period, seat
from openglm.maas.console.limits import PriceTag, price_tag
from openglm.maas.identity.caller import Caller
from openglm.maas.money.amounts import decimal_text
from openglm.maas.money.usage_table import usage_csv, usage_rows, usage_sums

router = APIRouter(tags=["usage"], prefix="/organisations/{org_id}")
Reader = Annotated[Seat, seat("usage.read")]
Start = Annotated[int, Query(ge=0, le=2**53, description="ms UTC, from here on")]
End = Annotated[int, Query(ge=1, le=2**53, description="ms UTC, before here")]
By = Annotated[
    tuple[Literal["day", "model", "project", "key", "user", "kind"], ...], Query(min_length=1, max_length=3)
]
Only = Annotated[str | None, Query(max_length=200, description="null: all of them")]
LAST = 2**53


@dataclass(frozen=True, slots=True)
class Sum:
    """`group` names what was summed: the words of `by`; a day is its first ms UTC."""

    group: dict[str, str | int | None]
    requests: int
    input_uncached: int
    cache_read: int
    cache_write: int
    output: int
    images: int
    credits: int
    cost: str


@dataclass(frozen=True, slots=True)
class Rows:
    """Requests in the order that was asked for; give `next` as `after` for the ones that follow."""

    rows: list[dict[str, Any]]
    next: str | None


@dataclass(frozen=True, slots=True)
class Offer:
    name: str
    title: str
    price: PriceTag | None


@router.get("/usage")
async def sums(
    here: Reader,
    platform: House,
    by: By = ("model",),
    start: Start = 0,
    end: End = LAST,
) -> list[Sum]:
    """Sums over a time, by up to three of day, model, project, key, user and kind."""
    checked_period(start, end)
    found = await usage_sums(
        platform.database, here.org_id, tuple(dict.fromkeys(by)), start_ms=start, end_ms=end
    )
    return [
        Sum(
            group,
            counts["requests"],
            counts["input_uncached"],
            counts["cache_read"],
            counts["cache_write"],
            counts["output"],
            counts["images"],
            counts["credits"],
            decimal_text(counts["cost_nano"]),
        )
        for group, counts in found
    ]


@router.get("/usage/requests")
async def requests(
    here: Reader,
    platform: House,
    *,
    start: Start = 0,
    end: End = LAST,
    order: Literal["oldest", "newest"] = "oldest",
    request_id: Only = None,
    model: Only = None,
    project: Only = None,
    key: Only = None,
    after: Annotated[str, Query(max_length=200)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Rows:
    """Single requests with their tokens, cost and the arithmetic behind it; all, or those of one kind."""
    checked_period(start, end)
    only = {"request_id": request_id, "model": model, "project_id": project, "key_id": key}
    rows = await usage_rows(
        platform.database,
        here.org_id,
        start_ms=start,
        end_ms=end,
        after=_place(after),
        newest=order == "newest",
        only={name: value for name, value in only.items() if value is not None},
        limit=limit,
    )
    last = f"{rows[-1]['created_at']}:{rows[-1]['request_id']}" if len(rows) == limit else None
    return Rows([row | {"cost": decimal_text(row["cost_nano"])} for row in rows], last)


@router.get("/usage/csv", response_class=StreamingResponse, responses={200: {"content": {"text/csv": {}}}})
async def table(here: Reader, platform: House, start: Start = 0, end: End = LAST) -> StreamingResponse:
    """All requests of a time as CSV."""
    checked_period(start, end)
    lines = usage_csv(platform.database, here.org_id, start_ms=start, end_ms=end)
    return StreamingResponse(
        lines, media_type="text/csv", headers={"content-disposition": 'attachment; filename="usage.csv"'}
    )


@router.get("/models")
async def models(here: Annotated[Seat, seat("org.read")], platform: House) -> list[Offer]:
    """The models that the organisation may call, with their prices."""
    names = platform.models_of(Caller(here.org_id, "", ""))
    rows = {model.name: model for model in await platform.models.list()}
    prices = {price.model: price for price in await platform.prices.all()}
    offers = []
    for name in names:
        row = rows.get(name)
        base = row.base if row and row.base else "*"
        price = prices.get(name) or prices.get(base) or prices.get("*")
        offers.append(Offer(name, row.title if row else "", price_tag(price) if price else None))
    return offers


def _place(after: str) -> tuple[int, str] | None:
    """Where a page goes on, as an earlier page's `next` says it."""
    if not after:
        return None
    moment, colon, request_id = after.partition(":")
    if not colon or not moment.isdecimal() or len(moment) > 16:
        raise InvalidRequest("after must be the next of an earlier page", param="after")
    return int(moment), request_id
