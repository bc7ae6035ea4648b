"""Model servers as children: started, watched, restarted, loaded on demand, unloaded when idle."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from openglm.errors import Overloaded, UpstreamFailure
from openglm.maas.models import Model, Models
from openglm.maas.servers import Server, Servers
from openglm.maas.upstreams import Client, ModelCard, Router

# Listens as `glm serve` does, and ends with its standard input.
CHILD = """
import os, signal, socket, sys, threading
path, how = sys.argv[1], sys.argv[2]
print("loading", how, file=sys.stderr, flush=True)
if how == "broken":
    sys.exit("error: the weights are corrupt")
listener = socket.socket(socket.AF_UNIX)
if os.path.exists(path):
    os.unlink(path)
listener.bind(path)
listener.listen()
def end():
    while sys.stdin.buffer.read(1): pass
    os._exit(0)
threading.Thread(target=end, daemon=True).start()
def go(*_):
    os.unlink(path)
    if how == "slow-to-go":
        threading.Event().wait(0.3)
    os._exit(0)
signal.signal(signal.SIGTERM, go)
print("ready unix:" + path, flush=True)
while True:
    connection, _ = listener.accept()
    connection.recv(65536)
    if how == "mute": continue
    body = b'{"status":"ok","data":[{"id":"tiny","max_model_len":2048,"thinks":true,"sees_images":false}]}'
    head = b"HTTP/1.1 200 OK\\r\\nconnection: close\\r\\ncontent-length: %d\\r\\n\\r\\n"
    connection.sendall(head % len(body) + body)
    connection.close()
