"""The scheduler's law and the blocks' accounting, without any model."""

import subprocess
import sys

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from openglm.engine.blocks import BlockPool, block_hash, root_hash
from openglm.engine.request import EngineRequest, Sequence
from openglm.engine.scheduler import MAX_OVERTAKES, Scheduler
from openglm.messages import SamplingParams

BLOCK = 4


def new_sequence(number: int, prompt: list[int], max_tokens: int = 8, salt: str = "") -> Sequence:
    request = EngineRequest(prompt, SamplingParams(max_tokens=max_tokens), cache_salt=salt)
    return Sequence(number, request, list(prompt), len(prompt) + max_tokens)


def new_scheduler(blocks: int = 16, budget: int = 8, sequences: int = 4, **more) -> Scheduler:
    return Scheduler(BlockPool(blocks, BLOCK), max_batch_tokens=budget, max_sequences=sequences, **more)


def compute(plan, token: int = 1) -> list[Sequence]:
    """What the core does with a plan, with a model that always says `token`. Returns who got one."""
    got = []
    for chunk in plan.chunks:
        sequence = chunk.sequence
        reached = chunk.reaches_end
        sequence.num_computed = chunk.start + chunk.num_tokens - chunk.num_drafts
        sequence.draft_ids = []
        if reached:
            sequence.token_ids.append(token)
            got.append(sequence)
    return got


def test_scheduling_needs_no_torch():
    code = "import sys, openglm.engine.scheduler; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_prompts_are_cut_to_the_budget_and_answers_come_first():
    scheduler = new_scheduler()
    short, long = new_sequence(1, [1, 2]), new_sequence(2, list(range(20)))
    scheduler.add(short)
    scheduler.add(long)
    rows = []
    for _ in range(4):
        plan = scheduler.plan()
        rows.append([(chunk.sequence.id, chunk.num_tokens) for chunk in plan.chunks])
        compute(plan)
    assert rows == [[(1, 2), (2, 6)], [(1, 1), (2, 7)], [(1, 1), (2, 7)], [(1, 1), (2, 1)]]


def test_prompts_may_be_cut_finer_than_answers():
    scheduler = new_scheduler(budget=8, max_prompt_tokens=3)
    long, short = new_sequence(1, [1] * 7), new_sequence(2, [2, 3])
    scheduler.add(long)
    scheduler.add(short)
    rows = []
    for _ in range(4):
        plan = scheduler.plan()
        rows.append([(chunk.sequence.id, chunk.num_tokens) for chunk in plan.chunks])
        compute(plan)
        long.draft_ids = [9] * 5 if long.num_generated else []
    assert rows == [[(1, 3)], [(1, 3)], [(1, 1), (2, 2)], [(1, 6), (2, 1)]]


def test_the_newest_gives_way_when_blocks_run_out_and_goes_on_later():
    scheduler = new_scheduler(blocks=5)
    old, new = new_sequence(1, [1] * 7, 12), new_sequence(2, [2] * 6, 6)
    scheduler.add(old)
    scheduler.add(new)
    preempted = []
    while scheduler.has_work:
        plan = scheduler.plan()
        preempted += plan.preempted
        for sequence in compute(plan):
            if len(sequence.token_ids) == sequence.max_length:
                scheduler.remove(sequence)
        scheduler.pool.check()
    assert preempted == [new]
    assert len(new.token_ids) == 12
    assert scheduler.pool.num_free == 5


def test_a_removed_sequence_frees_its_blocks_at_once():
    scheduler = new_scheduler()
    sequence = new_sequence(1, [1] * 9)
    scheduler.add(sequence)
    compute(scheduler.plan())
    assert scheduler.pool.num_free == 13
    scheduler.remove(sequence)
    assert scheduler.pool.num_free == 16
    assert not scheduler.has_work


