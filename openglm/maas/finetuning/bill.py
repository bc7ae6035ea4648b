"""The money of one job: a hold while it trains, and one settle in the transaction that ends it.

Nothing is charged on the way. A hold of a process that died is void, and whoever goes on with the job takes a
new one; so what was trained is paid once, when the job ends, whatever died in between.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from openglm.errors import OpenGLMError
from openglm.maas.database import Transaction
from openglm.maas.finetuning.job import Job
from openglm.maas.ids import Clock, new_id
from openglm.maas.money.ask import TRAINING, Ask, Hold, Receipt
from openglm.maas.money.billing import Billing
from openglm.maas.money.holds import Unpaid
from openglm.messages import Usage

ENDPOINTS = {"openai": "/v1/fine_tuning/jobs", "zhipu": "/api/paas/v4/fine_tuning/jobs"}


class Bill:
    """`open` it, and end it with `settle` or `void`."""

    def __init__(self, billing: Billing, job: Job, clock: Clock):
        self._billing = billing
        self._job = job
        self._clock = clock
        self._hold: Hold | None = None

    @property
    def is_open(self) -> bool:
        return self._hold is not None

    async def open(self, tokens: int) -> None:
        """Hold what so many trained tokens cost. The wallet's and the budgets' refusals are raised.

        DuplicateRequest: the hold of a process that died has not been freed yet.
        """
        caller = self._job.who()
        self._hold = await self._billing.hold(
            Ask(
                request_id=new_id("req", self._clock()),
                org_id=caller.org_id,
                project_id=caller.project_id,
                key_id=caller.key_id,
                user_id=caller.user_id,
                model=self._job.base,
                kind=TRAINING,
                prompt_tokens=tokens,
                client_request_id=self._job.id,
                dialect=self._job.dialect,
                endpoint=ENDPOINTS[self._job.dialect],
            )
        )

    async def settle(self, tokens: int, also: Callable[[Transaction], None]) -> Receipt:
        """Charge so many tokens in the transaction of `also`: both are written, or neither is."""
        while True:
            try:
                receipt = await self._billing.settle(
                    self._open(), Usage(input_uncached=tokens), status="ok", also=also
                )
                self._hold = None
                return receipt
            except Unpaid:  # another node closed our hold, because we were silent for too long
                await self.open(tokens)

    def _open(self) -> Hold:
        assert self._hold is not None, "open came first"
        return self._hold

    async def void(self) -> None:
        """Charge nothing for what was not settled."""
        hold, self._hold = self._hold, None
        if hold is not None:
            with contextlib.suppress(OpenGLMError):  # recovered otherwise
                await self._billing.void(hold)
