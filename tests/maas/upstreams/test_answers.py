"""Answers of model servers that behave, and of those that do not; and how answers are left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from openglm.errors import InvalidRequest, NotOffered, Overloaded, UpstreamFailure
from openglm.maas.upstreams import Channel, Client, UpstreamAnswer
from openglm.maas.upstreams.answer import Abandoned
from openglm.messages import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Event,
    Finish,
    Message,
    ReasoningDelta,
    TextDelta,
    Usage,
)
from tests.maas.fake_upstream import FakeUpstream


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as fake:
        yield fake


def ask(**script) -> ChatRequest:
    return ChatRequest("glm", (Message.of("user", json.dumps(script)),))


def run(work, upstream: FakeUpstream, **channel):
    """Runs `work(client, channel)` with a client that is closed afterwards."""

    async def scenario():
        client = Client()
        try:
            return await work(client, Channel("c", upstream.url, **channel))
        finally:
            await client.close()

    return asyncio.run(asyncio.wait_for(scenario(), 30))


async def events_of(answer: UpstreamAnswer) -> list[Event]:
    found: list[Event] = []
    try:
        while step := await answer.step():
            found += step[1]
    finally:
        await answer.leave()
    return found


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


@pytest.mark.parametrize(
    "script", [{}, {"crlf": True}, {"piece": 1}, {"gzip": True}, {"no_done": True}, {"usage": "last"}]
)
def test_an_answer_is_the_same_however_it_is_sent(upstream, script):
    async def work(client, channel):
        answer = await client.stream(channel, ask(words=["好", "的 ", "é"], cached=2, **script), "req-1")
        return await events_of(answer), answer.usage

    events, usage = run(work, upstream)
    assert text_of(events) == "好的 é"
    assert events.count(Finish("stop")) == 1
    assert usage == Usage(3, 2, 0, 3, 0)


def test_reasoning_is_told_from_text(upstream):
    async def work(client, channel):
        return await events_of(await client.stream(channel, ask(words=["hm ", "yes"], reasoning=1), "r"))

    events = run(work, upstream)
    assert ReasoningDelta("hm ") in events
    assert text_of(events) == "yes"


def test_the_server_is_asked_under_its_own_name_for_the_model_and_with_its_own_key(upstream):
    async def work(client, channel):
        await events_of(await client.stream(channel, ask(), "req-named"))

    run(work, upstream, models={"glm": "zai-org/GLM"}, api_key="sk-upstream")
    assert upstream.bodies[-1]["model"] == "zai-org/GLM"
    assert upstream.headers[-1]["authorization"] == "Bearer sk-upstream"
    assert upstream.headers[-1]["x-request-id"] == "req-named"
    assert "sk-upstream" not in repr(Channel("c", upstream.url, api_key="sk-upstream"))


@pytest.mark.parametrize(
    "script", [{"dies": 0}, {"dies": 2}, {"garbage": 2}, {"unfinished": True, "no_done": True}]
)
def test_an_answer_that_breaks_off_is_a_failure_and_keeps_its_last_usage(upstream, script):
    async def work(client, channel):
        # What breaks before the first step was read has not begun, and what is garbled may come with it.
        answer = await client.stream(channel, ask(tokens=5, pace_s=0.05, **script), "req-broken")
        assert script.get("dies") != 0
        try:
            await events_of(answer)
        finally:
            assert answer.usage is not None
            assert answer.usage.completion_tokens >= 1

    with pytest.raises(UpstreamFailure):
        run(work, upstream)


def test_what_came_before_a_failure_is_read_although_both_came_in_one_piece(upstream):
    async def work(client, channel):
        answer = await client.stream(channel, ask(tokens=2, garbage=1, at_once=True), "r")
        step = await answer.step()
        with pytest.raises(UpstreamFailure):
            await answer.step()
        await answer.leave()
        return text_of(step[1]), answer.usage

    assert run(work, upstream) == ("w0 ", Usage(5, 0, 0, 1, 0))


@pytest.mark.parametrize(
    ("status", "kind"), [(400, InvalidRequest), (503, Overloaded), (500, UpstreamFailure)]
)
def test_a_refusal_is_raised_before_anything_is_answered(upstream, status, kind):
    async def work(client, channel):
        with pytest.raises(kind):
            await client.stream(channel, ask(status=status), "r")

    run(work, upstream)


def test_a_server_that_is_not_there_is_a_failure_of_the_upstream():
    async def scenario():
        client = Client()
        channel = Channel("gone", "http://127.0.0.1:9")
        try:
            assert not await client.healthy(channel)
            with pytest.raises(UpstreamFailure, match="reached"):
                await client.stream(channel, ask(), "r")
        finally:
            await client.close()

    asyncio.run(scenario())


def test_a_cancelled_answer_is_billed_to_the_token_that_the_server_wrote_last(upstream):
    async def work(client, channel):
        answer = await client.stream(channel, ask(tokens=10_000, pace_s=0.001), "req-cancel")
        for _ in range(3):
            await answer.step()
        await answer.leave()
        return answer.usage

    usage = run(work, upstream, leaving="cancel")
    assert usage.completion_tokens == upstream.billed["req-cancel"]["completion"] < 10_000


def test_a_reader_cancelled_in_the_middle_leaves_an_answer_that_can_still_be_billed(upstream):
    async def work(client, channel):
        answer = await client.stream(channel, ask(tokens=10_000, pace_s=0.001), "req-reader")

        async def read() -> None:
            while await answer.step():
                pass

        reader = asyncio.create_task(read())
        while answer.usage is None or answer.usage.completion_tokens < 5:
            await asyncio.sleep(0)
        reader.cancel()
        await asyncio.wait([reader])
        await answer.leave()
        return answer.usage

    usage = run(work, upstream, leaving="cancel")
    assert usage.completion_tokens == upstream.billed["req-reader"]["completion"]


@pytest.mark.parametrize("leaving", ["abort", "cancel", "drain"])
def test_who_is_cancelled_at_the_moment_the_first_step_arrives_leaves_an_answer_to_be_billed(
    upstream, leaving
):
    async def work(client, channel):
        streaming = asyncio.ensure_future(
            client.stream(channel, ask(tokens=10_000, pace_s=0.001), f"first-{leaving}")
        )
        while not (asking := [t for t in asyncio.all_tasks() if t.get_coro().__name__ == "_begin"]):
            await asyncio.sleep(0)
        asking[0].add_done_callback(lambda _: streaming.cancel())
        with pytest.raises(Abandoned) as caught:
            await streaming
        return caught.value.answer

    answer = run(work, upstream, leaving=leaving, drain_tokens=5)
    assert answer._response.closed
    wrote = upstream.billed[f"first-{leaving}"]["completion"]
    assert 1 <= answer.usage.completion_tokens <= wrote
    if leaving == "cancel":
        assert answer.usage.completion_tokens == wrote


def test_a_server_that_cannot_count_tokens_is_neither_ill_nor_without_the_model(upstream):
    async def work(client, channel):
        upstream.counts = False
        with pytest.raises(NotOffered):
            await client.count_tokens(channel, ask(a=1), "glm", "r")

    try:
        run(work, upstream)
    finally:
        upstream.counts = True


def test_a_drained_answer_is_read_to_its_end_if_that_is_near(upstream):
    async def work(client, channel):
        answer = await client.stream(channel, ask(tokens=50), "req-drain")
        await answer.step()
        await answer.leave()
        return answer.usage

    usage = run(work, upstream, leaving="drain", drain_tokens=1000)
    assert usage.completion_tokens == 50


def test_a_drained_answer_is_given_up_when_its_end_is_far(upstream):
    async def work(client, channel):
        answer = await client.stream(channel, ask(tokens=100_000, pace_s=0.0005), "req-far")
        await answer.step()
        await answer.leave()
        return answer.usage

    usage = run(work, upstream, leaving="drain", drain_tokens=20)
    assert 20 <= usage.completion_tokens < 100_000


def test_completions_embeddings_and_counts_go_the_same_way(upstream):
    async def work(client, channel):
        answer = await client.stream(channel, CompletionRequest("glm", ('{"tokens": 2}',)), "r")
        vectors, tokens = await client.embed(channel, EmbeddingRequest("glm", ("ab", "c")), "r")
        counted = await client.count_tokens(channel, ask(a=1), "glm", "r")
        return text_of(await events_of(answer)), [list(v) for v in vectors], tokens, counted

    text, vectors, tokens, counted = run(work, upstream)
    assert text == "w0 w1 "
    assert vectors == [[2.0, 1.0], [1.0, 1.0]]
    assert (tokens, counted) == (14, 2)


def test_an_address_that_is_none_is_refused():
    with pytest.raises(InvalidRequest, match="address"):
        Channel("c", "ftp://somewhere")
