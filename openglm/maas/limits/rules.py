"""Limits as data: which rule holds for a tier and a model. Rules are read again while the platform runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from openglm.errors import InvalidRequest, NotFound
from openglm.maas.database import Database, Transaction
from openglm.maas.identity.audit import SYSTEM, Actor, note
from openglm.maas.ids import Clock, new_id, wall_clock

Subject = Literal["org", "key"]
MOST_KNOWN = 4096  # pairs of tier and model kept looked up; names come from strangers


@dataclass(frozen=True, slots=True)
class Rule:
    """What one org or one key may do with one model. None: no limit.

    `tier` is a tier's name or *, `model` a name, a prefix* or *. The most exact rule holds, tier first.
    """

    tier: str = "*"
    model: str = "*"
    subject: Subject = "org"
    concurrency: int | None = None  # answers in flight
    rpm: int | None = None  # requests a minute
    tpm: int | None = None  # tokens a minute, of prompt and answer
    id: str = ""

    def __post_init__(self) -> None:
        if self.subject not in get_args(Subject):
            raise InvalidRequest(f"subject must be org or key, got {self.subject!r}", param="subject")
        if not self.tier or not self.model or "*" in self.model[:-1]:
            raise InvalidRequest(
                f"a rule needs a tier and a model, a star only at the model's end; "
                f"got {self.tier!r} and {self.model!r}",
                param="model",
            )
        for name in ("concurrency", "rpm", "tpm"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidRequest(
                    f"{name} must be at least 1, got {value}", param=name, hint="null means no limit"
                )

    def holds_for(self, tier: str, model: str) -> bool:
        fits = model.startswith(self.model[:-1]) if self.model.endswith("*") else model == self.model
        return fits and self.tier in ("*", tier)

    @property
    def exactness(self) -> tuple[bool, bool, int]:
        return self.tier != "*", not self.model.endswith("*"), len(self.model)


class Rulebook:
    """The rules of a moment, looked up in a fraction of a microsecond."""

    def __init__(self, rules: Iterable[Rule] = ()):
        self._rules = sorted(rules, key=lambda rule: rule.exactness, reverse=True)
        self._known: dict[tuple[str, str], tuple[Rule, ...]] = {}

    def for_call(self, tier: str, model: str) -> tuple[Rule, ...]:
        """The one rule for the org and the one for the key, as far as there are any."""
        found = self._known.get((tier, model))
        if found is None:
            first: dict[Subject, Rule] = {}
            for rule in self._rules:
                if rule.holds_for(tier, model):
                    first.setdefault(rule.subject, rule)
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            found = self._known[tier, model] = tuple(first.values())
        return found


class Rules:
    """The table of rules."""

    def __init__(self, database: Database, *, clock: Clock = wall_clock):
        self._database = database
        self._clock = clock

    async def list(self) -> Sequence[Rule]:
        rows = await self._database.read(
            "SELECT id, tier, model, subject, concurrency, rpm, tpm FROM limit_rule "
            "ORDER BY tier, model, subject"
        )
        return [Rule(**{name: row[name] for name in Rule.__slots__}) for row in rows]

    async def put(self, rule: Rule, *, actor: Actor = SYSTEM) -> str:
        """Add a rule, or replace the one for the same tier, model and subject; returns its id."""
        now = self._clock()
        rule_id = rule.id or new_id("limit", now)

        def work(t: Transaction) -> str:
            t.run(
                "INSERT INTO limit_rule (id, tier, model, subject, concurrency, rpm, tpm) "
                "VALUES (:id, :tier, :model, :subject, :concurrency, :rpm, :tpm) "
                "ON CONFLICT (tier, model, subject) DO UPDATE SET "
                "concurrency = excluded.concurrency, rpm = excluded.rpm, tpm = excluded.tpm",
                id=rule_id,
                tier=rule.tier,
                model=rule.model,
                subject=rule.subject,
                concurrency=rule.concurrency,
                rpm=rule.rpm,
                tpm=rule.tpm,
            )
            row = t.one(
                "SELECT id FROM limit_rule WHERE tier = :tier AND model = :model AND subject = :subject",
                tier=rule.tier,
                model=rule.model,
                subject=rule.subject,
            )
            assert row is not None, "it was put a statement ago"
            details = {name: value for name, value in asdict(rule).items() if name != "id"}
            note(t, now, actor, "limit.set", row["id"], org_id=None, details=details)
            return row["id"]

        return await self._database.write(work, durable=True)

    async def remove(self, rule_id: str, *, actor: Actor = SYSTEM) -> None:
        now = self._clock()

        def work(t: Transaction) -> None:
            row = t.one(
                "DELETE FROM limit_rule WHERE id = :id RETURNING tier, model, subject, concurrency, rpm, tpm",
                id=rule_id,
            )
            if row is None:
                raise NotFound(f"there is no limit rule {rule_id!r}")
            note(t, now, actor, "limit.remove", rule_id, org_id=None, details=dict(row))

        await self._database.write(work, durable=True)
