"""Prices per model, as versions that never change: a request settles at the version it was held at.

Prices are pico-currency per token, so that a price per million tokens keeps six decimals. The model `*` is
the price of every model that has none of its own. A price of zero makes a model free.
An adapter is priced as its base until it has a price of its own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from openglm.errors import InvalidRequest, ModelNotFound, NotFound
from openglm.maas.database import Database, Row, Transaction
from openglm.maas.identity.audit import SYSTEM, Actor, note
from openglm.maas.ids import Clock, wall_clock
from openglm.maas.money.amounts import (
    LARGEST,
    PICO_PER_NANO,
    ceiling,
    decimal_text,
    half_even,
    nano,
    per_million,
    scaled,
)
from openglm.maas.money.ask import Charge
from openglm.messages import Usage

TTL_MS = 2_000  # how long another node may go on holding at the version before
ANY_MODEL = "*"
LARGEST_PICO = 10**15  # a thousand of the currency per token
PICO_PER_MILLION = 1_000_000  # "0.60" per million tokens is 600,000 pico per token


@dataclass(frozen=True, slots=True)
class Price:
    """Pico per token, nano per call and per image. `batch_percent` is what a batch pays of it.

    `training_pico` is for a trained token; None: the model is not trained, unless it is free.
    """

    model: str
    version: int
    uncached_pico: int = 0
    cached_pico: int = 0
    cache_write_pico: int = 0
    output_pico: int = 0
    per_call_nano: int = 0
    batch_percent: int = 50
    created_at_ms: int = 0
    per_image_nano: int = 0
    training_pico: int | None = None

    @property
    def id(self) -> str:
        return f"{self.model}#{self.version}"

    @property
    def free(self) -> bool:
        return not (
            self.uncached_pico
            or self.cached_pico
            or self.cache_write_pico
            or self.output_pico
            or self.per_call_nano
            or self.per_image_nano
        )

    def shown(self) -> dict[str, str]:
        """What people see: exact decimals of the currency for a million tokens, and for a piece."""
        return {
            "input": per_million(self.uncached_pico),
            "cached": per_million(self.cached_pico),
            "output": per_million(self.output_pico),
            "call": decimal_text(self.per_call_nano),
            "image": decimal_text(self.per_image_nano),
        }

    def bound(
        self, prompt_tokens: int, output_tokens: int, units: int, *, batch: bool, images: int = 0
    ) -> int:
        """The most that so much can cost, in nano; at least 1 unless the model is free."""
        if self.free:
            return 0
        dearest = max(self.uncached_pico, self.cached_pico, self.cache_write_pico)
        pico = prompt_tokens * dearest + output_tokens * self.output_pico
        pico += (units * self.per_call_nano + images * self.per_image_nano) * PICO_PER_NANO
        percent = self.batch_percent if batch else 100
        return max(1, ceiling(pico * percent, PICO_PER_NANO * 100))

    def training_bound(self, tokens: int) -> int:
        """What so many trained tokens cost, in nano, rounded up."""
        return ceiling(tokens * self._training(), PICO_PER_NANO)

    def training_charge(self, tokens: int) -> Charge:
        """As `charge`, for tokens that a model was trained on."""
        each = self._training()
        amount = half_even(tokens * each, PICO_PER_NANO)
        return _checked(amount, (f"{tokens} trained tokens x {each} pico = {amount} nano",))

    @property
    def trains(self) -> bool:
        """Whether there is a price for training."""
        return self.training_pico is not None or self.free

    def _training(self) -> int:
        if not self.trains:
            raise InvalidRequest(
                f"the model {self.model!r} has no price for training",
                param="model",
                code="model_not_available",
                hint="an operator sets it: glm admin price set MODEL --training PRICE",
            )
        return self.training_pico or 0

    def charge(self, usage: Usage, units: int, *, batch: bool) -> Charge:
        """The cost of a usage in nano, rounded once, and the arithmetic as text."""
        pico = 0
        lines = []
        for name, tokens, each in (
            ("uncached input", usage.input_uncached, self.uncached_pico),
            ("cached input", usage.cache_read, self.cached_pico),
            ("cache write", usage.cache_write, self.cache_write_pico),
            ("output", usage.output_text + usage.output_reasoning, self.output_pico),
        ):
            if tokens:
                pico += tokens * each
                lines.append(f"{tokens} {name} x {each} pico = {tokens * each} pico")
        for name, count, each in (
            ("calls", units, self.per_call_nano),
            ("images", usage.images, self.per_image_nano),
        ):
            if count and each:
                pico += count * each * PICO_PER_NANO
                lines.append(f"{count} {name} x {each} nano = {count * each * PICO_PER_NANO} pico")
        if batch:
            amount = half_even(pico * self.batch_percent, PICO_PER_NANO * 100)
            lines.append(f"{pico} pico x {self.batch_percent} % (batch) = {amount} nano")
        else:
            amount = half_even(pico, PICO_PER_NANO)
            lines.append(f"{pico} pico = {amount} nano")
        return _checked(amount, tuple(lines))


def _checked(amount: int, lines: tuple[str, ...]) -> Charge:
    if amount > LARGEST:
        raise InvalidRequest(f"a request cannot cost more than {LARGEST} nano, got {amount}")
    return Charge(amount, lines)


class Prices:
    """Set and look up price versions. Look-ups of the hot path are cached for two seconds."""

    def __init__(self, database: Database, *, clock: Clock = wall_clock):
        self._database = database
        self._clock = clock
        self._current: dict[tuple[str, str | None], tuple[int, Price | None]] = {}
        self._versions: dict[str, Price] = {}

    async def set(
        self,
        model: str,
        *,
        uncached_pico: int = 0,
        cached_pico: int | None = None,
        cache_write_pico: int | None = None,
        output_pico: int = 0,
        per_call_nano: int = 0,
        per_image_nano: int = 0,
        batch_percent: int = 50,
        training_pico: int | None = None,
        actor: Actor = SYSTEM,
    ) -> Price:
        """A new version. Cached input and cache writes cost what uncached input costs unless said."""
        if not model or len(model) > 200:
            raise InvalidRequest(f"model must have 1 to 200 characters, got {len(model)}", param="model")
        price = Price(
            model,
            0,
            uncached_pico,
            uncached_pico if cached_pico is None else cached_pico,
            uncached_pico if cache_write_pico is None else cache_write_pico,
            output_pico,
            per_call_nano,
            batch_percent,
            self._clock(),
            per_image_nano,
            training_pico,
        )
        for field, most in (
            ("uncached_pico", LARGEST_PICO),
            ("cached_pico", LARGEST_PICO),
            ("cache_write_pico", LARGEST_PICO),
            ("output_pico", LARGEST_PICO),
            ("per_call_nano", LARGEST),
            ("per_image_nano", LARGEST),
            ("batch_percent", 100),
            ("training_pico", LARGEST_PICO),
        ):
            value = getattr(price, field)
            if field == "training_pico" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
                raise InvalidRequest(
                    f"{field} must be a whole number in [0, {most}], got {value!r}", param=field
                )
        return await self._database.write(
            lambda tx: _insert(tx, price, actor), durable=True, lock="prices", then=self._current.clear
        )

    async def set_per_million(
        self,
        model: str,
        *,
        uncached: str,
        output: str,
        cached: str | None = None,
        per_call: str = "0",
        per_image: str = "0",
        training: str | None = None,
        actor: Actor = SYSTEM,
    ) -> Price:
        """As price lists print it: currency per million tokens, `"0.60"`, per call, and per image."""
        return await self.set(
            model,
            uncached_pico=scaled(uncached, PICO_PER_MILLION, param="uncached"),
            cached_pico=None if cached is None else scaled(cached, PICO_PER_MILLION, param="cached"),
            output_pico=scaled(output, PICO_PER_MILLION, param="output"),
            per_call_nano=nano(per_call, param="per_call"),
            per_image_nano=nano(per_image, param="per_image"),
            training_pico=None if training is None else scaled(training, PICO_PER_MILLION, param="training"),
            actor=actor,
        )

    async def set_if_none(self, *models: str) -> None:
        """Make models free that nothing has priced yet, not even the price of all models."""
        now = self._clock()

        def work(tx: Transaction) -> None:
            for model in models:
                if tx.one("SELECT 1 FROM price_version WHERE model IN (:model, '*')", model=model) is None:
                    _insert(tx, Price(model, 0, created_at_ms=now))

        await self._database.write(work, durable=True, lock="prices", then=self._current.clear)

    async def current(self, model: str, base: str | None = None) -> Price:
        """The newest version for a model, or that for its base, or that for `*`."""
        now = self._clock()
        known = self._current.get((model, base))
        if known is None or not 0 <= known[0] - now <= TTL_MS:
            row = await self._database.read_one(
                "SELECT * FROM price_version WHERE model IN (:model, :base, '*')"
                " ORDER BY CASE model WHEN :model THEN 0 WHEN '*' THEN 2 ELSE 1 END, version DESC LIMIT 1",
                model=model,
                base=base or model,
            )
            if len(self._current) > 10_000:  # names come from callers
                self._current.clear()
            known = (now + TTL_MS, _price(row) if row else None)
            self._current[model, base] = known
        if known[1] is None:
            raise ModelNotFound(
                f"{model!r} has no price here yet, so it cannot be called",
                param="model",
                code="model_not_found",
                hint=f"the operator sets one, 0 to give it away: glm admin price set {model} --input PRICE",
            )
        return known[1]

    def version(self, tx: Transaction, price_id: str) -> Price:
        """The version that a hold was taken at, from inside a write."""
        price = self._versions.get(price_id)
        if price is None:
            model, _, version = price_id.rpartition("#")
            row = tx.one(
                "SELECT * FROM price_version WHERE model = :model AND version = :version",
                model=model,
                version=int(version),
            )
            if row is None:
                raise NotFound(f"there is no price version {price_id!r}")
            price = self._versions[price_id] = _price(row)
        return price

    async def history(self, model: str) -> list[Price]:
        rows = await self._database.read(
            "SELECT * FROM price_version WHERE model = :model ORDER BY version DESC", model=model
        )
        return [_price(row) for row in rows]

    async def all(self) -> list[Price]:
        """The newest version of every model."""
        rows = await self._database.read(
            "SELECT * FROM price_version p WHERE version ="
            " (SELECT max(version) FROM price_version q WHERE q.model = p.model) ORDER BY model"
        )
        return [_price(row) for row in rows]


def _insert(tx: Transaction, price: Price, actor: Actor = SYSTEM) -> Price:
    row = tx.one(
        "INSERT INTO price_version (model, version, uncached_pico, cached_pico, cache_write_pico,"
        " output_pico, per_call_nano, per_image_nano, batch_percent, created_at, training_pico)"
        " SELECT :model, coalesce(max(version), 0) + 1, :uncached, :cached, :cache_write, :output,"
        " :per_call, :per_image, :batch, :now, :training FROM price_version WHERE model = :model RETURNING *",
        model=price.model,
        uncached=price.uncached_pico,
        cached=price.cached_pico,
        cache_write=price.cache_write_pico,
        output=price.output_pico,
        per_call=price.per_call_nano,
        per_image=price.per_image_nano,
        batch=price.batch_percent,
        now=price.created_at_ms,
        training=price.training_pico,
    )
    assert row is not None, "an insert returns its row"
    made = _price(row)
    note(tx, made.created_at_ms, actor, "price.set", made.id, org_id=None, details=asdict(made))
    return made


def _price(row: Row) -> Price:
    return Price(
        row["model"],
        row["version"],
        row["uncached_pico"],
        row["cached_pico"],
        row["cache_write_pico"],
        row["output_pico"],
        row["per_call_nano"],
        row["batch_percent"],
        row["created_at"],
        row["per_image_nano"],
        row["training_pico"],
    )
