"""Starting, stopping and being killed, in a process of its own."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from openglm.asgi import Running
from openglm.asgi.run import address, open_socket
from openglm.errors import OpenGLMError
from openglm.serve import Service, create_app

SCRIPT = """
import sys
from pathlib import Path
from openglm.engine import EngineOptions, load_engine
from openglm.asgi import run
from openglm.serve import Service, create_app
from openglm.tokenizer.chat import load_chat_format

folder, uds, grace_s, linger_s = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
with load_engine(folder, options=EngineOptions(max_context=65536, cache_tokens=65536)) as engine:
    service = Service(engine, engine.tokenizer, load_chat_format(folder, engine.tokenizer), "tiny")
    app = create_app(service)
    say = lambda url: print(url, flush=True)
    run(
        app, port=0, uds=Path(uds) if uds else None, grace_s=grace_s, linger_s=linger_s, on_ready=say
    )
print("clean", flush=True)
"""
HELLO = [{"role": "user", "content": "hello"}]
ENDLESS = {"messages": HELLO, "max_tokens": 60_000, "ignore_eos": True, "stream": True}  # minutes of work


class Process:
    """A server in a process of its own; `url` is what it printed when it was ready."""

    def __init__(self, folder: Path, *, uds: str = "", grace_s: float = 20, linger_s: float = 1):
        command = [sys.executable, "-c", SCRIPT, str(folder), uds, str(grace_s), str(linger_s)]
        self.popen = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.popen.stdout is not None
        self.url = self.popen.stdout.readline().strip()

    def client(self) -> httpx.Client:
        if self.url.startswith("unix:"):
            transport = httpx.HTTPTransport(uds=self.url.removeprefix("unix:"))
            return httpx.Client(base_url="http://unix", transport=transport, timeout=60)
        return httpx.Client(base_url=self.url, timeout=60)

    def end(self) -> tuple[int, str]:
        """Wait for the end: exit status, and what it printed since it was ready."""
        out, _ = self.popen.communicate(timeout=60)
        return self.popen.returncode, out


@pytest.fixture
def start(tiny_checkpoint: Path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def make(**options) -> Process:
        started.append(Process(tiny_checkpoint, **options))
        return started[-1]

    yield make
    for process in started:
        process.popen.kill()
        process.popen.wait()


def healthy(process: Process) -> bool:
    with process.client() as client:
        return client.get("/health").status_code == 200


def is_refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.slow
def test_sigterm_lets_a_running_answer_finish_and_ends_cleanly(start):
    process = start()
    body = {"messages": HELLO, "max_tokens": 500, "ignore_eos": True, "stream": True}
    with process.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = response.iter_lines()
        assert next(lines).startswith("data: ")
        process.popen.send_signal(signal.SIGTERM)
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert json.loads(rest[-2][6:])["choices"][0]["finish_reason"] == "length"
    assert process.end() == (0, "clean\n")


@pytest.mark.slow
def test_what_comes_on_an_open_connection_after_the_port_has_closed_is_answered(start, wait_until):
    """As a proxy sends it that keeps its connections: it sends no request a second time."""
    process = start(linger_s=60)
    port = int(process.url.rpartition(":")[2])
    with process.client() as client:
        assert client.get("/health").headers.get("connection") != "close"
        process.popen.send_signal(signal.SIGTERM)
        wait_until(lambda: is_refused(port))
        last = client.get("/health")
    assert (last.status_code, last.headers["connection"]) == (200, "close")
    assert process.end() == (0, "clean\n")  # at once: nobody is connected any more


@pytest.mark.slow
def test_past_its_grace_a_stop_ends_streams_with_an_error_chunk(start):
    process = start(grace_s=0.2)
    with process.client() as client, client.stream("POST", "/v1/chat/completions", json=ENDLESS) as response:
        lines = response.iter_lines()
        assert next(lines).startswith("data: ")
        process.popen.send_signal(signal.SIGTERM)
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert json.loads(rest[-2][6:])["error"]["code"] == "overloaded"
    assert process.end() == (0, "clean\n")


@pytest.mark.slow
def test_a_second_signal_stops_at_once(start, wait_until):
    process = start(grace_s=300)
    port = int(process.url.rpartition(":")[2])
    with process.client() as client, client.stream("POST", "/v1/chat/completions", json=ENDLESS) as response:
        lines = response.iter_lines()
        assert next(lines).startswith("data: ")
        process.popen.send_signal(signal.SIGINT)
        wait_until(lambda: is_refused(port))  # two signals at once would be one
        assert next(line for line in lines if line).startswith("data: ")
        process.popen.send_signal(signal.SIGINT)
        assert [line for line in lines if line]
    assert process.end() == (0, "clean\n")


@pytest.mark.slow
def test_a_killed_server_leaves_nothing_that_hinders_the_next_start(start, tmp_path):
    uds = str(tmp_path / "glm.sock")
    first = start(uds=uds)
    with first.client() as client, client.stream("POST", "/v1/chat/completions", json=ENDLESS) as response:
        lines = response.iter_lines()
        assert next(lines).startswith("data: ")
        first.popen.kill()
        first.popen.wait()
        with pytest.raises(httpx.HTTPError):
            list(lines)
    assert Path(uds).exists()
    second = start(uds=uds)
    assert healthy(second)
    second.popen.send_signal(signal.SIGTERM)
    assert second.end() == (0, "clean\n")
    assert not Path(uds).exists()


def test_the_real_port_is_told(service: Service):
    with Running(create_app(service)) as url:
        assert int(url.rsplit(":", 1)[1]) > 0
        assert httpx.get(url + "/health").status_code == 200


def test_a_taken_port_is_an_error_in_words():
    with open_socket("127.0.0.1", 0, None) as taken:
        taken.listen()
        port = int(address(taken).rsplit(":", 1)[1])
        with pytest.raises(OpenGLMError, match=rf"cannot listen on 127.0.0.1:{port}.*in use"):
            open_socket("127.0.0.1", port, None)


def test_a_host_that_is_not_ours_is_an_error_in_words():
    with pytest.raises(OpenGLMError, match=r"cannot listen on no-such-host\.invalid:0"):
        open_socket("no-such-host.invalid", 0, None)


def test_the_socket_of_a_living_server_is_not_taken_over(tmp_path):
    path = tmp_path / "s"
    with open_socket("", 0, path) as living:
        living.listen()
        with pytest.raises(OpenGLMError, match="another server does"):
            open_socket("", 0, path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_in_the_way_of_a_socket_is_kept(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(OpenGLMError, match="no socket"):
        open_socket("", 0, path)
    assert path.read_text() == "mine"


def test_ipv6_addresses_are_written_as_urls_write_them():
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        listener = open_socket("::1", 0, None)
    except OpenGLMError:
        pytest.skip("no IPv6 loopback here")
    with listener:
        assert address(listener).startswith("http://[::1]:")
