"""For operators: models, channels, and the servers of this machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field

from openglm.maas.console.access import Body, House, Operator
from openglm.maas.models import Model
from openglm.maas.servers.server import Status
from openglm.maas.upstreams import Channel

router = APIRouter(tags=["serving"], prefix="/platform")
Whole = Annotated[int, Field(ge=-(2**31), le=2**31)]
Text = Annotated[str, Field(max_length=500)]
State = Literal["active", "draining", "disabled"]


class NewModel(Body):
    title: Text = ""
    owner_org: Annotated[Text | None, Field(description="who alone may call it; null: everybody")] = None
    alias_of: Text | None = None
    source: Annotated[Text | None, Field(description="what a server here opens; null: channels answer")] = (
        None
    )
    flags: Annotated[list[Text], Field(max_length=50, default_factory=list)]
    load: Literal["always", "on_demand"] = "always"
    idle_s: Annotated[int, Field(ge=0, le=2**31)] = 600


class NewChannel(Body):
    base_url: Annotated[str, Field(max_length=2000)]
    models: Annotated[dict[str, str], Field(description="public name to the server's own", max_length=1000)]
    api_key: Annotated[str | None, Field(description="null: the one that is kept stays", max_length=2000)] = (
        None
    )
    leaving: Literal["cancel", "drain", "abort"] = "abort"
    drain_tokens: Whole = 256
    weight: Whole = 1
    priority: Whole = 0
    max_in_flight: Whole | None = None
    extensions: Annotated[
        bool, Field(description="false: a service that refuses what OpenAI does not document")
    ] = True
    state: State = "active"


class NewState(Body):
    state: State


@dataclass(frozen=True, slots=True)
class ChannelView:
    """A channel and how it does; its key is never shown."""

    id: str
    base_url: str
    models: dict[str, str]
    has_key: bool
    leaving: str
    drain_tokens: int
    weight: int
    priority: int
    max_in_flight: int | None
    extensions: bool
    state: str
    healthy: bool | None
    in_flight: int
    waiting: int


@router.get("/models")
async def list_models(person: Operator, platform: House) -> list[Model]:
    """The models that have a row."""
    return list(await platform.models.list())


@router.put("/models/{name}")
async def put_model(name: str, body: NewModel, person: Operator, platform: House) -> Model:
    """Add a model, or change the one of that name."""
    if body.owner_org:
        await platform.accounts.org(body.owner_org)
    given = body.model_dump()
    model = Model(name, **given | {"flags": tuple(given["flags"])})
    return await platform.models.put(model, actor=person.actor)


@router.delete("/models/{name}", status_code=204)
async def remove_model(name: str, person: Operator, platform: House) -> None:
    """Remove a model's row; its server ends."""
    await platform.models.remove(name, actor=person.actor)


@router.get("/channels")
async def list_channels(person: Operator, platform: House) -> list[ChannelView]:
    """Where models are answered, and how it goes."""
    health = {one.channel_id: one for one in platform.router.health()}
    views = []
    for channel in await platform.channels.list():
        one = health.get(channel.id)
        view = _view(channel)
        if one:
            view = replace(view, healthy=one.healthy, in_flight=one.in_flight, waiting=one.waiting)
        views.append(view)
    return views


@router.put("/channels/{channel_id}")
async def put_channel(channel_id: str, body: NewChannel, person: Operator, platform: House) -> ChannelView:
    """Add a channel, or replace the one of that id."""
    await platform.channels.put(Channel(channel_id, **body.model_dump()), actor=person.actor)
    return _view(await platform.channels.get(channel_id))


@router.patch("/channels/{channel_id}", status_code=204)
async def set_channel_state(channel_id: str, body: NewState, person: Operator, platform: House) -> None:
    """Drain it (answers that run end, no new ones begin), disable it, or take it back."""
    await platform.channels.set_state(channel_id, body.state, actor=person.actor)


@router.delete("/channels/{channel_id}", status_code=204)
async def remove_channel(channel_id: str, person: Operator, platform: House) -> None:
    """Remove a channel."""
    await platform.channels.remove(channel_id, actor=person.actor)


@router.get("/servers")
async def list_servers(person: Operator, platform: House) -> list[Status]:
    """The model servers of this machine, with their last lines."""
    return list(platform.servers.status())


def _view(channel: Channel) -> ChannelView:
    return ChannelView(
        channel.id,
        channel.base_url,
        channel.models,
        bool(channel.api_key),
        channel.leaving,
        channel.drain_tokens,
        channel.weight,
        channel.priority,
        channel.max_in_flight,
        channel.extensions,
        channel.state,
        None,
        0,
        0,
    )
