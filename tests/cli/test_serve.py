"""`glm serve` and `glm up` as processes."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import torch

from openglm.model import open_checkpoint
from openglm.model.lora import new_adapter, write_adapter

pytestmark = pytest.mark.slow


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The program and the first line of its stdout, once it is there."""
    command = [sys.executable, "-m", "openglm.cli", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        try:
            yield program, program.stdout.readline()
        finally:
            program.kill()


def ask(url: str) -> dict:
    body = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": "Tell me a story."}],
        "max_tokens": 4,
        "temperature": 0,
    }
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_up_says_what_runs_and_is_ready_on_the_port_it_prints(smollm2, tmp_path):
    with running("up", "--port", "0", "--data", str(tmp_path)) as (program, line):
        assert line.startswith("ready http://127.0.0.1:")
        url = line.removeprefix("ready ").strip()
        assert ask(url)["usage"]["completion_tokens"] == 4
        with urllib.request.urlopen(url, timeout=60) as page:
            assert "text/html" in page.headers["Content-Type"]
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=60)
        assert program.returncode == 0
    for said in ("SmolLM2-135M-Instruct", "Apache-2.0", "kernels", f"{url}/setup?token=glmu_"):
        assert said in errors
    assert "Traceback" not in errors


def test_serve_listens_on_a_unix_socket_and_takes_it_away(smollm2, tmp_path):
    path = tmp_path / "glm.sock"
    with running("serve", "smollm2", "--uds", str(path)) as (program, line):
        assert line == f"ready unix:{path}\n"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        program.terminate()
        program.communicate(timeout=60)
        assert program.returncode == 0
    assert not path.exists()


def test_serve_takes_adapters_from_the_command_line_and_over_its_socket(smollm2, tmp_path):
    config, weights, _ = open_checkpoint(smollm2)
    weights.close()
    adapter = new_adapter(config, rank=2, alpha=4, targets=None, dropout=0, generator=torch.Generator())
    write_adapter(tmp_path, adapter, "smollm2")
    path = tmp_path / "glm.sock"
    with running("serve", "smollm2", "--uds", str(path), "--lora", f"first={tmp_path}") as (program, line):
        assert line == f"ready unix:{path}\n"
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(transport=transport, base_url="http://glm", timeout=60) as client:
            body = {"lora_name": "second", "lora_path": str(tmp_path)}
            assert client.post("/v1/load_lora_adapter", json=body).status_code == 200
            names = [card["id"] for card in client.get("/v1/models").json()["data"]]
            question = {"model": "second", "prompt": "Once upon a time", "max_tokens": 4, "temperature": 0}
            answer = client.post("/v1/completions", json=question).json()
        assert names == ["smollm2", "first", "second"]
        assert answer["usage"]["completion_tokens"] == 4
        program.terminate()
        _, errors = program.communicate(timeout=60)
    assert "adapter  'first'" in errors


def test_a_taken_port_is_said_before_anything_is_loaded(glm, smollm2):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = glm("serve", "smollm2", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "--port" in done.stderr
    assert "loading" not in done.stderr
    assert "Traceback" not in done.stderr
