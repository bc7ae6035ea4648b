"""The one place where wallet, budgets and plans are judged, for every dialect, for batches and for tools.

A request holds before its first byte, may extend while it streams, and ends in exactly one settle or void,
whatever its client does: a settle that was begun is carried out even if the task that asked is cancelled. A
tick writes the checkpoints of all live requests in one transaction, renews this node's lease, and recovers
what nodes without a lease left open: such holds settle at their last checkpoint, and the rest is released.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Literal, TypeVar

from openglm.errors import DuplicateRequest, InvalidRequest, NotFound, OpenGLMError
from openglm.maas.database import Database, Transaction
from openglm.maas.ids import Clock, new_id, wall_clock
from openglm.maas.money.ask import Ask, Hold, Receipt, checked_usage
from openglm.maas.money.holds import Ending, close_hold, counts, extend_hold, receipt_of, take_hold, usage_of
from openglm.maas.money.prices import Prices
from openglm.maas.money.subscriptions import Plans
from openglm.messages import Usage

T = TypeVar("T")
TICK_S = 1.0
LEASE_MS = 5_000
RECOVER_EVERY = 3  # ticks, so that what a dead node held is free within 8 s
CHECKPOINT_TOKENS = 256  # of one request, after which the next flush does not wait for the tick
FLUSH_GAP_S = 0.1
BATCH = 100  # holds that one recovering transaction closes

log = logging.getLogger(__name__)


class Billing:
    """Every request goes through here. `start` first: a node without a lease counts as dead."""

    def __init__(
        self,
        database: Database,
        prices: Prices,
        plans: Plans,
        *,
        clock: Clock = wall_clock,
        node_id: str | None = None,
    ):
        self.node_id = node_id or new_id("node", clock())
        self._database = database
        self._prices = prices
        self._plans = plans
        self._clock = clock
        self._checkpoints: dict[str, Usage] = {}  # not yet written
        self._written: dict[str, int] = {}  # tokens of the last written checkpoint
        self._wake: asyncio.Event | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Take the lease, recover what dead nodes left, and begin to tick."""
        await self.beat()
        await self.recover(None)
        self._stopping = False
        self._wake = asyncio.Event()
        self._ticking = asyncio.create_task(self._tick(self._wake), name="money-tick")

    async def stop(self) -> None:
        """Write the checkpoints and give the lease back; holds still open are anybody's to recover."""
        if self._ticking:
            self._stopping = True
            if self._wake:
                self._wake.set()
            await self._ticking
            self._ticking = None
        await self.flush()
        await self._database.write(
            lambda tx: tx.run("DELETE FROM money_node WHERE id = :id", id=self.node_id), durable=True
        )

    async def hold(self, ask: Ask) -> Hold:
        """Set aside what the request may cost at most, or say why not. On return it survives our end."""
        price = None if ask.plan else await self._prices.current(ask.model, ask.base)
        now = self._clock()
        taking = self._database.submit(
            lambda tx: take_hold(tx, ask, price, self._plans, node_id=self.node_id, now=now)
        )
        try:
            return await outcome(taking)
        except asyncio.CancelledError:
            # Nobody will end a hold that nobody got.
            taking.add_done_callback(self._abandon)
            raise

    async def check_new(self, org_id: str, client_request_id: str) -> None:
        """Raise DuplicateRequest if a request of this name runs or was answered. `hold` makes it sure."""
        if await self._database.read_one(
            "SELECT 1 AS found FROM hold WHERE org_id = :org AND client_request_id = :name",
            org=org_id,
            name=client_request_id,
        ):
            raise DuplicateRequest(
                f"a request with the id {client_request_id!r} is running or was answered",
                hint="send a new request_id",
            )

    async def extend(self, hold: Hold, usage: Usage, more_output_tokens: int) -> Hold:
        """Hold enough for the usage so far and that many output tokens more."""
        checked_usage(usage)
        if more_output_tokens < 0:
            raise InvalidRequest(f"more_output_tokens must be at least 0, got {more_output_tokens}")
        extending = self._database.submit(
            lambda tx: extend_hold(
                tx, hold, usage, more_output_tokens, prices=self._prices, plans=self._plans
            )
        )
        return await outcome(extending)

    def checkpoint(self, hold_id: str, usage: Usage) -> None:
        """The usage so far, kept in memory until the next flush. Call it as often as you like."""
        self._checkpoints[hold_id] = checked_usage(usage)
        new = usage.total_tokens - self._written.setdefault(hold_id, usage.prompt_tokens)
        if new >= CHECKPOINT_TOKENS and self._wake:
            self._wake.set()

    async def settle(
        self,
        hold: Hold,
        usage: Usage,
        *,
        status: Literal["ok", "partial", "failed"],
        estimated: bool = False,
        ttft_ms: int | None = None,
        duration_ms: int | None = None,
        also: Callable[[Transaction], None] | None = None,
    ) -> Receipt:
        """Charge what was used and release the rest, exactly once; again, it is the same receipt again.

        `also` is written in the same transaction: what must be kept exactly if it is paid for.
        """
        ending = Ending("settled", status, estimated, ttft_ms, duration_ms)
        return await self._close(hold, checked_usage(usage), ending, also)

    def settling(
        self, hold: Hold, usage: Usage, *, estimated: bool, receipts: list[Receipt]
    ) -> Callable[[Transaction], None]:
        """What settles a hold within another's transaction, for answers of several turns that are paid for
        together or not at all. The receipt is put into `receipts`."""
        ending, now = Ending("settled", "ok", estimated), self._clock()

        def close(tx: Transaction) -> None:
            receipt = close_hold(
                tx,
                hold.id,
                hold.org_id,
                checked_usage(usage),
                ending,
                prices=self._prices,
                plans=self._plans,
                now=now,
            )
            receipts[:] = [*(one for one in receipts if one.request_id != hold.id), receipt]

        return close

    async def void(self, hold: Hold) -> None:
        """Nothing was produced: nothing is charged, and the client may send its request_id again."""
        await self._close(hold, None, Ending("voided", "void"))

    async def recover(self, node_id: str | None = None) -> int:
        """Close what dead nodes left open: one that is known to be dead, or all whose lease ran out.

        A node that was only asleep finds its requests closed, and its settles return those receipts.
        """
        if node_id == self.node_id:
            raise InvalidRequest("a node does not recover its own holds", param="node_id")
        recovered = 0
        while True:
            batch = await self._database.write(lambda tx: self._recover(tx, node_id), durable=True)
            recovered += batch
            if batch < BATCH:
                return recovered

    async def flush(self) -> int:
        """Write the checkpoints of all live requests in one transaction."""
        if not self._checkpoints:
            return 0
        taken, self._checkpoints = self._checkpoints, {}
        rows = [{"id": hold_id, **counts(usage)} for hold_id, usage in sorted(taken.items())]
        try:
            await self._database.write(lambda tx: tx.many(_CHECKPOINT, rows))
        except BaseException:
            self._checkpoints = taken | self._checkpoints
            raise
        for hold_id, usage in taken.items():
            if hold_id in self._written:
                self._written[hold_id] = usage.total_tokens
        return len(rows)

    async def beat(self) -> None:
        """Renew this node's lease."""
        until = self._clock() + LEASE_MS
        await self._database.write(
            lambda tx: tx.run(
                "INSERT INTO money_node (id, lease_until) VALUES (:id, :until)"
                " ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until",
                id=self.node_id,
                until=until,
            )
        )

    async def receipt(self, org_id: str, request_id: str) -> Receipt:
        """The receipt of a request that has ended."""
        row = await self._database.read_one(
            "SELECT * FROM usage_event WHERE request_id = :id AND org_id = :org_id",
            id=request_id,
            org_id=org_id,
        )
        if row is None:
            raise NotFound("there is no request with this id")
        return receipt_of(row)

    async def _close(
        self,
        hold: Hold,
        usage: Usage | None,
        ending: Ending,
        also: Callable[[Transaction], None] | None = None,
    ) -> Receipt:
        now = self._clock()

        def close(tx: Transaction) -> Receipt:
            receipt = close_hold(
                tx, hold.id, hold.org_id, usage, ending, prices=self._prices, plans=self._plans, now=now
            )
            if also:
                also(tx)
            return receipt

        closing = self._database.submit(close, durable=True)
        self._checkpoints.pop(hold.id, None)
        self._written.pop(hold.id, None)
        return await outcome(closing)

    def _abandon(self, taking: Future[Hold]) -> None:
        if taking.cancelled() or taking.exception():
            return
        hold, now = taking.result(), self._clock()
        ending = Ending("voided", "void")
        self._database.submit(
            lambda tx: close_hold(
                tx, hold.id, hold.org_id, None, ending, prices=self._prices, plans=self._plans, now=now
            ),
            durable=True,
        )

    def _recover(self, tx: Transaction, node_id: str | None) -> int:
        now = self._clock()
        dead = (
            "node_id = :node"
            if node_id
            else "node_id NOT IN (SELECT id FROM money_node WHERE lease_until > :now) AND node_id <> :own"
        )
        rows = tx.all(
            f"SELECT * FROM hold WHERE state = 'open' AND {dead} ORDER BY id LIMIT {BATCH}",
            node=node_id,
            now=now,
            own=self.node_id,
        )
        for row in rows:
            usage = usage_of(row) if row["has_checkpoint"] else None
            ending = Ending("recovered", "partial" if usage else "failed", estimated=usage is not None)
            close_hold(
                tx, row["id"], row["org_id"], usage, ending, prices=self._prices, plans=self._plans, now=now
            )
        if len(rows) < BATCH:
            tx.run(
                "DELETE FROM money_node WHERE lease_until <= :now AND id <> :own", now=now, own=self.node_id
            )
        return len(rows)

    async def _tick(self, wake: asyncio.Event) -> None:
        beats = 0
        loop = asyncio.get_running_loop()
        next_beat = loop.time()
        while not self._stopping:
            await asyncio.sleep(FLUSH_GAP_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, next_beat - loop.time())):
                    await wake.wait()
            wake.clear()
            try:
                await self.flush()
                if loop.time() >= next_beat:
                    next_beat = loop.time() + TICK_S
                    await self.beat()
                    beats += 1
                    if beats % RECOVER_EVERY == 0:
                        await self.recover(None)
            except OpenGLMError as error:
                log.error("the money tick failed and will be tried again: %s", error)


async def outcome(write: Future[T]) -> T:
    """Wait for a write. Being cancelled while waiting does not cancel the write."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[None] = loop.create_future()

    def arrive() -> None:
        if not arrived.done():
            arrived.set_result(None)

    def wake(_: Future[T]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed, and nobody waits
            loop.call_soon_threadsafe(arrive)

    write.add_done_callback(wake)
    await arrived
    return write.result()


_CHECKPOINT = (
    "UPDATE hold SET has_checkpoint = 1, input_uncached = :input_uncached, cache_read = :cache_read,"
    " cache_write = :cache_write, output_text = :output_text, output_reasoning = :output_reasoning,"
    " images = :images WHERE id = :id AND state = 'open'"
)
