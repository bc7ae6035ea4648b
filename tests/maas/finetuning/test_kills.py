"""Nothing is lost and nothing is paid twice, whoever dies, and when: the platform, its trainer, both."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from openglm.maas.finetuning import FineTuning, Job
from openglm.maas.identity import SYSTEM
from tests.maas.finetuning.conftest import EACH, Bench, price_of
from tests.maas.finetuning.test_finetuning import THREE_EPOCHS, trained
from tests.maas.money.conftest import audited

ROOT = Path(__file__).parents[3]


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


@contextmanager
def node(bench: Bench, url: str, *words: str, how: str = "lives") -> Iterator[subprocess.Popen]:
    """Another process that trains; it is killed at the latest when the block ends."""
    command = [sys.executable, "-m", "tests.maas.finetuning.node", str(bench.data), url, str(bench.now), how]
    process = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "serves\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def trainers(bench: Bench) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
        except psutil.Error:
            continue
        if any(word.startswith(str(bench.data / "finetuning")) for word in line):
            found.append(process)
    return found


async def taken_over(bench: Bench, tuning: FineTuning, job: Job) -> Job:
    """A new node starts after the leases of the old one have run out, and does what is left to do."""
    await bench.until(lambda: not trainers(bench))
    bench.now += 60_000
    await bench.billing("node_2").recover("dying")
    await bench.models.reload()
    await tuning.worker.run_pending()
    return await bench.job(tuning, job)


@pytest.mark.parametrize("seed", range(3))
def test_a_training_goes_on_after_kills_of_the_platform_and_is_paid_once(bench: Bench, url: str, seed: int):
    chance = random.Random(seed)

    async def go():
        tuning = bench.gated(node="node_2")
        job = await bench.create(tuning, hyperparameters=THREE_EPOCHS)
        step = 0
        while (step := step + chance.randint(1, 4)) < 9:
            bench.open_gate(step)
            with node(bench, url, "--gate", str(bench.gate)) as process:
                wanted = step * EACH
                await bench.until(lambda wanted=wanted: trained(bench, job.id) == wanted)
                process.kill()
            await bench.until(lambda: not trainers(bench))  # they end with the platform
            bench.now += 60_000
            await bench.billing("node_2").recover("dying")
        bench.open_gate()
        done = await taken_over(bench, tuning, job)
        assert (done.state, done.trained_tokens) == ("succeeded", 9 * EACH)
        assert [point["step"] for point in await tuning.curve(done)] == list(range(1, 10))
        assert await bench.spent() == price_of(9 * EACH)
        audited(bench.database)
        starts = (bench.data / "finetuning" / job.id).parent
        assert starts.exists()

    asyncio.run(go())


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_kill_around_the_settle_leaves_one_bill_and_one_model(bench: Bench, url: str, how: str):
    async def go():
        tuning = bench.tuning(node="node_2")
        job = await bench.create(tuning, hyperparameters=THREE_EPOCHS)
        with node(bench, url, how=how) as process:
            await bench.until(lambda: process.poll() is not None)
        assert (await bench.job(tuning, job)).state == ("running" if how == "before" else "succeeded")
        done = await taken_over(bench, tuning, job)
        assert done.state == "succeeded"
        assert await bench.spent() == price_of(9 * EACH)
        audited(bench.database)
        assert len(bench.rows("SELECT * FROM model WHERE base = 'tiny'")) == 1
        assert bench.models.knows(done.fine_tuned_model)
        assert (bench.data / "finetuning" / job.id / "output" / "adapter").exists()
        assert not (bench.data / "finetuning" / job.id / "recipe.toml").exists()  # tidied all the same

    asyncio.run(go())


@pytest.mark.parametrize("asked", ["cancel", "pause"])
def test_what_was_asked_of_a_dead_node_is_done_by_the_next(bench: Bench, url: str, asked: str):
    async def go():
        tuning = bench.gated(node="node_2")
        job = await bench.create(tuning, hyperparameters=THREE_EPOCHS)
        bench.open_gate(4)
        with node(bench, url, "--gate", str(bench.gate)) as process:
            await bench.until(lambda: trained(bench, job.id) == 4 * EACH)
            process.kill()
        await getattr(tuning, asked)(await bench.job(tuning, job), actor=SYSTEM)
        found = await taken_over(bench, tuning, job)
        assert found.state == {"cancel": "cancelled", "pause": "paused"}[asked]
        assert await bench.spent() == (price_of(4 * EACH) if asked == "cancel" else 0)
        audited(bench.database)

    asyncio.run(go())


def test_a_trainer_that_outlives_its_platform_keeps_others_out_of_its_folder(bench: Bench, url: str):
    async def go():
        tuning = bench.tuning(node="node_2")
        job = await bench.create(tuning, hyperparameters=THREE_EPOCHS)
        bench.open_gate(2)
        with node(bench, url, "--gate", str(bench.gate), "--deaf") as process:
            await bench.until(lambda: trained(bench, job.id) == 2 * EACH)
            process.kill()
        (orphan,) = trainers(bench)
        try:
            bench.now += 60_000
            await bench.billing("node_2").recover("dying")
            await bench.models.reload()
            await tuning.worker.run_pending()
            told = await bench.told(tuning, job)
            assert told[-1] == "the job waits: an earlier trainer of this job has not ended yet"
        finally:
            orphan.kill()
        done = await taken_over(bench, tuning, job)
        assert (done.state, done.trained_tokens) == ("succeeded", 9 * EACH)
        assert await bench.spent() == price_of(9 * EACH)

    asyncio.run(go())


def test_a_node_that_was_taken_for_dead_pays_with_a_new_hold(bench: Bench):
    """Its hold was closed while it slept; the job is still its own."""

    async def go():
        tuning = bench.gated()
        job = await bench.create(tuning, hyperparameters=THREE_EPOCHS)
        bench.open_gate(3)
        working = asyncio.create_task(tuning.worker.run_pending())
        await bench.until(lambda: trained(bench, job.id) == 3 * EACH)
        assert await bench.billing("another").recover("node_1") == 1
        bench.open_gate()
        await working
        assert (await bench.job(tuning, job)).state == "succeeded"
        assert await bench.spent() == price_of(9 * EACH)
        audited(bench.database)

    asyncio.run(go())


def test_a_node_that_lost_its_lease_lets_go(bench: Bench):
    async def go():
        tuning = bench.gated()
        job = await bench.create(tuning, hyperparameters=THREE_EPOCHS)
        bench.open_gate(3)
        await tuning.worker.start()
        await bench.until(lambda: trained(bench, job.id) == 3 * EACH)
        await bench.billing("another").beat()  # a node that lives
        await bench.database.write(lambda tx: tx.run("UPDATE fine_tuning_job SET lease_owner = 'another'"))
        await tuning.worker.renew()
        await bench.until(lambda: not trainers(bench))
        await bench.until(lambda: not bench.rows("SELECT 1 FROM hold WHERE state = 'open'"))
        assert (await bench.job(tuning, job)).state == "running"  # the other node's, now
        await tuning.stop()

    asyncio.run(go())


def test_a_stopped_platform_lets_the_step_end_and_goes_on_at_its_next_start(bench: Bench):
    async def go():
        first = bench.gated()
        job = await bench.create(first, hyperparameters=THREE_EPOCHS)
        bench.open_gate(3)
        await first.start()
        await bench.until(lambda: trained(bench, job.id) == 3 * EACH)
        await first.stop()
        assert not trainers(bench)
        found = await bench.job(first, job)
        assert (found.state, found.trained_tokens) == ("queued", 3 * EACH)
        assert await bench.spent() == 0
        bench.open_gate()
        second = bench.gated(node="node_2")  # at once: no lease is waited for
        await second.start()

        async def ended() -> bool:
            return (await bench.job(second, job)).ended_at is not None

        await bench.until(ended)
        await second.stop()
        assert await bench.spent() == price_of(9 * EACH)

    asyncio.run(go())


def test_a_killed_trainer_is_started_again_by_the_same_platform(bench: Bench):
    async def go():
        tuning = bench.gated()
        job = await bench.create(tuning, hyperparameters=THREE_EPOCHS)
        bench.open_gate(3)
        working = asyncio.create_task(tuning.worker.run_pending())
        await bench.until(lambda: trained(bench, job.id) == 3 * EACH)
        (trainer,) = trainers(bench)
        os.kill(trainer.pid, signal.SIGKILL)
        await working
        bench.open_gate()
        bench.now += 60_000
        await tuning.worker.run_pending()
        assert (await bench.job(tuning, job)).state == "succeeded"
        assert "the trainer ended with -9; it is tried again" in await bench.told(tuning, job)
        assert await bench.spent() == price_of(9 * EACH)

    asyncio.run(go())