"""


class House:
    """Servers over a table of models, with a child that stands in for a model."""

    def __init__(self, database, folder: Path, available: Callable[[], int] = lambda: 1 << 40):
        self.now = 1_000_000
        self.client = Client()
        self.router = Router(self.client, clock=lambda: self.now)
        self.models = Models(database, clock=lambda: self.now)
        self.servers = Servers(
            self.models,
            self.router,
            self.client,
            data=folder,
            clock=lambda: self.now,
            command=lambda model, socket, adapters: (sys.executable, "-c", CHILD, str(socket), model.source),
            available=available,
            first_wait_s=0.05,
        )

    async def __aenter__(self):
        await self.models.reload()
        await self.servers.start()
        return self

    async def __aexit__(self, *_):
        await self.servers.stop()
        await self.client.close()

    def state(self, name: str) -> str:
        return next(status.state for status in self.servers.status() if status.name == name)

    def pid(self, name: str) -> int | None:
        return next(status.pid for status in self.servers.status() if status.name == name)


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "the condition never held"
        await asyncio.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_model_that_is_always_loaded_starts_with_the_platform_and_ends_with_it(database, tmp_path):
    async def go():
        house = House(database, tmp_path)
        await house.models.put(Model("tiny", source="good"))
        async with house:
            await house.servers.loaded()
            assert house.router.models == ("tiny",)
            pid = house.pid("tiny")
        await until(lambda: gone(pid))
        assert "loading good" in (tmp_path / "logs" / "local-tiny.log").read_text()

    asyncio.run(go())


def test_what_a_model_can_do_is_known_once_its_server_has_told(database, tmp_path):
    async def go():
        house = House(database, tmp_path)
        await house.models.put(Model("tiny", source="good"))
        async with house:
            assert house.servers.card_of("tiny") is None
            await house.servers.loaded()
            await house.servers.look()
            assert house.servers.card_of("tiny") == ModelCard("tiny", 2048, True, False)
            assert house.servers.card_of("other") is None

    asyncio.run(go())


def test_a_server_that_is_killed_is_started_again(database, tmp_path):
    async def go():
        house = House(database, tmp_path)
        await house.models.put(Model("tiny", source="good"))
        async with house:
            await house.servers.loaded()
            first = house.pid("tiny")
            os.kill(first, signal.SIGKILL)
            await until(lambda: house.pid("tiny") not in (None, first) and house.state("tiny") == "ready")
            assert house.servers.status()[0].restarts == 1

    asyncio.run(go())


def test_a_server_that_cannot_start_says_why_to_whoever_waits(database, tmp_path):
    async def go():
        house = House(database, tmp_path)
        await house.models.put(Model("tiny", source="broken"))
        async with house:
            with pytest.raises(UpstreamFailure, match="the weights are corrupt"):
                await house.servers.loaded()

    asyncio.run(go())


def test_a_model_on_demand_is_loaded_once_for_all_who_ask_and_unloaded_when_idle(database, tmp_path):
    async def go():
        house = House(database, tmp_path)
        await house.models.put(Model("tiny", source="good", load="on_demand", idle_s=60))
        async with house:
            assert house.state("tiny") == "stopped"
            await asyncio.gather(*(house.servers.ready("tiny") for _ in range(8)))
            pid = house.pid("tiny")
            house.router._ways["local-tiny"].used_at = house.now
            await house.servers.look()
            assert house.state("tiny") == "ready"
            house.now += 61_000
            await house.servers.look()
            assert house.state("tiny") == "stopped"
            assert gone(pid)
            await house.servers.ready("tiny")
            assert house.state("tiny") == "ready"

    asyncio.run(go())


def test_the_longest_unused_model_makes_room_for_another(database, tmp_path):
    async def go():
        free = {"bytes": 1 << 40}
        house = House(database, tmp_path, available=lambda: free["bytes"])
        for name in ("old", "new", "wanted"):
            await house.models.put(Model(name, source="good", load="on_demand"))
        await house.models.note_memory("wanted", 1000)
        async with house:
            await house.servers.ready("old")
            await house.servers.ready("new")
            house.router._ways["local-old"].used_at = 1
            house.router._ways["local-new"].used_at = 2
            free["bytes"] = 10
            stop = house.servers._servers["old"].server.stop

            async def stop_and_free():
                await stop()
                free["bytes"] = 2000

            house.servers._servers["old"].server.stop = stop_and_free
            await house.servers.ready("wanted")
            assert [house.state(name) for name in ("old", "new", "wanted")] == ["stopped", "ready", "ready"]
            free["bytes"] = 10
            await house.router._ways["local-new"].queue.enter("somebody")
            await house.router._ways["local-wanted"].queue.enter("somebody")
            await house.models.note_memory("old", 1000)
            await house.models.reload()
            await house.servers.follow()
            with pytest.raises(Overloaded, match=r"needs 0\.0 GB"):
                await house.servers.ready("old")

    asyncio.run(go())


def test_a_model_that_fits_nowhere_unloads_nobody(database, tmp_path):
    async def go():
        house = House(database, tmp_path, available=lambda: 10)
        await house.models.put(Model("small", source="good", load="on_demand"))
        await house.models.put(Model("huge", source="good", load="on_demand"))
        await house.models.note_memory("small", 1)
        await house.models.note_memory("huge", 1 << 50)
        async with house:
            await house.servers.ready("small")
            with pytest.raises(Overloaded, match="GB of memory"):
                await house.servers.ready("huge")
            assert house.state("small") == "ready"

    asyncio.run(go())


def test_a_log_that_cannot_be_written_ends_no_server(database, tmp_path):
    (tmp_path / "logs").write_text("a file is in the way")

    async def go():
        house = House(database, tmp_path)
        await house.models.put(Model("tiny", source="good"))
        async with house:
            await house.servers.loaded()
            assert house.servers.status()[0].restarts == 0

    asyncio.run(go())


def test_a_watch_that_fails_starts_the_server_again(database, tmp_path):
    async def go():
        house = House(database, tmp_path)
        lines = iter([RuntimeError("whoever listens failed")])

        def on_line(line: str) -> None:
            for error in lines:
                raise error

        house.servers.on_line = on_line
        await house.models.put(Model("tiny", source="good"))
        async with house:
            await until(lambda: house.servers.status()[0].restarts == 1)
            await house.servers.loaded()

    asyncio.run(go())


def test_a_request_that_meets_a_server_on_its_way_out_waits_for_its_next_life(database, tmp_path):
    async def go():
        house = House(database, tmp_path)
        await house.models.put(Model("tiny", source="slow-to-go", load="on_demand"))
        async with house:
            await house.servers.ready("tiny")
            first = house.pid("tiny")
            stopping = asyncio.create_task(house.servers._servers["tiny"].server.stop())
            await until(lambda: house.state("tiny") == "stopping")
            await house.servers.ready("tiny")
            await stopping
            assert house.state("tiny") == "ready"
            assert house.pid("tiny") != first

    asyncio.run(go())


def test_a_server_that_loads_without_a_word_is_ended(tmp_path):
    async def go():
        server = Server(
            "tiny",
            lambda: (sys.executable, "-c", "import time; time.sleep(3600)"),
            log=tmp_path / "log",
            healthy=lambda: asyncio.sleep(0, result=True),
            first_wait_s=0.01,
            check_every_s=0.01,
            silent_s=0.05,
        )
        server.start()
        with pytest.raises(UpstreamFailure, match="without a word"):
            await server.ready()
        await server.stop()

    asyncio.run(go())


def test_a_row_that_goes_takes_its_server_along(database, tmp_path):
    async def go():
        house = House(database, tmp_path)
        await house.models.put(Model("tiny", source="good"))
        async with house:
            await house.servers.loaded()
            pid = house.pid("tiny")
            await house.models.remove("tiny")
            await house.servers.follow()
            assert gone(pid)
            assert house.router.models == ()

    asyncio.run(go())


def test_a_server_that_lives_and_does_not_answer_is_replaced(tmp_path):
    async def go():
        answers = iter([True, False, False, False])

        async def healthy() -> bool:
            return next(answers, True)

        path = tmp_path / "s.sock"
        server = Server(
            "tiny",
            lambda: (sys.executable, "-c", CHILD, str(path), "mute"),
            log=tmp_path / "log",
            healthy=healthy,
            first_wait_s=0.01,
            check_every_s=0.01,
        )
        server.start()
        try:
            await server.ready()
            first = server.pid
            await until(lambda: server.restarts == 1)
            await server.ready()
            assert server.pid != first
        finally:
            await server.stop()

    asyncio.run(go())


def test_a_child_ends_when_the_platform_is_killed(tmp_path):
    """The child's standard input ends with the process that held the other end."""
    program = (
        "import asyncio, os, sys\n"
        "from pathlib import Path\n"
        "from openglm.maas.servers import Server\n"
        "async def well(): return True\n"
        "async def go():\n"
        f"    command = (sys.executable, '-c', {CHILD!r}, {str(tmp_path / 's.sock')!r}, 'good')\n"
        "    server = Server('tiny', lambda: command,"
        f" log=Path({str(tmp_path / 'log')!r}), healthy=well)\n"
        "    server.start()\n"
        "    await server.ready()\n"
        "    print(server.pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(go())\n"
    )

    async def go():
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
        )
        assert parent.stdout is not None
        pid = int(await parent.stdout.readline())
        await parent.wait()
        await until(lambda: gone(pid))

    asyncio.run(go())
