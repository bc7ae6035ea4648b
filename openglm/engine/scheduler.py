"""Who computes what in the next step. No tensors.

One law for prefill, decode and verification: a sequence has computed some of its tokens and wants all of
them (and its drafts) computed; each step spends one budget of rows on that (the idea of vLLM's V1 scheduler).
Answers in flight come first, then prompts in flight, then waiting requests, those with the longest cached
prefix first within an age bound. A sequence is admitted with the blocks of all its known tokens, so only
answers grow; when they find no block, the newest sequence gives its blocks back and queues again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from openglm.engine.blocks import BlockPool, block_hash, root_hash
from openglm.engine.request import Sequence

MAX_OVERTAKES = 16  # times that a waiting request may be passed by later ones; not measured
WINDOW = 16  # waiting requests whose cached prefixes are compared


@dataclass(slots=True)
class Chunk:
    """One sequence's rows in a step: from token `start` on; the last `num_drafts` are guessed."""

    sequence: Sequence
    start: int
    num_tokens: int
    num_drafts: int = 0

    @property
    def reaches_end(self) -> bool:
        """Its last undrafted row is the sequence's last known token: what follows can be chosen."""
        return self.start + self.num_tokens - self.num_drafts == len(self.sequence.token_ids)


@dataclass(slots=True)
class Plan:
    chunks: list[Chunk] = field(default_factory=list)
    preempted: list[Sequence] = field(default_factory=list)


