"""R10: clients that hardly read, and very large pieces: the text is exact and memory stays bounded."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx

from tests.maas.reliability.conftest import Child, Home, script

MB = 2**20


def chat(text: str, **more) -> dict:
    return {"model": "glm", "messages": [{"role": "user", "content": text}], **more}


def post(home: Home, child: Child, body: dict) -> httpx.Response:
    answer = httpx.post(f"{child.url}/v1/chat/completions", json=body, headers=home.headers, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer


def settled(home: Home, wait_until: Callable) -> None:
    wait_until(lambda: not home.rows("SELECT 1 FROM hold WHERE state = 'open'"))


def test_a_client_that_does_not_read_fills_nobodys_memory_and_pays_what_was_written(home: Home, wait_until):
    """The model is read no faster than its reader reads: some 40 MB of an answer stay where they are."""
    body = chat(script(tokens=300_000), stream=True, max_tokens=300_000)
    sent = json.dumps(body).encode()
    with home.serving() as child:
        post(home, child, chat(script(tokens=2)))
        address, before = urlsplit(child.url), child.peak
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: {address.netloc}\r\n"
            f"authorization: Bearer {home.key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(sent)}\r\n\r\n"
        )
        with socket.create_connection((address.hostname, address.port)) as reader:
            reader.sendall(head.encode() + sent)
            assert reader.recv(12) == b"HTTP/1.1 200"
            written = -1

            def stands_still() -> bool:
                nonlocal written
                before = written
                # Others are served meanwhile, and their time is the clock of this test.
                for _ in range(20):
                    post(home, child, chat(script(tokens=2)))
                written = max(count["completion"] for count in home.upstream.billed.values())
                return written == before

            wait_until(stands_still)
            assert 0 < written < 150_000
        settled(home, wait_until)
        assert child.peak - before < 15 * MB
    billed = {name: row["output_text"] for name, row in home.usage().items()}
    assert billed == {name: counted["completion"] for name, counted in home.upstream.billed.items()}


def test_a_line_of_five_megabytes_arrives_byte_for_byte_in_bounded_memory(home: Home, wait_until):
    """Split anywhere, in Chinese, beside a prompt of the same size."""
    word = "智谱清言" * (5 * MB // 12)
    body = chat(script(words=[word], piece=65_521))
    with home.serving() as child:
        post(home, child, chat(script(tokens=2)))
        before = child.peak
        for _ in range(3):
            assert post(home, child, body).json()["choices"][0]["message"]["content"] == word
            assert post(home, child, {**body, "stream": True}).text.count("智谱清言") == len(word) // 4
        settled(home, wait_until)
        assert child.peak - before < 120 * MB


def test_a_prompt_of_ten_megabytes_reaches_the_model_whole_in_bounded_memory(home: Home, wait_until):
    text = "字" * (10 * MB // 3)
    with home.serving() as child:
        post(home, child, chat(script(tokens=2)))
        before = child.peak
        for _ in range(3):
            post(home, child, chat(text))
            assert home.upstream.bodies[-1]["messages"][-1]["content"] == text
        settled(home, wait_until)
        assert child.peak - before < 160 * MB
