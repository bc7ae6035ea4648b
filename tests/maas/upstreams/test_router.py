"""Who answers, who is asked next, and who rests."""

from __future__ import annotations

import asyncio
import json

import pytest

from openglm.errors import InvalidRequest, ModelNotFound, UpstreamFailure
from openglm.maas.upstreams import Channel, Client, Router
from openglm.maas.upstreams.router import FAILURES, REST_MS
from openglm.messages import ChatRequest, Message, TextDelta
from tests.maas.fake_upstream import FakeUpstream


def ask(**script) -> ChatRequest:
    return ChatRequest("glm", (Message.of("user", json.dumps(script)),))


def routed(work, *channels: Channel, clock=lambda: 0):
    async def scenario():
        client = Client()
        router = Router(client, clock=clock)
        for channel in channels:
            router.add(channel)
        try:
            return await work(router)
        finally:
            await client.close()

    return asyncio.run(asyncio.wait_for(scenario(), 30))


async def answered_by(router: Router, affinity: str | None = None, **script) -> str:
    answer = await router.stream(ask(**script), request_id="r", affinity=affinity)
    try:
        text = ""
        while step := await answer.step():
            text += "".join(event.text for event in step[1] if isinstance(event, TextDelta))
        assert text
        return answer.channel.id
    finally:
        await answer.leave()


def channel(name: str, upstream: FakeUpstream | None) -> Channel:
    return Channel(name, upstream.url if upstream else "http://127.0.0.1:9", {"glm": "wire"})


def test_a_conversation_stays_on_its_channel_and_conversations_spread():
    with FakeUpstream() as one, FakeUpstream() as two:

        async def work(router):
            return [[await answered_by(router, f"talk-{n}") for _ in range(3)] for n in range(12)]

        talks = routed(work, channel("one", one), channel("two", two))
    assert all(len(set(talk)) == 1 for talk in talks)
    assert {talk[0] for talk in talks} == {"one", "two"}


def test_turns_of_a_conversation_meet_again_without_a_name_for_it():
    def turn(talk: int, turns: int) -> ChatRequest:
        said = [Message.of("system", "Be brief."), Message.of("user", json.dumps({"talk": talk}))]
        for number in range(turns):
            said += [Message.of("assistant", "w0"), Message.of("user", json.dumps({"number": number}))]
        return ChatRequest("glm", tuple(said))

    with FakeUpstream() as one, FakeUpstream() as two:

        async def work(router):
            async def met(talk: int, turns: int) -> str:
                answer = await router.stream(turn(talk, turns), request_id=f"r{talk}-{turns}")
                await answer.leave()
                return answer.channel.id

            return [{await met(talk, turns) for turns in range(3)} for talk in range(12)]

        talks = routed(work, channel("one", one), channel("two", two))
    assert all(len(met) == 1 for met in talks)
    assert set().union(*talks) == {"one", "two"}


def test_a_server_that_is_gone_or_dies_before_its_first_word_is_passed_over():
    with FakeUpstream() as well:

        async def work(router):
            return {await answered_by(router, f"talk-{n}") for n in range(8)}

        assert routed(work, channel("gone", None), channel("well", well)) == {"well"}


def test_a_server_that_does_not_know_the_model_is_passed_over():
    with FakeUpstream() as one, FakeUpstream() as two:

        async def work(router):
            return {await answered_by(router, f"talk-{n}") for n in range(8)}

        lost = Channel("one", f"{one.url}/nothing-here", {"glm": "wire"})
        assert routed(work, lost, channel("two", two)) == {"two"}


def test_an_answer_that_has_begun_is_never_begun_again_elsewhere():
    with FakeUpstream() as one, FakeUpstream() as two:

        async def work(router):
            with pytest.raises(UpstreamFailure):
                await answered_by(router, dies=1)

        routed(work, channel("one", one), channel("two", two))
        assert len(one.bodies) + len(two.bodies) == 1


def test_what_the_caller_did_wrong_is_not_tried_elsewhere():
    with FakeUpstream() as one, FakeUpstream() as two:

        async def work(router):
            with pytest.raises(InvalidRequest):
                await answered_by(router, status=400)

        routed(work, channel("one", one), channel("two", two))
        assert len(one.bodies) + len(two.bodies) == 1


def test_a_channel_that_keeps_failing_rests_and_is_tried_again_later():
    now = [0]
    with FakeUpstream() as ill, FakeUpstream() as well:

        async def failing(router):
            for n in range(40):
                await answered_by(router, f"talk-{n}")
            asked = len(ill.bodies)
            assert asked == FAILURES
            now[0] += REST_MS + 1
            for n in range(40):
                await answered_by(router, f"talk-{n}")
            assert len(ill.bodies) == asked + 1

        ill.always["status"] = 500
        routed(failing, channel("ill", ill), channel("well", well), clock=lambda: now[0])


def test_a_removed_channel_gets_no_more_and_an_unknown_model_is_not_found():
    with FakeUpstream() as one:

        async def work(router):
            await answered_by(router)
            router.remove("one")
            with pytest.raises(ModelNotFound, match="there is no model"):
                await answered_by(router)

        routed(work, channel("one", one))
