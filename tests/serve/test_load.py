"""Many at once, and one that is very long: everybody is served, and nobody waits for the event loop."""

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from openglm.asgi import Running
from openglm.serve import Service, create_app
from openglm.tokenizer import Tokenizer
from openglm.tokenizer.chat import load_chat_format

HELLO = [{"role": "user", "content": "hello"}]


async def read_stream(client: httpx.AsyncClient, path: str, body: dict) -> list[dict]:
    chunks = []
    async with client.stream("POST", path, json={**body, "stream": True}) as response:
        assert response.status_code == 200
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                chunks.append(json.loads(line[6:]))
    return chunks


async def read_many(url: str, count: int, max_tokens: int) -> list[list[dict]]:
    limits = httpx.Limits(max_connections=count)
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits) as client:
        bodies = [
            {"messages": HELLO, "max_tokens": max_tokens, "ignore_eos": True, "seed": n} for n in range(count)
        ]
        return await asyncio.gather(*(read_stream(client, "/v1/chat/completions", body) for body in bodies))


def all_whole(answers: list[list[dict]]) -> bool:
    return all(chunks[-1]["choices"][0]["finish_reason"] == "length" for chunks in answers)


def test_two_hundred_streams_at_once_all_finish(url, idle):
    answers = asyncio.run(read_many(url, 200, 16))
    assert len(answers) == 200
    assert all_whole(answers)
    idle()


def test_more_streams_than_the_cache_holds_all_finish(open_service: Callable[..., Service], wait_until):
    service = open_service(max_context=512, cache_tokens=1024)
    with Running(create_app(service)) as url:
        answers = asyncio.run(read_many(url, 40, 64))
    assert all_whole(answers)
    stats = service.engine.stats()
    assert stats.blocks_free == stats.blocks_total


@pytest.mark.slow
def test_two_hundred_streams_of_the_embedded_default_all_finish(open_service, smollm2: Path):
    service = open_service(smollm2, "smollm2", cache_tokens=65536)
    with Running(create_app(service)) as url:
        answers = asyncio.run(read_many(url, 200, 16))
    assert all_whole(answers)


def test_a_full_queue_is_refused_with_a_time_to_come_back(open_service: Callable[..., Service]):
    service = open_service(max_context=2048, cache_tokens=4096, max_sequences=1, max_waiting=1)
    with Running(create_app(service)) as url:
        body = {"messages": HELLO, "max_tokens": 1000, "n": 8, "ignore_eos": True}
        refused = httpx.post(url + "/v1/chat/completions", json=body, timeout=60)
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "overloaded"
        assert refused.headers["retry-after"] == "1"
        assert (
            httpx.post(url + "/v1/chat/completions", json={**body, "n": 1, "max_tokens": 2}).status_code
            == 200
        )


async def health_replies_before_first_token(url: str, num_tokens: int) -> int:
    async with httpx.AsyncClient(base_url=url, timeout=300) as client:
        body = {"prompt": [97 + n % 26 for n in range(num_tokens)], "max_tokens": 1}
        long = asyncio.create_task(read_stream(client, "/v1/completions", body))
        replies = 0
        while not long.done():
            response = await client.get("/health")
            assert response.status_code == 200
            replies += not long.done()
        assert long.result()[-1]["choices"][0]["finish_reason"] == "length"
        return replies


@pytest.mark.slow
def test_health_answers_all_through_a_prefill_of_32k_tokens(open_service: Callable[..., Service]):
    service = open_service(max_context=40_000, cache_tokens=40_960)
    with Running(create_app(service)) as url:
        assert asyncio.run(health_replies_before_first_token(url, 32_000)) >= 20


def test_a_long_text_prompt_is_tokenised_off_the_event_loop(open_service: Callable[..., Service]):
    service = open_service(max_context=40_000, cache_tokens=40_960)

    async def ask(url: str) -> int:
        async with httpx.AsyncClient(base_url=url, timeout=300) as client:
            text = "word " * 400_000
            long = asyncio.create_task(client.post("/tokenize", json={"prompt": text}))
            replies = 0
            while not long.done():
                assert (await client.get("/health")).status_code == 200
                replies += not long.done()
            assert long.result().json()["count"] == len(text)
            return replies

    with Running(create_app(service)) as url:
        assert asyncio.run(ask(url)) >= 2


class Watched:
    """A tokenizer that notes the threads on which it works."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self.threads: set[str] = set()

    def __getattr__(self, name: str) -> object:
        if name in ("encode", "decode"):
            self.threads.add(threading.current_thread().name)
        return getattr(self._tokenizer, name)


def test_large_bodies_are_worked_on_away_from_the_event_loop(service: Service, tiny_checkpoint):
    watched = Watched(service.tokenizer)
    form = load_chat_format(tiny_checkpoint, watched, "chatml")
    app = create_app(Service(service.engine, watched, form, "tiny"))
    long = "a" * 300_000
    tool = {"type": "function", "function": {"name": "f", "description": long}}
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": json.dumps({"a": long})}}
    hello = {"role": "user", "content": "hello"}
    bodies = {
        "/detokenize": [{"tokens": [97] * 300_000}],
        "/tokenize": [{"prompt": long, "return_token_strs": True}, {"messages": [hello], "tools": [tool]}],
        "/v1/chat/completions": [
            {"messages": [hello], "tools": [tool]},
            {"messages": [hello, {"role": "assistant", "tool_calls": [call]}, hello]},
        ],
    }
    with Running(app) as url:
        for path, cases in bodies.items():
            for body in cases:
                watched.threads.clear()
                httpx.post(url + path, json=body, timeout=60)
                assert watched.threads, (path, body.keys())
                assert "openglm-serve" not in watched.threads, (path, body.keys())
