"""The caller's own limits: a slot for each answer in flight, requests and tokens a minute.

A request enters with the tokens that it may need and says at the end what it took; the rest is given back.
All is checked before anything is counted: a refused request costs its sender nothing.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from openglm.errors import RateLimited
from openglm.maas.ids import Clock
from openglm.maas.limits.rate import Rate
from openglm.maas.limits.rules import Rule, Rulebook, Rules
from openglm.maas.rounds import Rounds

if TYPE_CHECKING:
    from openglm.maas.database import Database
    from openglm.maas.identity.caller import Caller

RELOAD_S = 5.0  # until a rule that another process changed holds here too
BUSY_RETRY_S = 1.0  # nobody knows when an answer in flight will end
Key = tuple[str, str]  # an org's or a key's id, and the model


def monotonic_ms() -> int:
    """Limits measure how much time has passed, which a wall clock that is set anew does not tell."""
    return time.monotonic_ns() // 1_000_000


class Slot:
    """One admitted request. Leave it once it has ended; `with` does, too. Leaving twice is once."""

    __slots__ = ("_limits", "_rules", "tokens")

    def __init__(self, limits: Limits, rules: tuple[tuple[Rule, Key], ...], tokens: int):
        self._limits: Limits | None = limits
        self._rules = rules
        self.tokens = tokens  # charged to the minute

    def leave(self, used_tokens: int | None = None) -> None:
        """Free the slot; `used_tokens` replaces what was charged at the start. None: all of it was used."""
        limits, self._limits = self._limits, None
        if limits is not None:
            limits._leave(self._rules, 0 if used_tokens is None else used_tokens - self.tokens)

    def __enter__(self) -> Slot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()


class Limits:
    """Counts of this process. Use it on one event loop; `start` reads the rules and keeps reading them."""

    def __init__(self, database: Database, *, clock: Clock = monotonic_ms):
        self.rules = Rules(database)
        self._clock = clock
        self._book = Rulebook()
        self._in_flight: dict[Key, int] = {}
        self._requests = Rate()
        self._tokens = Rate()
        self._reading = Rounds("the limit rules are read", self.reload, RELOAD_S)

    async def start(self) -> None:
        await self.reload()
        self._reading.start()

    async def stop(self) -> None:
        await self._reading.stop()

    async def reload(self) -> None:
        """Let the rules of the table hold from here on. What is in flight stays counted."""
        self._book = Rulebook(await self.rules.list())

    def check(self, caller: Caller, model: str, tokens: int) -> None:
        """Raise what `enter` would raise now. Nothing is counted."""
        now = self._clock()
        for rule, key in self._rules(caller, model):
            self._check(rule, key, tokens, now)

    def enter(self, caller: Caller, model: str, tokens: int) -> Slot:
        """Admit a request that may take so many tokens, or raise RateLimited with nothing counted."""
        rules = self._rules(caller, model)
        if not rules:
            return Slot(self, rules, tokens)
        now = self._clock()
        for rule, key in rules:
            self._check(rule, key, tokens, now)
        for rule, key in rules:
            if rule.concurrency is not None:
                self._in_flight[key] = self._in_flight.get(key, 0) + 1
            if rule.rpm is not None:
                self._requests.take(key, 1, rule.rpm, now)
            if rule.tpm is not None:
                self._tokens.take(key, tokens, rule.tpm, now)
        return Slot(self, rules, tokens)

    def _rules(self, caller: Caller, model: str) -> tuple[tuple[Rule, Key], ...]:
        return tuple(
            (rule, (caller.org_id if rule.subject == "org" else caller.key_id, model))
            for rule in self._book.for_call(caller.tier, model)
        )

    def _check(self, rule: Rule, key: Key, tokens: int, now: int) -> None:
        whose = "your organisation" if rule.subject == "org" else "this key"
        if rule.concurrency is not None and self._in_flight.get(key, 0) >= rule.concurrency:
            raise RateLimited(
                f"{whose} has {rule.concurrency} answers of {key[1]} in flight, which is its limit",
                kind="concurrency",
                retry_after_s=BUSY_RETRY_S,
                hint="wait for one to end",
            )
        if rule.rpm is not None and (wait := self._requests.wait_ms(key, 1, rule.rpm, now)):
            raise RateLimited(
                f"{whose} may send {rule.rpm} requests a minute to {key[1]}",
                kind="requests",
                retry_after_s=wait / 1000,
            )
        if rule.tpm is not None and (wait := self._tokens.wait_ms(key, tokens, rule.tpm, now)):
            raise RateLimited(
                f"{whose} may use {rule.tpm} tokens a minute of {key[1]}; this request may need {tokens}",
                kind="tokens",
                retry_after_s=wait / 1000,
                hint="a smaller max_tokens needs less room",
            )

    def _leave(self, rules: tuple[tuple[Rule, Key], ...], more_tokens: int) -> None:
        for rule, key in rules:
            if rule.concurrency is not None:
                left = self._in_flight[key] - 1
                if left:
                    self._in_flight[key] = left
                else:
                    del self._in_flight[key]
            if rule.tpm is not None and more_tokens:
                self._tokens.take(key, more_tokens, rule.tpm, self._clock())
