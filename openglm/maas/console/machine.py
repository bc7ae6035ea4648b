"""For operators: what fits this machine, how it does, and what its models have answered so far.

What fits is told by main memory alone: the platform looks into no graphics card.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import dataclass
from typing import Literal

import psutil
from fastapi import APIRouter

from openglm import __version__, hub
from openglm.maas.console.access import House, Operator
from openglm.maas.operate.fetching import Fetch, Fetching
from openglm.maas.operate.metrics import ModelTotals
from openglm.runtime import cache_folder

router = APIRouter(tags=["machine"], prefix="/platform")
ROOM = 1.2  # memory beside the weights, for the cache and the program
Fit = Literal["yes", "busy", "no"]


@dataclass(frozen=True, slots=True)
class Known:
    """A model of the catalogue. `fits`: yes; busy (other programs hold the memory now); no."""

    name: str
    title: str
    about: str
    about_zh: str
    licence: str
    languages: tuple[str, ...]
    context: int
    parameters_billion: float
    weight_gigabytes: float
    is_here: bool
    fits: Fit
    fetch: Fetch | None


@dataclass(frozen=True, slots=True)
class Machine:
    """Bytes, and seconds since the program started. Disk: where the data folder is."""

    version: str
    up_s: int
    database: str
    processors: int
    load: float  # of the last minute
    memory_total: int
    memory_free: int
    disk_total: int
    disk_free: int
    channels: int
    channels_ill: int
    in_flight: int
    waiting: int
    models: tuple[ModelTotals, ...]


@dataclass(frozen=True, slots=True)
class Tested:
    """Whether a channel's server answered its health check, and how fast."""

    healthy: bool
    ms: int


@router.get("/catalogue")
async def list_catalogue(person: Operator, platform: House) -> list[Known]:
    """The models that are known by a short name; a model with one as its source is fetched and served."""
    return await asyncio.to_thread(_catalogue, platform.fetching)


@router.get("/catalogue/fetches")
async def list_fetches(person: Operator, platform: House) -> dict[str, Fetch]:
    """How far each model is that this process fetches, or has fetched or tried to, by its name."""
    names = hub.catalogue().entries
    return {name: fetch for name in names if (fetch := platform.fetching.seen(name))}


@router.post("/catalogue/{name}/fetch", status_code=202)
async def fetch_model(name: str, person: Operator, platform: House) -> Fetch:
    """Begin to fetch a model, or go on where a fetch has ended early."""
    return platform.fetching.start(name)


@router.delete("/catalogue/{name}/fetch")
async def stop_fetch(name: str, person: Operator, platform: House) -> Fetch:
    """What has arrived is kept, for the next time."""
    return platform.fetching.stop(name)


@router.get("/machine")
async def look_at_machine(person: Operator, platform: House) -> Machine:
    """This machine and this process. Ask twice: the difference of two totals is a rate."""
    memory, disk = psutil.virtual_memory(), shutil.disk_usage(platform.settings.data)
    health = platform.router.health()
    return Machine(
        version=__version__,
        up_s=int(time.time() - psutil.Process().create_time()),
        database=platform.database.kind,
        processors=psutil.cpu_count() or 1,
        load=round(psutil.getloadavg()[0], 2),
        memory_total=memory.total,
        memory_free=memory.available,
        disk_total=disk.total,
        disk_free=disk.free,
        channels=len(health),
        channels_ill=sum(not one.healthy for one in health),
        in_flight=sum(one.in_flight for one in health),
        waiting=sum(one.waiting for one in health),
        models=tuple(platform.metrics.totals()),
    )


@router.post("/channels/{channel_id}/test")
async def test_channel(channel_id: str, person: Operator, platform: House) -> Tested:
    """Ask a channel's server whether it is well; no model answers, nothing is billed."""
    channel = await platform.channels.get(channel_id)
    begun = time.monotonic()
    healthy = await platform.client.healthy(channel)
    return Tested(healthy, round((time.monotonic() - begun) * 1000))


def _catalogue(fetching: Fetching) -> list[Known]:
    memory, folder = psutil.virtual_memory(), cache_folder() / "models"

    def fits(gigabytes: float) -> Fit:
        needed = gigabytes * 1e9 * ROOM
        return "yes" if needed <= memory.available else "busy" if needed <= memory.total else "no"

    return [
        Known(
            name=entry.alias,
            title=entry.title,
            about=entry.about,
            about_zh=entry.about_zh,
            licence=entry.licence,
            languages=entry.languages,
            context=entry.context,
            parameters_billion=entry.parameters_billion,
            weight_gigabytes=round(entry.weight_gigabytes, 2),
            is_here=any(hub.finished(source, folder) for source in entry.sources),
            fits=fits(entry.weight_gigabytes),
            fetch=fetching.seen(entry.alias),
        )
        for entry in hub.catalogue().entries.values()
    ]
