"""What Prometheus reads from one gateway process. Its own registry, so two platforms in a process do not mix.

The hot path pays a dict look-up and a few additions: the children of each label set are remembered. The sums
of money here are floats for graphs; the ledger is what is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

    from openglm.maas.money import Receipt

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
NANO = 1e9
MANY_MODELS = 500  # series of their own; private models beyond share the label "other"
_FIRST_TOKEN_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60)


@dataclass(slots=True)
class ModelTotals:
    """What one model answered since this process started; the console shows the rates."""

    model: str
    answers: int = 0
    broken: int = 0
    input_uncached: int = 0
    cache_read: int = 0
    output: int = 0


class _Answered(NamedTuple):
    whole: Counter
    broken: Counter
    first_token: Histogram


class _Settled(NamedTuple):
    uncached: Counter
    cache_read: Counter
    cache_write: Counter
    text: Counter
    reasoning: Counter
    images: Counter
    cost: Counter
    credits: Counter
    estimated: Counter


class GatewayMetrics:
    """Counters of the gateway. `text` is the page that Prometheus scrapes."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.gone = Counter(
            "openglm_clients_gone", "Clients that left before their answer", registry=registry
        )
        self._answers = Counter(
            "openglm_answers",
            "Answers by surface, model and outcome: whole or broken off",
            ["surface", "model", "outcome"],
            registry=registry,
        )
        self._first_token = Histogram(
            "openglm_first_token_seconds",
            "From the request to its first token",
            ["surface", "model"],
            buckets=_FIRST_TOKEN_S,
            registry=registry,
        )
        self._tokens = Counter(
            "openglm_tokens",
            "Billed tokens, each counted once",
            ["model", "kind"],
            registry=registry,
        )
        self._images = Counter("openglm_images", "Billed images", ["model"], registry=registry)
        self._cost = Counter(
            "openglm_cost", "Billed to wallets, in the currency", ["model"], registry=registry
        )
        self._credits = Counter("openglm_plan_credits", "Taken from plans", ["model"], registry=registry)
        self._estimated = Counter(
            "openglm_estimated_bills",
            "Bills counted with our own tokenizer, for want of the upstream's usage",
            ["model"],
            registry=registry,
        )
        self._answered_of: dict[tuple[str, str], _Answered] = {}
        self._settled_of: dict[str, _Settled] = {}
        self._models: set[str] = set()

    def answered(self, surface: str, model: str, whole: bool, first_token_ms: int | None) -> None:
        """One answer has ended; `whole` unless it broke off. None: not one token came."""
        known = self._answered_of.get((surface, model)) or self._answered(surface, model)
        (known.whole if whole else known.broken).inc()
        if first_token_ms is not None:
            known.first_token.observe(first_token_ms / 1000)

    def settled(self, model: str, receipt: Receipt) -> None:
        """One request was billed."""
        known = self._settled_of.get(model) or self._settled(model)
        usage = receipt.usage
        for counter, count in (
            (known.uncached, usage.input_uncached),
            (known.cache_read, usage.cache_read),
            (known.cache_write, usage.cache_write),
            (known.text, usage.output_text),
            (known.reasoning, usage.output_reasoning),
            (known.images, usage.images),
            (known.credits, receipt.credits),
        ):
            if count:
                counter.inc(count)
        if receipt.cost_nano:
            known.cost.inc(receipt.cost_nano / NANO)
        if receipt.estimated:
            known.estimated.inc()

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def totals(self) -> list[ModelTotals]:
        """By model, in order of their names."""
        found: dict[str, ModelTotals] = {}

        def of(labels: dict[str, str]) -> ModelTotals:
            return found.setdefault(labels["model"], ModelTotals(labels["model"]))

        for sample in _samples(self._answers):
            totals = of(sample.labels)
            totals.answers += int(sample.value)
            totals.broken += int(sample.value) if sample.labels["outcome"] == "broken" else 0
        for sample in _samples(self._tokens):
            totals, kind = of(sample.labels), sample.labels["kind"]
            if kind in ("input_uncached", "cache_read"):
                setattr(totals, kind, getattr(totals, kind) + int(sample.value))
            elif kind.startswith("output"):
                totals.output += int(sample.value)
        return [found[name] for name in sorted(found)]

    def _answered(self, surface: str, model: str) -> _Answered:
        name = self._label(model)
        made = _Answered(
            self._answers.labels(surface, name, "whole"),
            self._answers.labels(surface, name, "broken"),
            self._first_token.labels(surface, name),
        )
        if name == model:
            self._answered_of[surface, model] = made
        return made

    def _settled(self, model: str) -> _Settled:
        name = self._label(model)
        made = _Settled(
            self._tokens.labels(name, "input_uncached"),
            self._tokens.labels(name, "cache_read"),
            self._tokens.labels(name, "cache_write"),
            self._tokens.labels(name, "output_text"),
            self._tokens.labels(name, "output_reasoning"),
            self._images.labels(name),
            self._cost.labels(name),
            self._credits.labels(name),
            self._estimated.labels(name),
        )
        if name == model:
            self._settled_of[model] = made
        return made

    def _label(self, model: str) -> str:
        if model not in self._models and len(self._models) >= MANY_MODELS:
            return "other"
        self._models.add(model)
        return model


def _samples(counter: Counter) -> Iterator[Sample]:
    """The values of a counter, without the times when they began."""
    for metric in counter.collect():
        yield from (sample for sample in metric.samples if sample.name.endswith("_total"))
