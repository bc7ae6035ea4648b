"""The model servers of this machine: one for each model that has a source, as the table of models wants it.

Models that are always loaded are started with the platform; others with their first request, and unloaded
when nobody has asked for a while, or when another one needs their memory. Adapters live in the server of
their base: it starts with those that there are, and later ones are loaded while it runs, at the latest when
somebody asks for one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path

import psutil

from openglm.errors import EngineFailure, ModelNotFound, OpenGLMError, Overloaded
from openglm.maas.ids import Clock, wall_clock
from openglm.maas.models import Model, Models
from openglm.maas.rounds import Rounds
from openglm.maas.servers.server import Server, Status
from openglm.maas.upstreams import Channel, Client, ModelCard, Router

logger = logging.getLogger(__name__)

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")  # PEFT's layout
LOOK_EVERY_S = 2.0
AT_ONCE = 256  # answers that `glm serve` works on; more wait here, tenant by tenant
ROOM = 1.2  # of a checkpoint's bytes, for what is not yet known to need more
Command = Callable[[Model, Path, Mapping[str, Path]], Sequence[str]]


def serve_command(model: Model, socket: Path, adapters: Mapping[str, Path]) -> Sequence[str]:
    """`glm serve` on a Unix socket, until its standard input ends. `adapters`: folders by name."""
    source = model.source or ""
    return (
        sys.executable,
        *("-m", "openglm.cli", "serve", source, "--name", model.name, "--uds", str(socket), "--until-eof"),
        *(word for name, folder in adapters.items() for word in ("--lora", f"{name}={folder}")),
        *model.flags,
    )


@dataclass(slots=True)
class _Served:
    """A model's server. `loaded` are the adapters that its child was started with or has loaded since."""

    model: Model
    server: Server
    socket: Path
    loaded: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)  # adapters that its child could not load
    fitting: asyncio.Lock = field(default_factory=asyncio.Lock)
    offered: tuple[str, ...] = ()  # names that the router was told
    card: ModelCard | None = None  # what the model can do, once its server has said so


