"""The gateway beside LiteLLM's proxy, before one fake model server, in one run.

Ours works as in service: key, limits, hold, settle and metrics, SQLite in a temporary folder. LiteLLM runs
with a master key and without its database, which is less work. Each is a process of its own; CPU time is read
from the kernel, so that a busy machine disturbs it least. Contestants take turns; figures are medians.

    .venv/bin/python benches/gateway.py [--rounds 3] [--json] [--litellm FOLDER]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil

LITELLM = "1.106.2"
EVENTS, PACE_S = 100, 0.005  # of a paced stream: one event per 5 ms
WHOLE, ALONE, STREAMS = 300, 100, 16  # requests of a round: at once by fours, one by one, streams at once
MESSAGES = [{"role": "user", "content": "Tell me a story."}]
GOALS = {"request ms": 0.6, "event ms": 0.06, "paced share": 0.95, "memory MB": 150.0, "ready s": 2.0}


@dataclass(frozen=True, slots=True)
class Contestant:
    name: str
    url: str
    key: str
    process: psutil.Process | None
    ready_s: float = 0.0

    def cpu_s(self) -> float:
        """Of the process and what it started, so far."""
        if self.process is None:
            return 0.0
        family = [self.process, *self.process.children(recursive=True)]
        return sum(sum(member.cpu_times()[:2]) for member in family)

    def memory_mb(self) -> float:
        if self.process is None:
            return 0.0
        family = [self.process, *self.process.children(recursive=True)]
        return sum(member.memory_info().rss for member in family) / 1e6


def upstream() -> None:
    """A model server that costs next to nothing: whole answers at once, streams at a pace."""
    import uvicorn

    usage = {"prompt_tokens": 12, "completion_tokens": EVENTS, "total_tokens": 12 + EVENTS}
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "glm"}

    def chunk(delta: dict, finish: str | None, usage_: dict | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return b"data: " + json.dumps({**head, "choices": [choice], "usage": usage_}).encode() + b"\n\n"

    word = chunk({"role": "assistant", "content": "word "}, None, usage)
    last = chunk({}, "stop", usage) + b"data: [DONE]\n\n"
    message = {"role": "assistant", "content": "word " * 8}
    whole = json.dumps(
        {**head, "object": "chat.completion", "usage": usage}
        | {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    ).encode()

    models = json.dumps({"object": "list", "data": [{"id": "glm", "object": "model"}]}).encode()

    async def app(scope, receive, send) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            part = await receive()
            body += part.get("body", b"")
            if not part.get("more_body"):
                break
        if scope["path"].endswith("/models"):
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(b"content-type", b"application/json")],
                }
            )
            await send({"type": "http.response.body", "body": models})
            return
        asked = json.loads(body or b"{}")
        paced = "paced" in json.dumps(asked.get("messages", ""))
        kind = b"text/event-stream" if asked.get("stream") else b"application/json"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        if not asked.get("stream"):
            await send({"type": "http.response.body", "body": whole})
            return
        if not paced:
            await send({"type": "http.response.body", "body": word * 8 + last})
            return
        for _ in range(EVENTS):
            await send({"type": "http.response.body", "body": word, "more_body": True})
            await asyncio.sleep(PACE_S)
        await send({"type": "http.response.body", "body": last})

    serve(uvicorn.Config(app, log_level="warning"))


def serve(config) -> None:
    import socket

    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0))
    print(f"ready http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    uvicorn.Server(config).run(sockets=[listener])


def ours(model_server: str) -> None:
    """A platform with a user, money, a limit and a channel."""
    from openglm.asgi import run
    from openglm.maas.gateway import create_app
    from openglm.maas.limits import Rule
    from openglm.maas.platform import Platform
    from openglm.maas.settings import Settings
    from openglm.maas.upstreams import Channel

    with tempfile.TemporaryDirectory() as folder:
        platform = Platform(Settings(data=Path(folder)), serves=False)

        async def furnish() -> str:
            ann = await platform.accounts.add("ann@example.com", "a long and odd passphrase", "Ann")
            key = await platform.keys.create(ann.org_id, ann.project_id, "bench")
            await platform.prices.set_per_million("glm", uncached="1", output="4")
            await platform.wallet.top_up(ann.org_id, 10**15, idempotency_key="start")
            await platform.limits.rules.put(Rule(concurrency=1000, rpm=10**7, tpm=10**11))
            return key.key

        key = asyncio.run(furnish())
        platform.router.add(Channel("fake", model_server, {"glm": "glm"}))
        run(create_app(platform), port=0, on_ready=lambda url: print(f"ready {url} {key}", flush=True))


@contextmanager
def started(*command: str) -> Iterator[tuple[subprocess.Popen[str], list[str], float]]:
    """A child that says `ready …`; its words and how long it took."""
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            words = child.stdout.readline().split()
            yield child, words[1:], time.perf_counter() - began
        finally:
            child.terminate()


@contextmanager
def litellm(folder: Path, model_server: str) -> Iterator[Contestant]:
    """Their proxy, from an environment of its own that is made if it is missing."""
    program = folder / "bin" / "litellm"
    if not program.exists():
        venv.create(folder, with_pip=True)
        pip = [str(folder / "bin" / "pip"), "install", "-q", f"litellm[proxy]=={LITELLM}"]
        subprocess.run(pip, check=True)
    import socket

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = {
        "model_list": [
            {
                "model_name": "glm",
                "litellm_params": {"model": "openai/glm", "api_base": f"{model_server}/v1", "api_key": "k"},
            }
        ],
        "general_settings": {"master_key": "sk-bench"},
        "litellm_settings": {"telemetry": False},
    }
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "config.yaml"
        path.write_text(json.dumps(config))  # JSON is YAML
        began = time.perf_counter()
        command = [str(program), "--config", str(path), "--host", "127.0.0.1", "--port", str(port)]
        environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
        child = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        try:
            url = f"http://127.0.0.1:{port}"
            asyncio.run(until_up(f"{url}/health/liveliness", child))
            yield Contestant(
                "litellm", url, "sk-bench", psutil.Process(child.pid), time.perf_counter() - began
            )
        finally:
            child.terminate()
            child.wait(30)


async def until_up(url: str, child: subprocess.Popen) -> None:
    async with aiohttp.ClientSession() as session:
        while child.poll() is None:
            try:
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
    raise SystemExit("litellm did not start")


async def ask(session: aiohttp.ClientSession, one: Contestant, *, stream: bool) -> int:
    """One request; the events that came."""
    messages = [*MESSAGES[:-1], {"role": "user", "content": "paced"}] if stream else MESSAGES
    body = {"model": "glm", "messages": messages, "stream": stream, "max_tokens": 256}
    headers = {"authorization": f"Bearer {one.key}"}
    async with session.post(f"{one.url}/v1/chat/completions", json=body, headers=headers) as answer:
        if answer.status != 200:
            raise SystemExit(f"{one.name}: {answer.status} {await answer.text()}")
        if not stream:
            await answer.read()
            return 1
        return len([line async for line in answer.content if line.startswith(b"data: {")])


async def measure(one: Contestant) -> dict[str, float]:
    """One round of everything."""
    figures: dict[str, float] = {}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        for _ in range(10):
            await ask(session, one, stream=False)
        times = []
        for _ in range(ALONE):
            began = time.perf_counter()
            await ask(session, one, stream=False)
            times.append((time.perf_counter() - began) * 1000)
        times.sort()
        figures["alone p50 ms"], figures["alone p99 ms"] = times[len(times) // 2], times[-2]
        gate = asyncio.Semaphore(4)

        async def whole() -> None:
            async with gate:
                await ask(session, one, stream=False)

        before = one.cpu_s()
        await asyncio.gather(*(whole() for _ in range(WHOLE)))
        figures["request ms"] = (one.cpu_s() - before) * 1000 / WHOLE
        before, began = one.cpu_s(), time.perf_counter()
        events = await asyncio.gather(*(ask(session, one, stream=True) for _ in range(STREAMS)))
        figures["event ms"] = (one.cpu_s() - before) * 1000 / sum(events)
        figures["streams/s"] = STREAMS / (time.perf_counter() - began)
    figures["memory MB"] = one.memory_mb()
    return figures


def compare(rounds: int, folder: Path) -> dict[str, dict[str, float]]:
    me = [sys.executable, __file__]
    with (
        started(*me, "--role", "upstream") as (_, (server,), _),
        started(*me, "--role", "ours", "--upstream", server) as (child, (url, key), ready_s),
        litellm(folder, server) as theirs,
    ):
        contestants = [
            Contestant("direct", server, "none", None),
            Contestant("ours", url, key, psutil.Process(child.pid), ready_s),
            theirs,
        ]
        found: dict[str, list[dict[str, float]]] = {one.name: [] for one in contestants}
        for turn in range(rounds):
            for one in contestants:
                figures = asyncio.run(measure(one))
                found[one.name].append(figures)
                print(f"round {turn + 1} {one.name}: {figures}", file=sys.stderr)
    table = {
        name: {figure: statistics.median(row[figure] for row in rows) for figure in rows[0]}
        for name, rows in found.items()
    }
    direct = table["direct"]
    for one in contestants[1:]:
        row = table[one.name]
        row["ready s"] = one.ready_s
        row["added p50 ms"] = row["alone p50 ms"] - direct["alone p50 ms"]
        row["added p99 ms"] = row["alone p99 ms"] - direct["alone p99 ms"]
        row["paced share"] = row["streams/s"] / direct["streams/s"]
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--litellm", type=Path, help="an environment that has it, or where to make one")
    parser.add_argument("--role", choices=("upstream", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--upstream", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role == "upstream":
        return upstream()
    if given.role == "ours":
        return ours(given.upstream)
    from openglm.runtime import cache_folder

    table = compare(given.rounds, given.litellm or cache_folder() / "benches" / f"litellm-{LITELLM}")
    if given.json:
        print(json.dumps(table))
        return None
    print(f"{'':14}{'ours':>10}{'litellm':>10}{'ratio':>8}{'goal':>8}")
    mine, theirs = table["ours"], table["litellm"]
    for figure in (
        "request ms",
        "event ms",
        "added p50 ms",
        "added p99 ms",
        "paced share",
        "memory MB",
        "ready s",
    ):
        more, less = (mine, theirs) if figure == "paced share" else (theirs, mine)
        ratio = more[figure] / less[figure] if less[figure] else float("nan")
        goal = GOALS.get(figure, "")
        print(f"{figure:14}{mine[figure]:10.3f}{theirs[figure]:10.3f}{ratio:8.1f}{goal:>8}")
    return None


if __name__ == "__main__":
    main()
