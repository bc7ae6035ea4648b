"""For operators: prices, limits and redeem codes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field

from openglm.maas.console.access import Body, House, Operator
from openglm.maas.console.money import Amount, positive
from openglm.maas.limits import Rule
from openglm.maas.money.amounts import decimal_text, per_million
from openglm.maas.money.prices import Price

router = APIRouter(tags=["limits"], prefix="/platform")
Count = Annotated[int | None, Field(ge=1, le=2**53, description="null: no limit")]
Name = Annotated[str, Field(min_length=1, max_length=200)]


@dataclass(frozen=True, slots=True)
class PriceTag:
    """In the currency: of a million tokens, of one call, and of one image."""

    model: str
    version: int
    input: str
    cached_input: str
    cache_write: str
    output: str
    call: str
    image: str
    batch_percent: int
    created_at: int
    training: str | None  # of a million trained tokens; null: not trained


class NewPrice(Body):
    model: Annotated[Name, Field(description="a model, a tool such as search_std, or * for all others")]
    input: Amount = "0"
    output: Amount = "0"
    cached_input: Annotated[Amount | None, Field(description="null: as input")] = None
    call: Amount = "0"
    image: Amount = "0"
    training: Annotated[Amount | None, Field(description="null: not trained, unless all is free")] = None


class NewRule(Body):
    tier: Name = "*"
    model: Name = "*"
    subject: Literal["org", "key"] = "org"
    concurrency: Count = None
    rpm: Count = None
    tpm: Count = None


class NewCodes(Body):
    amount: Amount
    count: Annotated[int, Field(ge=1, le=1000)] = 1
    label: Annotated[str, Field(max_length=100)] = ""
    expires_at: Annotated[int | None, Field(ge=0, le=2**53, description="ms UTC; null: never")] = None


@router.get("/prices")
async def list_prices(person: Operator, platform: House) -> list[PriceTag]:
    """The newest version of each price."""
    return [price_tag(one) for one in await platform.prices.all()]


@router.get("/prices/{model}")
async def price_history(model: str, person: Operator, platform: House) -> list[PriceTag]:
    """All versions of one price."""
    return [price_tag(one) for one in await platform.prices.history(model)]


@router.post("/prices", status_code=201)
async def set_price(body: NewPrice, person: Operator, platform: House) -> PriceTag:
    """A new version from now on; running requests settle at the price they began with."""
    made = await platform.prices.set_per_million(
        body.model,
        uncached=body.input,
        output=body.output,
        cached=body.cached_input,
        per_call=body.call,
        per_image=body.image,
        training=body.training,
        actor=person.actor,
    )
    return price_tag(made)


@router.get("/limits")
async def list_limits(person: Operator, platform: House) -> list[Rule]:
    """The rules; the most exact one holds, tier before model."""
    return list(await platform.limits.rules.list())


@router.put("/limits")
async def set_limit(body: NewRule, person: Operator, platform: House) -> Rule:
    """Set the rule of a tier, model and subject."""
    rule = Rule(**body.model_dump())
    rule_id = await platform.limits.rules.put(rule, actor=person.actor)
    await platform.limits.reload()
    return Rule(**{**asdict(rule), "id": rule_id})


@router.delete("/limits/{rule_id}", status_code=204)
async def remove_limit(rule_id: str, person: Operator, platform: House) -> None:
    """Remove a rule."""
    await platform.limits.rules.remove(rule_id, actor=person.actor)
    await platform.limits.reload()


@router.post("/codes", status_code=201)
async def create_codes(body: NewCodes, person: Operator, platform: House) -> list[str]:
    """New redeem codes, shown this once."""
    amount, expires = positive(body.amount), body.expires_at
    codes = await platform.wallet.create_codes(
        body.count, amount, label=body.label, expires_at_ms=expires, actor=person.actor
    )
    return list(codes)


def price_tag(price: Price) -> PriceTag:
    return PriceTag(
        price.model,
        price.version,
        per_million(price.uncached_pico),
        per_million(price.cached_pico),
        per_million(price.cache_write_pico),
        per_million(price.output_pico),
        decimal_text(price.per_call_nano),
        decimal_text(price.per_image_nano),
        price.batch_percent,
        price.created_at_ms,
        per_million(price.training_pico or 0) if price.trains else None,
    )