class Servers:
    """`start` follows the table of models; `stop` ends every server. On one event loop."""

    def __init__(
        self,
        models: Models,
        router: Router,
        client: Client,
        *,
        data: Path,
        clock: Clock = wall_clock,
        command: Command = serve_command,
        on_line: Callable[[str], None] = lambda line: None,
        available: Callable[[], int] = lambda: psutil.virtual_memory().available,
        first_wait_s: float = 1.0,
    ):
        self._models = models
        self._router = router
        self._client = client
        self._data = data
        self._clock = clock
        self._command = command
        self.on_line = on_line
        self._available = available
        self._first_wait_s = first_wait_s
        self._servers: dict[str, _Served] = {}
        self._sockets: Path | None = None
        self._looking = Rounds("the model servers are looked after", self.look, LOOK_EVERY_S)
        self._loading = asyncio.Lock()  # one model at a time: memory is counted before it is taken
        self._promised: dict[str, int] = {}  # bytes that others than servers are about to take

    async def start(self) -> None:
        # A data folder's path may be longer than a socket's may be.
        self._sockets = Path(tempfile.mkdtemp(prefix="openglm-"))
        self._looking.start()
        await self.follow()

    async def stop(self) -> None:
        await self._looking.stop()
        for name in self._servers:
            self._router.remove(_channel_id(name))
        await asyncio.gather(*(served.server.stop() for served in self._servers.values()))
        self._servers.clear()
        if self._sockets:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def status(self) -> list[Status]:
        return [served.server.status for _, served in sorted(self._servers.items())]

    def card_of(self, name: str) -> ModelCard | None:
        """What a model can do, as its server told when it was last loaded."""
        served = self._servers.get(name)
        return served.card if served else None

    async def ready(self, name: str, wanted: str | None = None) -> None:
        """Wait until the model is loaded, with its adapter `wanted`; load what is not."""
        served = self._here(name)
        server = served.server
        if server.state in ("stopped", "stopping"):
            async with self._loading:
                await server.ended()
                if self._here(name) is served and server.state == "stopped":
                    await self._make_room(served.model)
                    server.start()
                    await server.ready()
        if server.state != "ready":
            await server.ready()
        if wanted not in (None, name) and wanted not in served.loaded:
            await self._load(served, wanted)

    def _here(self, name: str) -> _Served:
        served = self._servers.get(name)
        if served is None:
            raise ModelNotFound(f"the model {name!r} was removed", param="model", code="model_not_found")
        return served

    async def loaded(self) -> None:
        """Wait for every model that is always loaded. Raises UpstreamFailure for one that is not."""
        for served in list(self._servers.values()):
            if served.model.load == "always":
                await served.server.ready()

    async def follow(self) -> None:
        """Let the table of models hold: add, replace and remove servers, load and unload adapters."""
        wanted = {model.name: model for model in self._models.local}
        for name, served in list(self._servers.items()):
            if name not in wanted or _differs(wanted[name], served.model):
                del self._servers[name]
                self._router.remove(_channel_id(name))
                await served.server.stop()
        for model in wanted.values():
            if model.name not in self._servers:
                self._add(model)
            else:
                self._servers[model.name].model = model
        self.offer()
        for served in list(self._servers.values()):
            if served.server.state == "ready":
                await self._fit(served)

    def offer(self) -> None:
        """Tell the router which names each server answers to. At once: an adapter whose row has gone must not
        be found under a name that nobody owns any more."""
        for name, served in self._servers.items():
            names = (name, *self._adapters(name))
            if names != served.offered:
                served.offered = names
                self._router.add(self._channel(served), wake=partial(self.ready, name))

    def _add(self, model: Model) -> None:
        assert self._sockets is not None, "start came first"
        name = model.name
        socket = self._sockets / f"{blake2b(name.encode(), digest_size=8).hexdigest()}.sock"

        async def healthy() -> bool:
            return await self._client.healthy(self._channel(served))

        def command() -> Sequence[str]:
            adapters = self._adapters(name)
            served.loaded, served.failed = set(adapters), set()
            return self._command(served.model, socket, adapters)

        server = Server(
            name,
            command,
            log=self._data / "logs" / f"{_channel_id(name)}.log",
            healthy=healthy,
            on_line=self._hear,
            first_wait_s=self._first_wait_s,
        )
        served = self._servers[name] = _Served(model, server, socket)
        if model.load == "always":
            server.start()

    def _channel(self, served: _Served) -> Channel:
        names = {name: name for name in served.offered}
        return Channel(
            _channel_id(served.model.name),
            f"unix:{served.socket}",
            names,
            leaving="cancel",
            max_in_flight=AT_ONCE,
        )

    def _adapters(self, base: str) -> dict[str, Path]:
        """The folders of a model's adapters that are whole and here."""
        found = {}
        for model in self._models.adapters_of(base):
            folder = self._data / (model.adapter or "")
            if all((folder / file).is_file() for file in ADAPTER_FILES):
                found[model.name] = folder
        return found

    async def _fit(self, served: _Served) -> None:
        """Load the adapters that came, unload those that went. What fails waits for whoever asks for it."""
        wanted = self._adapters(served.model.name)
        for name in sorted(wanted.keys() - served.loaded - served.failed):
            with contextlib.suppress(EngineFailure, ModelNotFound):
                await self._load(served, name)
        for name in sorted(served.loaded - wanted.keys()):
            served.loaded.discard(name)
            try:
                await self._client.unload_adapter(self._channel(served), name)
            except OpenGLMError as error:
                logger.warning("the adapter %s could not be unloaded: %s", name, error.message)

    async def _load(self, served: _Served, name: str) -> None:
        async with served.fitting:
            if name in served.loaded:
                return
            folder = self._adapters(served.model.name).get(name)
            if folder is None:
                raise ModelNotFound(f"there is no model {name!r}", param="model", code="model_not_found")
            try:
                await self._client.load_adapter(self._channel(served), name, folder)
            except OpenGLMError as error:
                served.failed.add(name)
                logger.error("the adapter %s could not be loaded: %s", name, error.message)
                raise EngineFailure(f"the model {name} could not be loaded") from error
            served.loaded.add(name)

    def _hear(self, line: str) -> None:
        self.on_line(line)

    async def look(self) -> None:
        """Follow the table, unload what is idle, and note what memory each server takes."""
        await self.follow()
        uses = {health.channel_id: health for health in self._router.health()}
        now = self._clock()
        for name, served in list(self._servers.items()):
            model, server = served.model, served.server
            if server.state != "ready":
                continue
            if served.card is None:
                served.card = await self._client.card(self._channel(served), name)
            use = uses.get(_channel_id(name))
            idle = use is not None and not use.in_flight and now - use.used_at_ms > model.idle_s * 1000
            if idle and model.load == "on_demand":
                logger.info("the model %s is unloaded: nobody asked for %d s", name, model.idle_s)
                await server.stop()
                continue
            taken = memory_of(server.pid)
            known = model.memory_bytes or 0
            if taken > known * 1.1:
                await self._models.note_memory(name, taken)

    async def promise(self, what: str, needed: int) -> None:
        """Keep so many bytes free for somebody else, until `taken`. Overloaded says that there is no room."""
        async with self._loading:
            await self._find_room(what, needed)
            self._promised[what] = needed

    def taken(self, what: str) -> None:
        """What was promised is in use now, or is not needed any more."""
        self._promised.pop(what, None)

    async def _make_room(self, model: Model) -> None:
        needed = model.memory_bytes
        if needed is None:
            files = await asyncio.to_thread(weight_files, model.source or "")
            needed = int(sum(file.stat().st_size for file in files) * ROOM)
        await self._find_room(f"the model {model.name!r}", needed)

    async def _find_room(self, what: str, needed: int) -> None:
        """Unload idle models, those longest unused first, until so many bytes are free."""
        while needed > (free := self._available() - sum(self._promised.values())):
            idle = self._idle()
            # What cannot fit even then is refused while all others are still loaded.
            if not idle or needed > free + sum(self._takes(name) for _, name in idle):
                raise Overloaded(
                    f"{what} needs {needed / 2**30:.1f} GB of memory, {max(0, free) / 2**30:.1f} GB are free",
                    hint="other models are in use; try again later",
                )
            _, name = min(idle)
            logger.info("the model %s is unloaded: %s needs its memory", name, what)
            await self._servers[name].server.stop()

    def _takes(self, name: str) -> int:
        served = self._servers[name]
        return max(memory_of(served.server.pid), served.model.memory_bytes or 0)

    def _idle(self) -> list[tuple[int, str]]:
        """Servers that may be unloaded now, by when they were used last."""
        uses = {health.channel_id: health for health in self._router.health()}
        return [
            (use.used_at_ms, name)
            for name, served in self._servers.items()
            if served.model.load == "on_demand"
            and served.server.state == "ready"
            and (use := uses.get(_channel_id(name))) is not None
            and not use.in_flight
        ]


def _channel_id(name: str) -> str:
    """Of the channel and the log file; model names may hold what file names may not."""
    return "local-" + "".join(char if char.isalnum() or char in ".-_" else "_" for char in name)


def _differs(new: Model, old: Model) -> bool:
    return (new.source, new.flags, new.load) != (old.source, old.flags, old.load)


def memory_of(pid: int | None) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss) if pid else 0
    except psutil.Error:
        return 0


def weight_files(source: str) -> list[Path]:
    """The files of a checkpoint's weights, if they are here already."""
    from openglm.hub import resolve

    path = Path(source)
    with contextlib.suppress(OpenGLMError, OSError):
        path = path if path.exists() else resolve(source).path
        files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
        return [file for file in files if file.suffix in (".safetensors", ".gguf", ".bin")]
    return []
