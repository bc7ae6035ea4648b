"""Streams that begin late, are stopped with the server, or have a reader that does not read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from openglm.asgi.body import ClientGone
from openglm.asgi.events import EventStream, Streams, streamed
from openglm.dialects import openai
from openglm.errors import Overloaded
from openglm.messages import Finish, TextDelta


class Answer:
    """Says one word, waits until it may go on, and ends."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.closed = False

    async def __aiter__(self) -> AsyncIterator:
        yield 0, (TextDelta("word"),)
        await self.go_on.wait()
        yield 0, (Finish("stop"),)

    def close(self) -> None:
        self.closed = True


class Reader:
    """Takes what is sent; `came` wakes whoever waits for some of it."""

    def __init__(self) -> None:
        self.text = ""
        self.ended = False
        self.came = asyncio.Condition()
        self.reads = asyncio.Event()
        self.reads.set()

    async def __call__(self, message) -> None:
        await self.reads.wait()
        async with self.came:
            self.text += message.get("body", b"").decode()
            self.ended = message["type"] == "http.response.body" and not message.get("more_body", False)
            self.came.notify_all()

    async def until(self, part: str) -> None:
        async with self.came:
            await asyncio.wait_for(self.came.wait_for(lambda: part in self.text), 20)


def chunks() -> openai.ChatChunks:
    return openai.ChatChunks("m")


def test_an_answer_that_begins_late_is_kept_alive_and_then_streams():
    async def scenario():
        begin, answer, reader = asyncio.Event(), Answer(), Reader()

        async def opening() -> Answer:
            await begin.wait()
            return answer

        stream = await streamed(opening(), chunks(), keep_alive_s=0.01)
        running = asyncio.create_task(stream({}, None, reader))
        await reader.until(": keep-alive")
        assert "data:" not in reader.text
        begin.set()
        await reader.until("word")
        answer.go_on.set()
        await running
        assert reader.text.rstrip().endswith("[DONE]")
        assert reader.ended
        assert answer.closed

    asyncio.run(scenario())


def test_what_is_refused_at_once_is_raised_and_what_is_refused_late_is_said_in_the_stream():
    async def scenario():
        refuse, reader = asyncio.Event(), Reader()

        async def opening(at_once: bool) -> Answer:
            if not at_once:
                await refuse.wait()
            raise Overloaded("full")

        with pytest.raises(Overloaded):
            await streamed(opening(True), chunks())
        stream = await streamed(opening(False), chunks(), keep_alive_s=0.01)
        running = asyncio.create_task(stream({}, None, reader))
        await reader.until(": keep-alive")
        refuse.set()
        await running
        (error,) = [line for line in reader.text.splitlines() if "error" in line]
        assert json.loads(error.removeprefix("data: "))["error"]["message"] == "full"
        assert reader.text.rstrip().endswith("[DONE]")

    asyncio.run(scenario())


def test_whoever_leaves_before_the_answer_begins_lets_go_of_it():
    async def scenario():
        let_go, begun = [], asyncio.Event()

        async def opening() -> Answer:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                let_go.append(True)
            raise AssertionError

        waiting = asyncio.create_task(streamed(opening(), chunks()))
        await begun.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        stream = await streamed(opening(), chunks(), keep_alive_s=0)
        running = asyncio.create_task(stream({}, None, Reader()))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert let_go == [True, True]

    asyncio.run(scenario())


def test_a_server_that_stops_ends_its_streams_with_an_error_of_the_dialect():
    async def scenario():
        streams, answer, reader = Streams(), Answer(), Reader()
        running = asyncio.create_task(EventStream(answer, chunks(), among=streams)({}, None, reader))
        await reader.until("word")
        streams.end(Overloaded("the platform is stopping"))
        await running
        assert '"message":"the platform is stopping"' in reader.text
        assert reader.text.rstrip().endswith("[DONE]")
        assert answer.closed
        streams.end(Overloaded("again"))
        assert "again" not in reader.text

    asyncio.run(scenario())


def test_a_reader_that_takes_nothing_for_long_is_left():
    async def scenario():
        answer, reader = Answer(), Reader()
        running = asyncio.create_task(
            EventStream(answer, chunks(), keep_alive_s=0.01, stall_s=0.05)({}, None, reader)
        )
        await reader.until("word")
        reader.reads.clear()
        answer.go_on.set()
        with pytest.raises(ClientGone):
            await asyncio.wait_for(running, 20)
        assert answer.closed

    asyncio.run(scenario())


def test_a_reader_that_takes_no_comment_for_long_is_left():
    async def scenario():
        answer, reader = Answer(), Reader()
        running = asyncio.create_task(
            EventStream(answer, chunks(), keep_alive_s=0.05, stall_s=0.1)({}, None, reader)
        )
        await reader.until("word")
        reader.reads.clear()  # before the first comment, which stays behind
        with pytest.raises(ClientGone):
            await asyncio.wait_for(running, 20)
        assert answer.closed

    asyncio.run(scenario())


class SlowAtTheEnd(Reader):
    """Takes its time with the last message."""

    def __init__(self) -> None:
        super().__init__()
        self.at_end, self.takes = asyncio.Event(), asyncio.Event()

    async def __call__(self, message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.at_end.set()
            await self.takes.wait()
        await super().__call__(message)


def test_a_stream_that_is_sending_its_end_sends_it_though_the_server_stops():
    async def scenario():
        streams, answer, reader = Streams(), Answer(), SlowAtTheEnd()
        running = asyncio.create_task(EventStream(answer, chunks(), among=streams)({}, None, reader))
        answer.go_on.set()
        await reader.at_end.wait()
        streams.end(Overloaded("the platform is stopping"))
        reader.takes.set()
        await running
        assert reader.text.rstrip().endswith("[DONE]")
        assert reader.ended
        assert answer.closed

    asyncio.run(scenario())


def test_a_reader_that_never_takes_the_end_is_left():
    async def scenario():
        answer, reader = Answer(), SlowAtTheEnd()
        answer.go_on.set()
        stream = EventStream(answer, chunks(), keep_alive_s=0.01, stall_s=0.05)
        with pytest.raises(ClientGone):
            await asyncio.wait_for(stream({}, None, reader), 20)
        assert answer.closed

    asyncio.run(scenario())
