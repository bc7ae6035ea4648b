"""The model servers of this machine: one for each model that has a source, as the table of models wants it.

Models that are always loaded are started with the platform; others with their first request, and unloaded
when nobody has asked for a while, or when another one needs their memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path

import psutil

from openglm.errors import OpenGLMError, Overloaded
from openglm.maas.ids import Clock, wall_clock
from openglm.maas.models import Model, Models
from openglm.maas.servers.server import Server, Status
from openglm.maas.upstreams import Channel, Client, Router

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
ROOM = 1.2  # of a checkpoint's bytes, for what is not yet known to need more
Command = Callable[[Model, Path], Sequence[str]]


def serve_command(model: Model, socket: Path) -> Sequence[str]:
    """`glm serve` on a Unix socket, until its standard input ends."""
    source = model.source or ""
    return (
        sys.executable,
        *("-m", "openglm.cli", "serve", source, "--name", model.name, "--uds", str(socket), "--until-eof"),
        *model.flags,
    )


class Servers:
    """`start` follows the table of models; `stop` ends every server. On one event loop."""

    def __init__(
        self,
        models: Models,
        router: Router,
        client: Client,
        *,
        logs: Path,
        clock: Clock = wall_clock,
        command: Command = serve_command,
        on_line: Callable[[str], None] = lambda line: None,
        available: Callable[[], int] = lambda: psutil.virtual_memory().available,
        first_wait_s: float = 1.0,
    ):
        self._models = models
        self._router = router
        self._client = client
        self._logs = logs
        self._clock = clock
        self._command = command
        self.on_line = on_line
        self._available = available
        self._first_wait_s = first_wait_s
        self._servers: dict[str, tuple[Model, Server]] = {}
        self._sockets: Path | None = None
        self._looking: asyncio.Task[None] | None = None
        self._loading = asyncio.Lock()  # one model at a time: memory is counted before it is taken

    async def start(self) -> None:
        # A data folder's path may be longer than a socket's may be.
        self._sockets = Path(tempfile.mkdtemp(prefix="openglm-"))
        self._looking = asyncio.create_task(self._keep_looking(), name="servers")
        await self.follow()

    async def stop(self) -> None:
        if self._looking:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
            self._looking = None
        for name in self._servers:
            self._router.remove(_channel_id(name))
        await asyncio.gather(*(server.stop() for _, server in self._servers.values()))
        self._servers.clear()
        if self._sockets:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def status(self) -> list[Status]:
        return [server.status for _, (_, server) in sorted(self._servers.items())]

    async def ready(self, name: str) -> None:
        """Wait until the model is loaded; load it if it is not."""
        model, server = self._servers[name]
        if server.state == "ready":
            return
        if server.state == "stopped":
            async with self._loading:
                if server.state == "stopped":
                    await self._make_room(model)
                    server.start()
                    await server.ready()
        await server.ready()

    async def loaded(self) -> None:
        """Wait for every model that is always loaded. Raises UpstreamFailure for one that is not."""
        for model, server in list(self._servers.values()):
            if model.load == "always":
                await server.ready()

    async def follow(self) -> None:
        """Let the table of models hold: add, replace and remove servers."""
        wanted = {model.name: model for model in self._models.local}
        for name, (model, server) in list(self._servers.items()):
            if name not in wanted or _differs(wanted[name], model):
                del self._servers[name]
                self._router.remove(_channel_id(name))
                await server.stop()
        for model in wanted.values():
            if model.name not in self._servers:
                self._add(model)
            else:
                self._servers[model.name] = (model, self._servers[model.name][1])

    def _add(self, model: Model) -> None:
        assert self._sockets is not None, "start came first"
        name = model.name
        socket = self._sockets / f"{blake2b(name.encode(), digest_size=8).hexdigest()}.sock"
        channel = Channel(_channel_id(name), f"unix:{socket}", {name: name}, leaving="cancel")

        async def healthy() -> bool:
            return await self._client.healthy(channel)

        server = Server(
            name,
            self._command(model, socket),
            log=self._logs / f"{_channel_id(name)}.log",
            healthy=healthy,
            on_line=self._hear,
            first_wait_s=self._first_wait_s,
        )
        self._servers[name] = (model, server)
        self._router.add(channel, wake=lambda: self.ready(name))
        if model.load == "always":
            server.start()

    def _hear(self, line: str) -> None:
        self.on_line(line)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except OpenGLMError as error:
                logger.warning("the model servers could not be looked after: %s", error.message)

    async def look(self) -> None:
        """Follow the table, unload what is idle, and note what memory each server takes."""
        await self.follow()
        uses = {health.channel_id: health for health in self._router.health()}
        now = self._clock()
        for name, (model, server) in list(self._servers.items()):
            if server.state != "ready":
                continue
            use = uses.get(_channel_id(name))
            idle = use is not None and not use.in_flight and now - use.used_at_ms > model.idle_s * 1000
            if idle and model.load == "on_demand":
                logger.info("the model %s is unloaded: nobody asked for %d s", name, model.idle_s)
                await server.stop()
                continue
            taken = _memory_of(server.pid)
            known = model.memory_bytes or 0
            if taken > known * 1.1:
                await self._models.note_memory(name, taken)

    async def _make_room(self, model: Model) -> None:
        """Unload idle models, those longest unused first, until this one fits."""
        needed = model.memory_bytes
        if needed is None:
            needed = await asyncio.to_thread(_guess, model)
        uses = {health.channel_id: health for health in self._router.health()}
        while needed > self._available():
            idle = [
                (use.used_at_ms, name)
                for name, (other, server) in self._servers.items()
                if other.load == "on_demand"
                and server.state == "ready"
                and (use := uses.get(_channel_id(name))) is not None
                and not use.in_flight
            ]
            if not idle:
                raise Overloaded(
                    f"the model {model.name!r} needs {needed / 2**30:.1f} GB of memory,"
                    f" {self._available() / 2**30:.1f} GB are free",
                    hint="other models are in use; try again later",
                )
            _, name = min(idle)
            logger.info("the model %s is unloaded: %s needs its memory", name, model.name)
            await self._servers[name][1].stop()


def _channel_id(name: str) -> str:
    """Of the channel and the log file; model names may hold what file names may not."""
    return "local-" + "".join(char if char.isalnum() or char in ".-_" else "_" for char in name)


def _differs(new: Model, old: Model) -> bool:
    return (new.source, new.flags, new.load) != (old.source, old.flags, old.load)


def _memory_of(pid: int | None) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss) if pid else 0
    except psutil.Error:
        return 0


def _guess(model: Model) -> int:
    """The bytes of a checkpoint that is here already, and some; 0 where nothing is known."""
    from openglm.hub import resolve

    path = Path(model.source or "")
    with contextlib.suppress(OpenGLMError, OSError):
        path = path if path.exists() else resolve(model.source or "").path
        files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
        weights = [file.stat().st_size for file in files if file.suffix in (".safetensors", ".gguf", ".bin")]
        return int(sum(weights) * ROOM)
    return 0
