"""What a request asks for, what is held for it, and what it cost in the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from openglm.errors import InvalidRequest
from openglm.messages import MOST_TOKENS, Usage

Status = Literal["ok", "partial", "failed", "void"]
TRAINING = "training"  # the kind whose tokens are trained, and paid for by the price of training


@dataclass(frozen=True, slots=True)
class Ask:
    """One request before it runs. Tokens and images are the most it may use."""

    request_id: str
    org_id: str
    project_id: str
    key_id: str
    user_id: str | None
    model: str
    kind: str  # "chat", "completion", "embedding", "image", "tool", "training", ...
    prompt_tokens: int = 0
    output_tokens: int = 0
    plan: bool = False  # charged to the subscription, never to the wallet
    batch: bool = False  # at the batch price
    units: int = 1  # calls of a tool that is priced per call
    images: int = 0
    client_request_id: str | None = None
    dialect: str | None = None
    endpoint: str | None = None
    base: str | None = None  # the model under an adapter: its price and its weights in plans hold

    def __post_init__(self) -> None:
        if not 0 <= self.prompt_tokens <= MOST_TOKENS or not 0 <= self.output_tokens <= MOST_TOKENS:
            raise InvalidRequest(
                f"token counts must be in [0, {MOST_TOKENS}], "
                f"got {self.prompt_tokens} and {self.output_tokens}"
            )
        for name, count in (("units", self.units), ("images", self.images)):
            if not 0 <= count <= MOST_TOKENS:
                raise InvalidRequest(f"{name} must be in [0, {MOST_TOKENS}], got {count}")


@dataclass(frozen=True, slots=True)
class Hold:
    """Money (or credits) set aside for a request until it settles. `amount` counts in the tariff's unit."""

    id: str  # the request's id
    ask: Ask
    amount: int
    tariff: str  # the price or plan version that the settle will use: "model#3", "plan:lite#1"
    created_at_ms: int

    @property
    def org_id(self) -> str:
        return self.ask.org_id


@dataclass(frozen=True, slots=True)
class Charge:
    """A price applied to a usage: the rounded amount, and how it came about, line by line."""

    amount: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one request cost. Settling twice gives the same receipt twice."""

    request_id: str
    status: str
    usage: Usage
    cost_nano: int  # money; 0 for a plan
    credits: int  # of the plan; 0 for money
    price_version: str
    arithmetic: tuple[str, ...]
    balance_nano: int | None  # of the wallet after this request; None where no wallet was touched
    debt_nano: int = 0  # the part of `cost_nano` that the wallet did not cover
    estimated: bool = False


def checked_usage(usage: Usage) -> Usage:
    """Counts come from upstreams, so they are judged before they become money."""
    counts = (
        usage.input_uncached,
        usage.cache_read,
        usage.cache_write,
        usage.output_text,
        usage.output_reasoning,
        usage.images,
    )
    for count in counts:
        if not isinstance(count, int) or not 0 <= count <= MOST_TOKENS:
            raise InvalidRequest(f"a count must be in [0, {MOST_TOKENS}], got {count!r}")
    return usage