def test_the_longest_cached_prefix_is_admitted_first_but_nobody_waits_for_ever():
    scheduler = new_scheduler(blocks=64, budget=16, sequences=1)
    known = [7] * 12
    first = new_sequence(0, known)
    scheduler.add(first)
    compute(scheduler.plan())
    scheduler.remove(first)
    stranger = new_sequence(1, [3] * 12)
    scheduler.add(stranger)
    admitted = []
    for number in range(2, MAX_OVERTAKES + 10):
        scheduler.add(new_sequence(number, [*known, number]))
        plan = scheduler.plan()
        compute(plan)
        (sequence,) = scheduler.running
        admitted.append(sequence.id)
        scheduler.remove(sequence)
    assert admitted[:MAX_OVERTAKES] == list(range(2, MAX_OVERTAKES + 2))
    assert admitted[MAX_OVERTAKES] == 1


def test_requests_of_one_step_share_the_blocks_that_the_step_computes():
    scheduler = new_scheduler(budget=32)
    a, b = new_sequence(1, [5] * 9), new_sequence(2, [5] * 9)
    scheduler.add(a)
    scheduler.add(b)
    plan = scheduler.plan()
    assert [(c.sequence.id, c.start, c.num_tokens) for c in plan.chunks] == [(1, 0, 9), (2, 8, 1)]
    assert a.blocks[:2] == b.blocks[:2]
    assert a.blocks[2] != b.blocks[2]


def test_what_a_failed_sequence_computed_is_forgotten():
    scheduler = new_scheduler(budget=32)
    bad = new_sequence(1, [5] * 9)
    scheduler.add(bad)
    compute(scheduler.plan())
    scheduler.remove(bad, trusted=False)
    assert scheduler.pool.num_cached == 0


def test_drafts_never_cost_anyone_else_a_row_or_a_block():
    scheduler = new_scheduler(blocks=8, budget=5, sequences=4)
    for number in range(4):
        scheduler.add(new_sequence(number, [number]))
    compute(scheduler.plan())
    assert len(scheduler.running) == 4
    for sequence in scheduler.running:
        sequence.draft_ids = [9] * 7
    plan = scheduler.plan()
    assert [(c.num_tokens, c.num_drafts) for c in plan.chunks] == [(2, 1), (1, 0), (1, 0), (1, 0)]
    assert not plan.preempted


def test_a_budget_below_the_number_of_sequences_is_refused():
    with pytest.raises(ValueError, match="max_batch_tokens"):
        new_scheduler(budget=3, sequences=4)


def test_empty_blocks_are_given_away_before_remembered_ones_and_those_oldest_first():
    pool = BlockPool(4, BLOCK)
    hashes = [block_hash(root_hash("", 0), [i]) for i in range(3)]
    blocks = pool.allocate(3)
    for block, digest in zip(blocks, hashes, strict=True):
        pool.register(block, digest)
        pool.release([block])
    assert pool.num_free == 4
    assert pool.allocate(1) == [3]
    pool.share(pool.lookup(hashes[:1]))
    pool.release(blocks[:1])  # used again: now the youngest
    assert pool.allocate(2) == blocks[1:3]
    assert pool.lookup(hashes[:1]) == blocks[:1]
    assert pool.lookup(hashes[1:2]) == []


def test_hashes_depend_on_all_tokens_before_and_on_the_salt():
    def last(tokens, salt=""):
        parent = root_hash(salt, 0)
        for begin in range(0, len(tokens), BLOCK):
            parent = block_hash(parent, tokens[begin : begin + BLOCK])
        return parent

    base = last([1, 2, 3, 4, 5, 6, 7, 8])
    assert base == last([1, 2, 3, 4, 5, 6, 7, 8])
    others = [last([0, 2, 3, 4, 5, 6, 7, 8]), last([5, 6, 7, 8]), last([1, 2, 3, 4, 5, 6, 7, 8], "x")]
    assert len({base, *others}) == 4


