"""One hold and its one end, whatever happens in between.

    async with await billing.bill(ask) as bill:
        ...
        bill.used(usage)

What `used` was told is settled at the end, as "partial" where the work broke off after it; without a word the
hold is void. Neither waits for a task that is cancelled, and the database may fail for a while.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from openglm.maas.money.ask import Hold, Receipt
from openglm.messages import Usage

if TYPE_CHECKING:
    from openglm.maas.database import Transaction
    from openglm.maas.money.billing import Billing


class Bill:
    """`receipt` is there once it was settled."""

    def __init__(self, billing: Billing, hold: Hold):
        self._billing = billing
        self._usage: Usage | None = None
        self._words: dict[str, Any] = {}
        self.hold = hold
        self.receipt: Receipt | None = None

    def used(
        self,
        usage: Usage,
        *,
        status: Literal["ok", "partial"] = "ok",
        estimated: bool = False,
        ttft_ms: int | None = None,
        duration_ms: int | None = None,
        also: Callable[[Transaction], None] | None = None,
    ) -> None:
        """What is to be charged, and what is written with it; see `Billing.settle`."""
        self._usage = usage
        self._words = {
            "status": status,
            "estimated": estimated,
            "ttft_ms": ttft_ms,
            "duration_ms": duration_ms,
            "also": also,
        }

    def checkpoint(self, usage: Usage) -> None:
        self._billing.checkpoint(self.hold.id, usage)

    async def cover(self, usage: Usage, more_output_tokens: int) -> None:
        """Hold enough for the usage so far and that many output tokens more."""
        self.hold = await self._billing.extend(self.hold, usage, more_output_tokens)

    def drop(self) -> None:
        """Nothing was produced: void, without waiting for it."""
        self._billing.drop(self.hold)

    async def __aenter__(self) -> Bill:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._usage is None:
            await self._billing.void(self.hold)
            return
        if error is not None:
            self._words["status"] = "partial"
        try:
            self.receipt = await self._billing.settle(self.hold, self._usage, **self._words)
        except Exception:
            self.drop()  # `also` failed: what is not written is not charged
            raise
