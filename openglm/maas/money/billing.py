"""The one place where wallet, budgets and plans are judged, for every dialect, for batches and for tools.

A request holds before its first byte, may extend while it streams, and ends in exactly one settle or void,
whatever its client does: an end that was begun is carried out even if the task that asked is cancelled, and
tried again for as long as the database fails. A tick writes the checkpoints of all live requests in one
transaction, and recovers what dead nodes left open: such holds settle at their last checkpoint, and the rest
is released. A node that was only asleep charges what is missing when its requests end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import groupby
from typing import Literal, TypeVar

from openglm.errors import InvalidRequest
from openglm.maas.database import Database, DatabaseDown, Transaction
from openglm.maas.ids import Clock, new_id, wall_clock
from openglm.maas.money.ask import Ask, Hold, Receipt, checked_usage
from openglm.maas.money.bill import Bill
from openglm.maas.money.ends import Ends
from openglm.maas.money.holds import (
    USAGE_ROWS,
    Ending,
    charge_late,
    close_hold,
    counts,
    extend_hold,
    refuse_unpaid,
    stored_receipt,
    take_hold,
    usage_of,
    whole_receipt,
)
from openglm.maas.money.nodes import LOOK_S, Dead, Nodes
from openglm.maas.money.prices import Prices
from openglm.maas.money.subscriptions import Plans
from openglm.messages import Usage

T = TypeVar("T")
TICK_S = 1.0
RECOVER_EVERY = round(LOOK_S / TICK_S)  # ticks, so that what a dead node held is free within 8 s
CHECKPOINT_TOKENS = 256  # of one request, after which the next flush does not wait for the tick
FLUSH_GAP_S = 0.1
BATCH = 100  # holds that are recovered at once
STOP_S = 10.0  # how long ends that the database does not take are waited for

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
        ticks: Callable[[], float] = time.monotonic,
        node_id: str | None = None,
    ):
        self.node_id = node_id or new_id("node", clock())
        self._database = database
        self._prices = prices
        self._plans = plans
        self._clock = clock
        self._ends = Ends(database)
        self._nodes = Nodes(database, self.node_id, clock, ticks)
        self._checkpoints: dict[str, Usage] = {}  # not yet written
        self._written: dict[str, int] = {}  # tokens of the last written checkpoint
        self._wake: asyncio.Event | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Take the lease, recover what dead nodes left, and begin to tick."""
        await self.beat()
        self._nodes.keep_beating()
        await self.recover(None)
        self._stopping = False
        self._wake = asyncio.Event()
        self._ticking = asyncio.create_task(self._tick(self._wake), name="money-tick")

    async def stop(self) -> None:
        """Finish what is ending and give the lease back; holds still open are anybody's to recover."""
        if self._ticking:
            self._stopping = True
            if self._wake:
                self._wake.set()
            await self._ticking
            self._ticking = None
        await self._ends.finished(STOP_S)
        await self._nodes.rest()
        try:
            await self.flush()
            await self._nodes.leave()
        except DatabaseDown as error:
            log.error("this node's lease runs out by itself: %s", error.message)

    async def hold(self, ask: Ask) -> Hold:
        """Set aside what the request may cost at most, or say why not. On return it survives our end."""
        price = None if ask.plan else await self._prices.current(ask.model, ask.base)
        now = self._clock()
        taking = self._database.submit(
            lambda tx: take_hold(tx, ask, price, self._plans, node_id=self.node_id, now=now),
            lock=ask.org_id,
        )
        try:
            return await outcome(taking)
        except (asyncio.CancelledError, DatabaseDown):
            # It may be taken all the same, and nobody will end a hold that nobody got.
            self._end(ask, None, Ending("voided", "void"))
            raise

    async def judge(self, ask: Ask) -> None:
        """Raise what `hold` would raise now. Nothing is held: the hold is undone as soon as it is taken."""
        price = None if ask.plan else await self._prices.current(ask.model, ask.base)
        now = self._clock()

        def undone(tx: Transaction) -> None:
            take_hold(tx, ask, price, self._plans, node_id=self.node_id, now=now)
            raise _Granted

        with contextlib.suppress(_Granted):
            await outcome(self._database.submit(undone, lock=ask.org_id))

    async def bill(self, ask: Ask) -> Bill:
        """A hold that ends with its `async with`."""
        return Bill(self, await self.hold(ask))

    async def extend(self, hold: Hold, usage: Usage, more_output_tokens: int) -> Hold:
        """Hold enough for the usage so far and that many output tokens more."""
        checked_usage(usage)
        if more_output_tokens < 0:
            raise InvalidRequest(f"more_output_tokens must be at least 0, got {more_output_tokens}")
        extending = self._database.submit(
            lambda tx: extend_hold(
                tx, hold, usage, more_output_tokens, prices=self._prices, plans=self._plans
            ),
            lock=hold.org_id,
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

        `also` is written in the same transaction: what must be kept exactly if it is paid for. It may run
        again after a commit whose answer was lost, and then must change nothing. Where others ended the hold
        and it cannot be paid for any more, `Unpaid` is raised instead.
        """
        ending = Ending("settled", status, estimated, ttft_ms, duration_ms)
        return await asyncio.shield(self._end(hold.ask, checked_usage(usage), ending, also))

    def settling(
        self, hold: Hold, usage: Usage, *, estimated: bool, receipts: list[Receipt]
    ) -> Callable[[Transaction], None]:
        """What settles a hold within another's transaction, for answers of several turns that are paid for
        together or not at all. The receipt is put into `receipts`."""
        ending, now = Ending("settled", "ok", estimated), self._clock()

        def close(tx: Transaction) -> None:
            receipt = self._close(tx, hold.ask, checked_usage(usage), ending, now)
            refuse_unpaid(tx, hold.ask)
            receipts[:] = [*(one for one in receipts if one.request_id != hold.id), receipt]

        return close

    async def void(self, hold: Hold) -> None:
        """Nothing was produced: nothing is charged, and the client may send its request_id again."""
        await asyncio.shield(self.drop(hold))

    def drop(self, hold: Hold) -> asyncio.Future[Receipt]:
        """As `void`, for those who do not wait."""
        return self._end(hold.ask, None, Ending("voided", "void"))

    async def recover(self, node_id: str | None = None) -> int:
        """Close what dead nodes left open: one that is known to be dead, or all that seem so.

        A node that was only asleep finds its requests closed, and its settles charge what is missing.
        """
        if node_id == self.node_id:
            raise InvalidRequest("a node does not recover its own holds", param="node_id")
        if node_id is not None:
            recovered = await self._recover(Dead(node_id, None), known=True)
            await self._nodes.leave(node_id)
            return recovered
        return sum([await self._recover(dead) for dead in await self._nodes.dead()])

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
        await self._nodes.beat()

    async def receipt(self, org_id: str, request_id: str) -> Receipt:
        """The receipt of a request that has ended."""
        return whole_receipt(await self._database.read(USAGE_ROWS, id=request_id, org_id=org_id))

    def _end(
        self,
        ask: Ask,
        usage: Usage | None,
        ending: Ending,
        also: Callable[[Transaction], None] | None = None,
    ) -> asyncio.Future[Receipt]:
        hold_id, now = ask.request_id, self._clock()

        def close(tx: Transaction) -> Receipt:
            receipt = self._close(tx, ask, usage, ending, now)
            if also:
                refuse_unpaid(tx, ask)
                also(tx)
            return receipt

        def failed() -> None:
            log.warning("request %s is not settled yet: the database does not take it", hold_id)
            # Should we die before it does, the reaper charges it; but not where `also` would be missing.
            if usage is not None and also is None:
                self._checkpoints[hold_id] = usage

        self._checkpoints.pop(hold_id, None)
        self._written.pop(hold_id, None)
        return self._ends.begin(close, lock=ask.org_id, failed=failed)

    def _close(self, tx: Transaction, ask: Ask, usage: Usage | None, ending: Ending, now: int) -> Receipt:
        """Called again, in whatever way, it returns the receipt of the first time and changes nothing."""
        prices, plans = self._prices, self._plans
        receipt = close_hold(
            tx, ask.request_id, ask.org_id, usage, ending, prices=prices, plans=plans, now=now
        )
        if receipt is None and usage is not None:
            receipt = charge_late(
                tx, ask, usage, ending, node_id=self.node_id, prices=prices, plans=plans, now=now
            )
        return receipt or stored_receipt(tx, ask.request_id, ask.org_id)

    async def _recover(self, dead: Dead, *, known: bool = False) -> int:
        """Close a dead node's holds, one organisation's at a time."""
        recovered = 0
        while True:
            rows = await self._database.read(
                "SELECT id, org_id FROM hold WHERE state = 'open' AND node_id = :node"
                f" ORDER BY org_id, id LIMIT {BATCH}",
                node=dead.node_id,
            )
            if not rows:
                break
            for org_id, of_org in groupby(rows, lambda row: row["org_id"]):
                ids = [row["id"] for row in of_org]
                close = partial(self._close_holds, dead=dead, ids=ids, known=known)
                closed = await self._database.write(close, durable=True, lock=org_id)
                if closed is None:
                    return recovered
                recovered += closed
        if dead.lease is not None:
            await self._nodes.forget(dead)
        return recovered

    def _close_holds(self, tx: Transaction, dead: Dead, ids: Sequence[str], *, known: bool) -> int | None:
        """How many were still open; None if the node is alive after all."""
        row = tx.one("SELECT lease_until FROM money_node WHERE id = :id", id=dead.node_id)
        if not known and row is not None and row["lease_until"] != dead.lease:
            return None
        now, closed = self._clock(), 0
        for hold_id in ids:
            row = tx.one("SELECT * FROM hold WHERE id = :id AND state = 'open'", id=hold_id)
            if row is None:
                continue
            usage = usage_of(row) if row["has_checkpoint"] else None
            ending = Ending("recovered", "partial" if usage else "failed", estimated=usage is not None)
            close_hold(
                tx, row["id"], row["org_id"], usage, ending, prices=self._prices, plans=self._plans, now=now
            )
            closed += 1
        return closed

    async def _tick(self, wake: asyncio.Event) -> None:
        ticks = 0
        loop = asyncio.get_running_loop()
        next_tick = loop.time()
        while not self._stopping:
            await asyncio.sleep(FLUSH_GAP_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, next_tick - loop.time())):
                    await wake.wait()
            wake.clear()
            try:
                await self.flush()
                if loop.time() >= next_tick:
                    next_tick = loop.time() + TICK_S
                    ticks += 1
                    if ticks % RECOVER_EVERY == 0:
                        await self.recover(None)
            except Exception as error:
                log.error("the money tick failed and will be tried again", exc_info=error)


class _Granted(Exception):
    """The hold can be taken. Raised to undo it."""


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
