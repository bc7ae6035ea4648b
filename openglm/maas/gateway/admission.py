"""The door of a request: a place within the caller's limits, then the hold. Nothing is left behind if it is
refused at either."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from openglm.errors import (
    BudgetExhausted,
    OpenGLMError,
    PaymentRequired,
    PlanRefused,
    RateLimited,
)
from openglm.maas.gateway.call import Call
from openglm.maas.gateway.payer import plan_pays
from openglm.maas.gateway.prompts import Request, count, prompt_bound
from openglm.maas.money import Ask, Bill
from openglm.maas.money.plans import PERIODS

if TYPE_CHECKING:
    from openglm.maas.identity import Caller
    from openglm.maas.limits import Slot
    from openglm.maas.platform import Platform

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Admission:
    """What a request needs before its model is asked: a place within the caller's limits, and its hold.

    The prompt's bytes bound its tokens, which is quick. Where a limit, a budget, a plan or the wallet has no
    room for the bound, the tokens are counted exactly before anybody is refused.
    """

    def __init__(
        self,
        platform: Platform,
        call: Call,
        request: Request,
        kind: str,
        *,
        output: int = 0,
        name: str | None = None,
    ):
        self._platform = platform
        self._call = call
        self._request = request
        self._kind = kind
        self._output = output
        self._name = name
        self._prompt = prompt_bound(request)
        self._base = platform.models.base_of(request.model)

    async def enter(self, *, placed: bool = False) -> tuple[Slot | None, Bill]:
        """The place to leave and the bill to end; no place where one is held already."""
        slot = None if placed else await self.place()
        try:
            return slot, await self._paid(self._platform.billing.bill)
        except BaseException:
            if slot:
                slot.leave(0)
            raise

    async def check(self) -> None:
        """Raise now what would be refused at once: nothing is entered and nothing held."""
        if not self._call.batch:
            await self._within_limits(self._platform.limits.check)
        await self._paid(self._platform.billing.judge)

    async def place(self) -> Slot | None:
        """A place within the limits. A row of a batch waits in its model's own queue instead."""
        if self._call.batch:
            return None
        return await self._within_limits(self._platform.limits.enter)

    async def _within_limits(self, ask: Callable[[Caller, str, int], T]) -> T:
        """An adapter shares the limits of its base: they run on the same server."""
        model = self._base or self._request.model
        try:
            return ask(self._call.caller, model, self._prompt + self._output)
        except RateLimited as error:
            if error.kind != "tokens" or not await self._counted():
                raise
            return ask(self._call.caller, model, self._prompt + self._output)

    async def _paid(self, hold: Callable[[Ask], Awaitable[T]]) -> T:
        """Hold, or try to, what the request may cost."""
        call, caller = self._call, self._call.caller
        ask = Ask(
            request_id=call.request_id,
            org_id=caller.org_id,
            project_id=caller.project_id,
            key_id=caller.key_id,
            user_id=caller.user_id,
            model=self._request.model,
            kind=self._kind,
            dialect=call.surface.name,
            prompt_tokens=self._prompt,
            output_tokens=self._output,
            plan=await plan_pays(self._platform, call, self._request.model),
            batch=call.batch,
            client_request_id=call.name(self._name),
            endpoint=call.scope["path"],
            base=self._base,
        )
        try:
            return await hold(ask)
        except (PaymentRequired, BudgetExhausted, PlanRefused) as error:
            if isinstance(error, PlanRefused) and error.reason not in PERIODS:
                raise
            if not await self._counted():
                raise
            return await hold(replace(ask, prompt_tokens=self._prompt))

    async def _counted(self) -> bool:
        """Whether the exact count is less than what was asked for before."""
        try:
            exact = await count(self._platform, self._call, self._request)
        except OpenGLMError as error:  # not every server counts; the bound stands
            logger.info("request %s could not be counted: %s", self._call.request_id, error.message)
            return False
        less = exact < self._prompt
        self._prompt = min(exact, self._prompt)
        return less
