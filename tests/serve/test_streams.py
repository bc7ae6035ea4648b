"""What a stream does when nothing comes, when it is the wrong thing that comes, and when the server fails."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import httpx

from openglm.asgi import Running
from openglm.asgi.events import EventStream
from openglm.dialects import openai
from openglm.messages import Failure, TextDelta
from openglm.serve import Service, create_app

HELLO = [{"role": "user", "content": "hello"}]


def test_a_stream_that_waits_in_the_queue_is_kept_alive_by_comments(open_service: Callable[..., Service]):
    service = open_service(max_context=2048, cache_tokens=4096, max_sequences=1)
    body = {"messages": HELLO, "max_tokens": 1500, "ignore_eos": True, "stream": True}
    with ExitStack() as stack:
        url = stack.enter_context(Running(create_app(service, keep_alive_s=0.01)))
        client = stack.enter_context(httpx.Client(base_url=url, timeout=60))
        first = stack.enter_context(client.stream("POST", "/v1/chat/completions", json=body))
        lines = first.iter_lines()
        assert next(line for line in lines if line.startswith("data: "))
        second = stack.enter_context(client.stream("POST", "/v1/chat/completions", json=body))
        assert second.status_code == 200
        assert next(second.iter_lines()) == ": keep-alive"


class Broken:
    """An answer that fails after its first step."""

    def __init__(self) -> None:
        self.closed = False

    async def __aiter__(self) -> AsyncIterator:
        yield 0, (TextDelta("a"),)
        raise RuntimeError("secret /home/path")

    def close(self) -> None:
        self.closed = True


def test_a_failure_in_the_middle_is_an_error_chunk_that_tells_no_secrets():
    answer, sent = Broken(), []

    async def send(message) -> None:
        sent.append(message)

    asyncio.run(EventStream(answer, openai.ChatChunks("m"))({}, None, send))
    text = b"".join(message.get("body", b"") for message in sent).decode()
    *chunks, done = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert done == "[DONE]"
    assert json.loads(chunks[0])["choices"][0]["delta"]["content"] == "a"
    assert json.loads(chunks[1])["error"]["type"] == "server_error"
    assert "secret" not in text
    assert sent[-1].get("more_body", False) is False
    assert answer.closed


def test_a_bug_in_the_server_is_a_500_without_its_inside(service: Service):
    no_format: Any = SimpleNamespace(thinks=False)
    broken = Service(service.engine, service.tokenizer, no_format, "tiny")
    with Running(create_app(broken)) as url:
        response = httpx.post(url + "/v1/chat/completions", json={"messages": HELLO})
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "server_error"
    assert "Traceback" not in response.text
    assert "render" not in response.text


def test_an_answer_that_was_closed_before_anybody_read_it_ends_as_a_failure(open_service):
    service = open_service(max_context=512, cache_tokens=2048)

    async def close_first():
        body = b'{"messages": [{"role": "user", "content": "hello"}], "n": 2}'
        answer = await service.chat(openai.decode_chat(body, service.sampling))
        answer.close()
        await asyncio.to_thread(
            service.engine.update_weights, {}
        )  # after the aborts: commands keep their order
        return [events[-1] async for _, events in answer]

    ends = asyncio.run(close_first())
    assert [type(end) for end in ends] == [Failure, Failure]
    assert not service.engine._channels