class SchedulerMachine(RuleBasedStateMachine):
    """Any order of arrivals, steps, aborts, failures and flushes keeps every block accounted for."""

    @initialize(
        blocks=st.integers(6, 20),
        budget=st.integers(3, 12),
        prefix_cache=st.booleans(),
        lookahead=st.integers(0, 2),
    )
    def start(self, blocks, budget, prefix_cache, lookahead):
        self.scheduler = new_scheduler(
            blocks, budget, min(3, budget), prefix_cache=prefix_cache, lookahead=lookahead
        )
        self.capacity = blocks * BLOCK
        self.live: list[Sequence] = []
        self.content: dict[int, list] = {}  # what a real cache would hold: block -> (salt, tokens before it)
        self.count = 0

    @rule(
        data=st.data(),
        alphabet=st.integers(1, 2),
        length=st.integers(1, 20),
        answer=st.integers(1, 12),
        salt=st.sampled_from(["", "s"]),
    )
    def arrive(self, data, alphabet, length, answer, salt):
        prompt = data.draw(st.lists(st.integers(0, alphabet), min_size=length, max_size=length))
        self.count += 1
        sequence = new_sequence(self.count, prompt, min(answer, self.capacity - length), salt)
        if sequence.max_length > length:
            self.scheduler.add(sequence)
            self.live.append(sequence)

    @rule(token=st.integers(0, 2), fail=st.integers(0, 12))
    def step(self, token, fail):
        plan = self.scheduler.plan()
        assert plan.chunks or not self.live, "work, but no progress"
        assert sum(chunk.num_tokens for chunk in plan.chunks) <= self.scheduler.max_batch_tokens
        assert all(not sequence.blocks for sequence in plan.preempted)
        for chunk in plan.chunks:
            sequence, end = chunk.sequence, chunk.start + chunk.num_tokens
            assert chunk.start == sequence.num_computed
            assert len(sequence.blocks) * BLOCK >= end
            known = sequence.token_ids + sequence.draft_ids
            for position in range(chunk.start, end):
                block = self.content.setdefault(sequence.blocks[position // BLOCK], [None] * BLOCK)
                block[position % BLOCK] = (sequence.request.cache_salt, tuple(known[: position + 1]))
        for chunk in plan.chunks:  # every row would read exactly its own past
            sequence, known = chunk.sequence, chunk.sequence.token_ids
            for position in range(chunk.start + chunk.num_tokens - chunk.num_drafts):
                held = self.content[sequence.blocks[position // BLOCK]][position % BLOCK]
                assert held == (sequence.request.cache_salt, tuple(known[: position + 1]))
        got = compute(plan, token)
        for index, chunk in enumerate(plan.chunks):
            sequence = chunk.sequence
            if index == fail:
                self.scheduler.remove(sequence, trusted=False)
                self.live.remove(sequence)
            elif sequence in got and len(sequence.token_ids) == sequence.max_length:
                self.scheduler.remove(sequence)
                self.live.remove(sequence)
            elif sequence in got:
                sequence.draft_ids = [token] * (sequence.id % 4)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def abort(self, data):
        sequence = data.draw(st.sampled_from(self.live))
        self.scheduler.remove(sequence)
        self.live.remove(sequence)

    @rule()
    def flush(self):
        for sequence in reversed(self.scheduler.running.copy()):
            self.scheduler.preempt(sequence, trusted=False)
        self.scheduler.pool.forget_all()
        assert self.scheduler.pool.num_cached == 0

    @invariant()
    def accounts_balance(self):
        if not hasattr(self, "scheduler"):
            return
        pool = self.scheduler.pool
        pool.check()
        held = [block for sequence in self.scheduler.running for block in sequence.blocks]
        assert pool.num_free == pool.num_blocks - len(set(held))
        assert all(not sequence.blocks for sequence in self.scheduler.waiting)
        assert {s.id for s in self.live} == {s.id for s in [*self.scheduler.running, *self.scheduler.waiting]}

    def teardown(self):
        if hasattr(self, "live"):
            for sequence in self.live.copy():
                self.scheduler.remove(sequence)
            assert self.scheduler.pool.num_free == self.scheduler.pool.num_blocks


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
