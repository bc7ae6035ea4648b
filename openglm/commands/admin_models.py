"""`glm admin` over models, channels and limits."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from openglm.commands.admin import channel, limit, model
from openglm.commands.office import Office, org_of
from openglm.errors import InvalidRequest

if TYPE_CHECKING:
    from openglm.maas.platform import Platform


@channel.command(name="add")
def add_channel(
    channel_id: str,
    base_url: Annotated[str, Parameter(help="before /v1: http://…, https://… or unix:PATH")],
    /,
    *,
    models: Annotated[tuple[str, ...], Parameter(help="NAME, or NAME=the server's own name")],
    key_file: Annotated[Path | None, Parameter(help="file with the server's API key; kept sealed")] = None,
    weight: int = 1,
    priority: Annotated[int, Parameter(help="lower numbers are asked first")] = 0,
    max_in_flight: Annotated[int | None, Parameter(help="more wait, tenant by tenant")] = None,
    leaving: Annotated[
        Literal["cancel", "drain", "abort"],
        Parameter(help="when a client leaves: cancel for our own servers, else abort or drain"),
    ] = "abort",
    extensions: Annotated[
        bool, Parameter(help="--no-extensions: a service that refuses what OpenAI does not document")
    ] = True,
    office: Office = Office(),
) -> None:
    """Add a channel, or change the one of that id. A running platform follows within seconds."""
    from openglm.maas.upstreams import Channel

    names = {name.partition("=")[0]: name.partition("=")[2] or name for name in models}
    made = Channel(
        channel_id,
        base_url.rstrip("/").removesuffix("/v1"),
        names,
        api_key=key_file.read_text(encoding="utf-8").strip() if key_file else None,
        leaving=leaving,
        weight=weight,
        priority=priority,
        max_in_flight=max_in_flight,
        extensions=extensions,
    )
    office.run(lambda platform: platform.channels.put(made))
    office.say({"channel": made.id, "address": made.base_url, "models": ", ".join(made.models)})


@channel.command(name="list")
def list_channels(*, office: Office = Office()) -> None:
    """List the channels; keys are not shown."""

    async def work(platform: Platform) -> None:
        rows = [
            {
                "id": one.id,
                "state": one.state,
                "address": one.base_url,
                "models": ", ".join(one.models),
                "weight": one.weight,
                "priority": one.priority,
                "key": "yes" if one.api_key else "",
            }
            for one in await platform.channels.list()
        ]
        office.show(rows, ("id", "state", "address", "models", "weight", "priority", "key"))

    office.run(work)


@channel.command(name="state")
def set_channel_state(
    channel_id: str, state: Literal["active", "draining", "disabled"], /, *, office: Office = Office()
) -> None:
    """Drain a channel (answers that run end, no new ones begin), disable it, or take it back."""
    office.run(lambda platform: platform.channels.set_state(channel_id, state))


@channel.command(name="remove")
def remove_channel(channel_id: str, /, *, office: Office = Office()) -> None:
    """Remove a channel."""
    office.run(lambda platform: platform.channels.remove(channel_id))


@model.command(name="add")
def add_model(
    name: str,
    /,
    *,
    source: Annotated[str | None, Parameter(help="what a server here opens: alias, folder, hf:… …")] = None,
    alias_of: Annotated[str | None, Parameter(help="another model that this name stands for")] = None,
    title: str = "",
    owner: Annotated[str | None, Parameter(help="organisation that alone may call it")] = None,
    load: Annotated[Literal["always", "on_demand"], Parameter(help="when its server is started")] = "always",
    idle_s: Annotated[int, Parameter(help="seconds unused, after which on_demand is unloaded")] = 600,
    flags: Annotated[tuple[str, ...], Parameter(help="more for its server's command line")] = (),
    office: Office = Office(),
) -> None:
    """Add a model, or change the one of that name."""
    from openglm import hub
    from openglm.maas.models import Model

    opened = hub.lasting(source) if source else None

    async def work(platform: Platform) -> None:
        owner_org = (await org_of(platform, owner)).id if owner else None
        words = tuple(word for flag in flags for word in flag.split())
        await platform.models.put(
            Model(name, title, owner_org, alias_of, opened, words, load=load, idle_s=idle_s)
        )

    office.run(work)


@model.command(name="list")
def list_models(*, office: Office = Office()) -> None:
    """List the models that have a row, and how they are loaded."""

    async def work(platform: Platform) -> None:
        rows = [asdict(one) for one in await platform.models.list()]
        office.show(rows, ("name", "state", "source", "alias_of", "owner_org", "load", "memory_bytes"))

    office.run(work)


@model.command(name="remove")
def remove_model(name: str, /, *, office: Office = Office()) -> None:
    """Remove a model's row; its server ends."""
    office.run(lambda platform: platform.models.remove(name))


@limit.command(name="set")
def set_limit(
    *,
    tier: str = "*",
    model_: Annotated[str, Parameter(name="--model", help="a name, prefix* or *")] = "*",
    subject: Literal["org", "key"] = "org",
    concurrency: Annotated[int | None, Parameter(help="answers in flight")] = None,
    rpm: Annotated[int | None, Parameter(help="requests a minute")] = None,
    tpm: Annotated[int | None, Parameter(help="tokens a minute")] = None,
    office: Office = Office(),
) -> None:
    """Set a rule for a tier and a model; the most exact rule holds."""
    from openglm.maas.limits import Rule

    if concurrency is rpm is tpm is None:
        raise InvalidRequest("a limit needs --concurrency, --rpm or --tpm")
    rule = Rule(tier, model_, subject, concurrency, rpm, tpm)

    async def work(platform: Platform) -> None:
        office.say({"limit": await platform.limits.rules.put(rule)})

    office.run(work)


@limit.command(name="list")
def list_limits(*, office: Office = Office()) -> None:
    """List the rules."""

    async def work(platform: Platform) -> None:
        rows = [asdict(rule) for rule in await platform.limits.rules.list()]
        office.show(rows, ("id", "tier", "model", "subject", "concurrency", "rpm", "tpm"))

    office.run(work)


@limit.command(name="remove")
def remove_limit(rule_id: str, /, *, office: Office = Office()) -> None:
    """Remove a rule."""
    office.run(lambda platform: platform.limits.rules.remove(rule_id))