class Scheduler:
    def __init__(
        self,
        pool: BlockPool,
        *,
        max_batch_tokens: int,
        max_sequences: int,
        max_prompt_tokens: int | None = None,
        prefix_cache: bool = True,
        lookahead: int = 0,
    ):
        """`max_prompt_tokens`: of a step's rows, at most so many compute prompts; None: all that are left.
        `lookahead`: positions beyond the drafts that the drafter writes to, where blocks are left."""
        if max_batch_tokens < max_sequences:
            raise ValueError(
                f"max_batch_tokens ({max_batch_tokens}) must be at least max_sequences ({max_sequences})"
            )
        self.pool = pool
        self.max_batch_tokens = max_batch_tokens
        self.max_sequences = max_sequences
        self.max_prompt_tokens = max_prompt_tokens or max_batch_tokens
        self.prefix_cache = prefix_cache
        self.lookahead = lookahead
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []  # in the order of admission
        self.num_preemptions = 0

    @property
    def has_work(self) -> bool:
        return bool(self.running or self.waiting)

    def add(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence, *, trusted: bool = True) -> list[int]:
        """The sequence is over: free what it has. Returns the blocks that nobody uses any more.

        `trusted=False`: what it computed must not be found by later requests.
        """
        if sequence in self.running:
            self.running.remove(sequence)
        else:
            self.waiting.remove(sequence)
        return self._free(sequence, trusted)

    def preempt(self, sequence: Sequence, *, trusted: bool = True) -> None:
        """Give its blocks back and queue it again, first in line. The prefix cache may spare the work."""
        self.running.remove(sequence)
        self._free(sequence, trusted)
        sequence.num_preempted += 1
        self.num_preemptions += 1
        self.waiting.appendleft(sequence)

    def plan(self) -> Plan:
        """Choose the next step's rows and reserve their blocks. A sequence without blocks has no rows."""
        plan = Plan()
        budget = self.max_batch_tokens
        answers = [s for s in self.running if not _prefilling(s)]
        for index, sequence in enumerate(answers):
            if sequence.blocks:  # not preempted on the way
                spare = budget - (len(answers) - index)  # every answer behind this one needs its row, too
                budget -= self._extend(sequence, budget, spare, plan)
        budget = min(budget, self.max_prompt_tokens)
        for sequence in self.running:
            if budget and _prefilling(sequence):
                budget -= self._schedule(sequence, budget, plan)
        while budget and not plan.preempted and len(self.running) < self.max_sequences and self.waiting:
            if self.pool.num_free <= len(self.running) or not self._admit(sequence := self._next_waiting()):
                break
            budget -= self._schedule(sequence, budget, plan)
        return plan

    def _extend(self, sequence: Sequence, budget: int, spare: int, plan: Plan) -> int:
        """Rows for an answer's newest token and its drafts; others give way if blocks are short."""
        pool = self.pool
        base = len(sequence.token_ids)
        del sequence.draft_ids[max(0, min(spare, sequence.max_length - base - 1)) :]
        drafted = base + len(sequence.draft_ids)
        for length in (min(drafted + self.lookahead, sequence.max_length), drafted, base):
            missing = pool.blocks_for(length) - len(sequence.blocks)
            if missing <= pool.num_free:
                del sequence.draft_ids[max(0, length - base) :]
                break
        else:
            sequence.draft_ids.clear()
            while pool.num_free < missing:
                victim = self.running[-1]
                self.preempt(victim)
                plan.preempted.append(victim)
                if victim is sequence:
                    return 0
        if missing > 0:
            sequence.blocks += pool.allocate(missing)
        return self._schedule(sequence, budget, plan)

    def _schedule(self, sequence: Sequence, budget: int, plan: Plan) -> int:
        start = sequence.num_computed
        wanted = len(sequence.token_ids) - start
        count = min(wanted + len(sequence.draft_ids), budget)
        num_drafts = max(0, count - wanted)
        del sequence.draft_ids[num_drafts:]
        plan.chunks.append(Chunk(sequence, start, count, num_drafts))
        # Rows of one step see each other's cache entries: every layer writes all of them before it reads.
        self._register(sequence, min(start + count, len(sequence.token_ids)))
        return count

    def _next_waiting(self) -> Sequence:
        first = self.waiting[0]
        if not self.prefix_cache or first.num_preempted or first.overtaken >= MAX_OVERTAKES:
            return first
        candidates = [self.waiting[i] for i in range(min(WINDOW, len(self.waiting)))]
        return max(candidates, key=lambda s: len(self._cached_blocks(s)))  # of equals the first

    def _admit(self, sequence: Sequence) -> bool:
        pool = self.pool
        cached = self._cached_blocks(sequence)
        missing = pool.blocks_for(len(sequence.token_ids)) - len(cached)
        # One block for each answer in flight, lest admitting means preempting at once.
        reserve = len(self.running)
        if missing + pool.num_unused(cached) + reserve > pool.num_free:
            return False
        if sequence is not self.waiting[0]:
            self.waiting[0].overtaken += 1
        self.waiting.remove(sequence)
        self.running.append(sequence)
        pool.share(cached)
        sequence.blocks = cached + pool.allocate(missing)
        sequence.num_computed = len(cached) * pool.block_size
        sequence.num_registered = len(cached)
        if sequence.cached_tokens is None:
            sequence.cached_tokens = sequence.num_computed
        return True

    def _cached_blocks(self, sequence: Sequence) -> list[int]:
        """The cached blocks it could start from; its last token is always computed."""
        if not self.prefix_cache or not sequence.reads_cache:
            return []
        full = (len(sequence.token_ids) - 1) // self.pool.block_size
        self._extend_hashes(sequence, full)
        return self.pool.lookup(sequence.hashes[:full])

    def _register(self, sequence: Sequence, num_tokens: int) -> None:
        """Remember the full blocks among the first `num_tokens`."""
        full = num_tokens // self.pool.block_size
        if not self.prefix_cache or full <= sequence.num_registered:
            return
        self._extend_hashes(sequence, full)
        for index in range(sequence.num_registered, full):
            self.pool.register(sequence.blocks[index], sequence.hashes[index])
        sequence.num_registered = full

    def _extend_hashes(self, sequence: Sequence, count: int) -> None:
        size = self.pool.block_size
        hashes = sequence.hashes
        while len(hashes) < count:
            parent = hashes[-1] if hashes else root_hash(sequence.request.cache_salt, sequence.adapter)
            begin = len(hashes) * size
            hashes.append(block_hash(parent, sequence.token_ids[begin : begin + size]))

    def _free(self, sequence: Sequence, trusted: bool) -> list[int]:
        pool = self.pool
        if trusted:
            self._register(sequence, min(sequence.num_computed, len(sequence.token_ids)))
        else:
            pool.forget(sequence.blocks)
        blocks, sequence.blocks = sequence.blocks, []
        pool.release(blocks)
        sequence.num_computed = sequence.num_registered = 0
        sequence.draft_ids = []
        return [block for block in blocks if pool.num_unused((block,))]


def _prefilling(sequence: Sequence) -> bool:
    return len(sequence.token_ids) - sequence.num_computed > 1
