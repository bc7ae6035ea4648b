"""What a plan is: windows of credits, a weight per model and kind of token, and factors by time of day.

All of it is data: read from TOML, kept as JSON in versions. Credits are whole; weights and factors are held
in thousandths, and rounding happens once. Nothing here touches the database.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from openglm.errors import InvalidRequest
from openglm.maas.money.amounts import LARGEST, ceiling, half_even, nano, scaled
from openglm.maas.money.ask import Charge
from openglm.maas.money.periods import moment
from openglm.messages import Usage

SHIPPED = Path(__file__).parent / "plans.toml"
PERIODS = ("month", "week", "5h")  # longest first: where two are used up, the later reset is the true one
PERMILLE = 1_000


@dataclass(frozen=True, slots=True)
class Weights:
    """Thousandths of a credit per token, and per call."""

    uncached: int
    cached: int
    cache_write: int
    output: int
    per_call: int = 0


@dataclass(frozen=True, slots=True)
class Factor:
    """Thousandths, for models and minutes of the day at a UTC offset; from == to is the whole day."""

    models: tuple[str, ...]
    permille: int
    from_minute: int = 0
    to_minute: int = 0
    offset_minutes: int = 0

    def fits(self, model: str, now_ms: int) -> bool:
        if not any(_names(pattern, model) for pattern in self.models):
            return False
        if self.from_minute == self.to_minute:
            return True
        local = moment(now_ms) + timedelta(minutes=self.offset_minutes)
        minute = local.hour * 60 + local.minute
        if self.from_minute < self.to_minute:
            return self.from_minute <= minute < self.to_minute
        return minute >= self.from_minute or minute < self.to_minute  # over midnight


@dataclass(frozen=True, slots=True)
class Plan:
    """One version of a plan."""

    name: str
    version: int
    title: str
    price_nano: int
    windows: tuple[tuple[str, int], ...]  # (period, credits), longest first
    weights: tuple[tuple[str, Weights], ...]  # by pattern, longest first
    factors: tuple[Factor, ...]

    @property
    def id(self) -> str:
        return f"plan:{self.name}#{self.version}"

    def weights_of(self, model: str) -> Weights | None:
        return next((weights for pattern, weights in self.weights if _names(pattern, model)), None)

    def factor_at(self, model: str, now_ms: int) -> int:
        return next((factor.permille for factor in self.factors if factor.fits(model, now_ms)), PERMILLE)


def bound(weights: Weights, prompt_tokens: int, output_tokens: int, units: int, factor: int) -> int:
    """The most credits that so many tokens can take; at least 1 unless the model takes none."""
    dearest = max(weights.uncached, weights.cached, weights.cache_write)
    if not dearest and not weights.output and not weights.per_call:
        return 0
    permille = prompt_tokens * dearest + output_tokens * weights.output + units * weights.per_call
    return max(1, ceiling(permille * factor, PERMILLE * PERMILLE))


def charge(weights: Weights, usage: Usage, units: int, factor: int) -> Charge:
    """The credits of a usage, rounded once, and the arithmetic as text."""
    total = 0
    lines = []
    for name, tokens, weight in (
        ("uncached input", usage.input_uncached, weights.uncached),
        ("cached input", usage.cache_read, weights.cached),
        ("cache write", usage.cache_write, weights.cache_write),
        ("output", usage.output_text + usage.output_reasoning, weights.output),
        ("calls", units, weights.per_call),
    ):
        if tokens and (weight or name != "calls"):
            total += tokens * weight
            lines.append(f"{tokens} {name} x {_thousandths(weight)} = {_thousandths(tokens * weight)}")
    amount = half_even(total * factor, PERMILLE * PERMILLE)
    if amount > LARGEST:
        raise InvalidRequest(f"a request cannot take more than {LARGEST} credits, got {amount}")
    lines.append(f"{_thousandths(total)} x {_thousandths(factor)} (time of day) = {amount} credits")
    return Charge(amount, tuple(lines))


def read_plans(text: str) -> dict[str, dict[str, Any]]:
    """The terms of each plan of a TOML text, as they are stored. Unknown keys are errors."""
    try:
        document = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequest(f"the plans are no TOML: {error}", param="plans") from error
    _known("the plans", document, {"plans", "models", "factors"})
    weights = {name: _weights(name, table) for name, table in document.get("models", {}).items()}
    factors = [_factor(table) for table in document.get("factors", [])]
    plans = {}
    for name, table in document.get("plans", {}).items():
        _known(f"plan {name}", table, {"title", "price", "windows"})
        windows = table.get("windows", {})
        _known(f"the windows of plan {name}", windows, set(PERIODS))
        if not windows:
            raise InvalidRequest(f"plan {name} needs at least one window of 5h, week or month", param="plans")
        for period, credits in windows.items():
            if isinstance(credits, bool) or not isinstance(credits, int) or not 0 < credits <= LARGEST:
                raise InvalidRequest(
                    f"the {period} window of plan {name} must be whole credits in [1, {LARGEST}], "
                    f"got {credits!r}",
                    param="plans",
                )
        plans[name] = {
            "title": str(table.get("title", name)),
            "price_nano": nano(table.get("price", "0"), param=f"plans.{name}.price"),
            "windows": dict(windows),
            "weights": weights,
            "factors": factors,
        }
    if not plans:
        raise InvalidRequest("the plans name no plan", param="plans", hint="add a [plans.NAME] table")
    return plans


def plan_from_terms(name: str, version: int, terms: str) -> Plan:
    document = json.loads(terms)
    windows = document["windows"]
    patterns = sorted(document["weights"], key=lambda pattern: (-len(pattern.rstrip("*")), pattern))
    return Plan(
        name,
        version,
        document["title"],
        document["price_nano"],
        tuple((period, windows[period]) for period in PERIODS if period in windows),
        tuple((pattern, Weights(**document["weights"][pattern])) for pattern in patterns),
        tuple(Factor(**{**factor, "models": tuple(factor["models"])}) for factor in document["factors"]),
    )


def _names(pattern: str, model: str) -> bool:
    return model.startswith(pattern[:-1]) if pattern.endswith("*") else model == pattern


def _weights(name: str, table: Mapping[str, Any]) -> dict[str, int]:
    _known(f"model {name}", table, {"uncached", "cached", "cache_write", "output", "per_call"})
    uncached = table.get("uncached", 1)
    given = {
        "uncached": uncached,
        "cached": table.get("cached", uncached),
        "cache_write": table.get("cache_write", uncached),
        "output": table.get("output", uncached),
        "per_call": table.get("per_call", 0),
    }
    return {word: scaled(value, PERMILLE, param=f"models.{name}.{word}") for word, value in given.items()}


def _factor(table: Mapping[str, Any]) -> dict[str, Any]:
    _known("a factor", table, {"models", "factor", "from", "to", "utc_offset"})
    if ("from" in table) != ("to" in table) or "factor" not in table:
        raise InvalidRequest(
            "a factor needs `factor`, and both of `from` and `to` or neither", param="plans.factors"
        )
    return {
        "models": list(table.get("models", ["*"])),
        "permille": scaled(table["factor"], PERMILLE, param="factors.factor"),
        "from_minute": _minutes(table.get("from", "00:00")),
        "to_minute": _minutes(table.get("to", "00:00")),
        "offset_minutes": _offset(table.get("utc_offset", "+00:00")),
    }


def _minutes(text: str) -> int:
    hours, _, minutes = str(text).partition(":")
    if not (hours.isdecimal() and minutes.isdecimal() and int(hours) < 24 and int(minutes) < 60):
        raise InvalidRequest(f"a time of day must look like 14:00, got {text!r}", param="plans.factors")
    return int(hours) * 60 + int(minutes)


def _offset(text: str) -> int:
    if text[:1] not in ("+", "-"):
        raise InvalidRequest(f"a UTC offset must look like +08:00, got {text!r}", param="plans.factors")
    return (-1 if text[0] == "-" else 1) * _minutes(text[1:])


def _known(where: str, table: Mapping[str, Any], words: set[str]) -> None:
    if unknown := sorted(set(table) - words):
        raise InvalidRequest(
            f"{where}: unknown key {unknown[0]!r}, expected one of {', '.join(sorted(words))}", param="plans"
        )


def _thousandths(count: int) -> str:
    whole, rest = divmod(count, PERMILLE)
    return f"{whole}.{rest:03}".rstrip("0") if rest else str(whole)
