"""Loops in the background: no error ends them, and they do not hammer what fails."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise

from openglm.errors import Overloaded
from openglm.maas.models import Model, Models
from openglm.maas.rounds import Rounds
from openglm.maas.upstreams import Channel, Client, Router


class Failing:
    """Work that raises what it is given, one after the other, and then is done."""

    def __init__(self, *errors: Exception):
        self.errors = list(errors)
        self.rounds: list[float] = []
        self.done = asyncio.Event()

    async def work(self) -> None:
        self.rounds.append(asyncio.get_running_loop().time())
        if self.errors:
            raise self.errors.pop(0)
        self.done.set()


def test_a_round_that_fails_is_made_again_whatever_the_error_was(caplog):
    async def go():
        failing = Failing(ValueError("not ours"), OSError(28, "no space"), Overloaded("full"))
        rounds = Rounds("things are looked at", failing.work, 0.001)
        rounds.start()
        await failing.done.wait()
        await rounds.stop()
        return failing.rounds

    with caplog.at_level(logging.WARNING):
        assert len(asyncio.run(asyncio.wait_for(go(), 30))) >= 4
    assert "not ours" in caplog.text
    assert "full" in caplog.text


def test_what_fails_is_tried_later_each_time_also_if_somebody_wakes_it():
    async def go():
        failing = Failing(*(ValueError("again") for _ in range(4)))
        rounds = Rounds("things are looked at", failing.work, 0.05)
        rounds.start(at_once=True)
        waking = asyncio.create_task(wake_always(rounds))
        await failing.done.wait()
        waking.cancel()
        await rounds.stop()
        return failing.rounds

    async def wake_always(rounds: Rounds) -> None:
        while True:
            rounds.wake()
            await asyncio.sleep(0.001)

    times = asyncio.run(asyncio.wait_for(go(), 30))
    gaps = [later - earlier for earlier, later in pairwise(times[:5])]
    for gap, least in zip(gaps, (0.05, 0.1, 0.2, 0.4), strict=True):
        assert gap > least * 0.9


def test_rounds_that_are_woken_do_not_wait_for_their_time():
    async def go():
        failing = Failing()
        rounds = Rounds("things are looked at", failing.work, 3600)
        rounds.start()
        rounds.wake()
        await failing.done.wait()
        await rounds.stop()
        rounds.wake()
        for _ in range(10):  # let whatever might still go on do so
            await asyncio.sleep(0)
        assert len(failing.rounds) == 1

    asyncio.run(asyncio.wait_for(go(), 30))


def test_the_table_of_models_is_read_again_after_an_error_that_is_not_ours(database, monkeypatch):
    monkeypatch.setattr("openglm.maas.models.READ_EVERY_S", 0.005)

    async def go():
        models, other = Models(database), Models(database)
        heard, broken = asyncio.Event(), asyncio.Event()
        await models.start()

        def changed() -> None:
            if not broken.is_set():
                broken.set()
                raise ValueError("not ours")
            heard.set()

        models.changed = changed
        await other.put(Model("glm-1"))
        await broken.wait()
        await other.put(Model("glm-2"))
        await heard.wait()
        await models.stop()

    asyncio.run(asyncio.wait_for(go(), 30))


class NearlyWell(Client):
    """Asks whether a channel is well, and fails in a way that nobody foresaw the first time."""

    def __init__(self):
        super().__init__()
        self.asked, self.answered = 0, asyncio.Event()

    async def healthy(self, channel: Channel) -> bool:
        self.asked += 1
        if self.asked == 1:
            raise ValueError("not ours")
        self.answered.set()
        return True


def test_a_resting_channel_is_probed_again_after_an_error_that_is_not_ours(monkeypatch):
    monkeypatch.setattr("openglm.maas.upstreams.router.PROBE_EVERY_S", 0.005)

    async def go():
        client = NearlyWell()
        router = Router(client)
        router.add(Channel("one", "http://127.0.0.1:9", {"glm": "wire"}))
        router._ways["one"].resting_until = 1 << 60
        router.start()
        await client.answered.wait()
        await router.stop()
        await client.close()

    asyncio.run(asyncio.wait_for(go(), 30))
