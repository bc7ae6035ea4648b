"""The platform: its parts by name, made once in order, and the work that goes on after a request has ended.

Knows no HTTP and no wire format. `start` and `stop` run on the loop that serves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from openglm.errors import Overloaded
from openglm.maas.database import open_database
from openglm.maas.identity import Accounts, Keys, Sessions
from openglm.maas.ids import Clock, wall_clock
from openglm.maas.limits import Limits
from openglm.maas.money import Billing, Budgets, Plans, Prices, Wallet
from openglm.maas.secrets import Secrets
from openglm.maas.settings import Settings
from openglm.maas.upstreams import Client, Router

logger = logging.getLogger(__name__)
T = TypeVar("T")
STOP_S = 20.0  # how long bills may still be written after the last request


class Platform:
    """Handlers take what they need from here. One for each process and data folder."""

    def __init__(self, settings: Settings, *, clock: Clock = wall_clock):
        self.settings = settings
        self.clock = clock
        self.secrets = Secrets.open(settings.data)
        self.database = open_database(settings.database)
        self.keys = Keys(self.database, self.secrets, jwt=settings.jwt_keys, clock=clock)
        self.accounts = Accounts(
            self.database, sign_up=settings.sign_up, changed=self.keys.forget, clock=clock
        )
        self.sessions = Sessions(self.database, self.secrets, clock=clock)
        self.prices = Prices(self.database, clock=clock)
        self.plans = Plans(self.database, clock=clock)
        self.billing = Billing(self.database, self.prices, self.plans, clock=clock)
        self.wallet = Wallet(self.database, clock=clock)
        self.budgets = Budgets(self.database, clock=clock)
        self.limits = Limits(self.database, clock=clock)
        self.client = Client()
        self.router = Router(self.client, clock=clock)
        self._going_on: set[asyncio.Task[Any]] = set()
        self._stopping = False

    async def start(self) -> None:
        """Recover what a killed process left, and begin to tick."""
        await self.plans.load()
        await self.limits.start()
        await self.billing.start()

    async def stop(self) -> None:
        """Write every bill that is still open, then close what was opened."""
        self._stopping = True
        await self.settled(STOP_S)
        await self.billing.stop()
        await self.limits.stop()
        await self.client.close()
        self.database.close()

    def check_open(self) -> None:
        """Raise once the platform is stopping: what has begun ends, nothing new begins."""
        if self._stopping:
            raise Overloaded("the platform is stopping")

    def refuse(self) -> None:
        """Take no new requests from here on."""
        self._stopping = True

    def go_on(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run what must be finished whoever leaves; `stop` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._going_on.add(task)
        task.add_done_callback(self._going_on.discard)
        return task

    async def settled(self, timeout_s: float = STOP_S) -> None:
        """Wait until nothing goes on any more."""
        if self._going_on:
            _, late = await asyncio.wait(tuple(self._going_on), timeout=timeout_s)
            if late:
                logger.error("%d bills are left to the next start", len(late))
