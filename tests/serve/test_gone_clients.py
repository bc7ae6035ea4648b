"""A client that leaves frees all that its request held, at once, whenever it leaves."""

import json
import socket
from collections.abc import Callable

import pytest

from openglm.serve import Service

LONG = {"max_tokens": 1900, "ignore_eos": True, "temperature": 0}  # seconds of work, if nobody stops it


def send(url: str, path: str, **body) -> socket.socket:
    """Sends a request and reads nothing."""
    host, port = url.removeprefix("http://").split(":")
    data = json.dumps(body).encode()
    client = socket.create_connection((host, int(port)), timeout=60)
    client.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data)
    return client


@pytest.fixture
def aborted(service: Service, wait_until: Callable, idle: Callable) -> Callable[[int], None]:
    """Waits until so many answers were given up since the test began, and nothing is held any more."""
    before = service.engine.stats().aborted

    def check(count: int) -> None:
        wait_until(lambda: service.engine.stats().aborted == before + count)
        idle()

    return check


def chat(**fields) -> dict:
    return {"messages": [{"role": "user", "content": "hello"}], **LONG, **fields}


def test_in_the_middle_of_a_stream(url, aborted):
    with send(url, "/v1/chat/completions", **chat(stream=True)) as client:
        received = b""
        while received.count(b"data: ") < 3:
            piece = client.recv(65536)
            assert piece, f"the server closed the stream: {received!r}"
            received += piece
    aborted(1)


def test_before_the_first_token_of_a_stream(url, service, wait_until, aborted):
    with send(url, "/v1/chat/completions", **chat(stream=True)):
        wait_until(lambda: service.engine.stats().running + service.engine.stats().waiting > 0)
    aborted(1)


def test_while_waiting_for_a_whole_answer(url, service, wait_until, aborted):
    with send(url, "/v1/chat/completions", **chat()):
        wait_until(lambda: service.engine.stats().running > 0)
    aborted(1)


@pytest.mark.parametrize("stream", [False, True])
def test_with_several_choices_open(url, service, wait_until, aborted, stream):
    with send(url, "/v1/chat/completions", **chat(n=5, stream=stream)):
        wait_until(lambda: service.engine.stats().running == 5)
    aborted(5)


def test_while_several_prompts_are_completed(url, service, wait_until, aborted):
    with send(url, "/v1/completions", prompt=["a", "b", "c"], **LONG):
        wait_until(lambda: service.engine.stats().running == 3)
    aborted(3)


def test_in_the_middle_of_its_own_request_body(url, idle):
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as client:
        client.sendall(b'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{"mess')
    idle()


def test_a_hundred_of_them_leave_nothing_behind(url, service, wait_until, idle):
    before = service.engine.stats()
    clients = [send(url, "/v1/chat/completions", **chat(stream=n % 2 == 0)) for n in range(100)]
    for client in clients:
        client.close()
    wait_until(lambda: service.engine.stats().running + service.engine.stats().waiting == 0)
    idle()
    assert service.engine.stats().failed == before.failed


def test_while_the_prompt_is_prepared_on_another_thread(url, idle):
    for pattern in ("[a-z]+", "[b-z]{3,900}", "(one|two|three)+"):  # a grammar is compiled off the event loop
        for wait in (False, True):
            client = send(url, "/v1/chat/completions", **chat(n=16, guided_regex=pattern, stream=wait))
            client.close()
    idle()


def test_while_embeddings_are_made(url, idle):
    with send(url, "/v1/embeddings", input=["x" * 2000] * 50):
        pass
    idle()
