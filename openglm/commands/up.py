"""`glm up`: the platform in one command: accounts, metering and page, and a server for each model."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from openglm.commands.serve import Address, say
from openglm.commands.session import EngineFlags
from openglm.errors import OpenGLMError

if TYPE_CHECKING:
    from openglm.maas.platform import Platform


def up(
    *,
    model: Annotated[
        str | None,
        Parameter(help="loaded now, others on demand; default: the data folder's, or the embedded one"),
    ] = None,
    no_model: Annotated[
        bool, Parameter(negative=(), help="start no model server; channels alone answer")
    ] = False,
    data: Annotated[Path | None, Parameter(help="folder of all that is kept; default: $OPENGLM_DATA")] = None,
    address: Address = Address(),
    open_: Annotated[bool, Parameter(name="--open", negative=(), help="open the page in a browser")] = False,
    access_log: Annotated[bool, Parameter(negative=(), help="one line on stderr for each request")] = False,
    flags: EngineFlags = EngineFlags(),
) -> None:
    """Start everything: the model servers, the API in every dialect, and the page, on one address.

    Until somebody signs up, programs of this machine need no key; from then on everybody does. The first
    account is made at the address printed as `set up`, or with `glm admin user add`.
    """
    from openglm import logs
    from openglm.asgi import open_socket, run
    from openglm.maas import folder_lock
    from openglm.maas.gateway import create_app
    from openglm.maas.platform import Platform
    from openglm.maas.settings import read_settings

    logs.to_stderr(requests=access_log)
    open_socket(address.host, address.port, None).close()  # a taken port is known before anything is made
    settings = read_settings(data)
    folder_lock.take(settings.data)  # until this process ends
    platform = Platform(settings, serves=not no_model)
    failure: list[OpenGLMError] = []
    say(f"data     {settings.data}")
    if not no_model:
        furnish(platform, model, flags)
    platform.servers.on_line = say

    async def announce(url: str) -> None:
        if await platform.accounts.is_empty():
            seen_at = settings.public_url.rstrip("/") or url
            say(f"set up   {seen_at}/setup?token={platform.installation.setup_token}")
        try:
            await platform.servers.loaded()
        except OpenGLMError as error:
            if not any(status.state == "ready" for status in platform.servers.status()):
                failure.append(error)
                os.kill(os.getpid(), signal.SIGTERM)
                return
            say(f"warning: {error.message}")
        print(f"ready {url}", flush=True)
        if open_:
            import webbrowser

            webbrowser.open(url)

    waiting: list[asyncio.Task[None]] = []
    run(
        create_app(platform, page=True),
        host=address.host,
        port=address.port,
        on_ready=lambda url: waiting.append(asyncio.get_running_loop().create_task(announce(url))),
        access_log=access_log,
    )
    if failure:
        raise failure[0]


def furnish(platform: Platform, name: str | None, flags: EngineFlags) -> None:
    """See to it that there is a model: the one that was named, else those known already, else the embedded
    one. It is fetched here, where progress can be shown; on this machine it costs nothing until priced."""
    from openglm import hub
    from openglm.maas.models import Model

    async def work() -> None:
        known = await platform.models.list()
        if name is None and any(model.source for model in known):
            return
        source = hub.lasting(name) if name else hub.catalogue().default
        local = await asyncio.to_thread(hub.resolve, source)
        row = Model(local.name, title=local.title, source=source, flags=words(flags))
        old = next((model for model in known if model.name == local.name), None)
        if old is None or (old.source, old.flags) != (row.source, row.flags):
            await platform.models.put(row)
        await platform.prices.set_if_none(local.name)
        for other in known if name else ():
            if other.source and other.name != local.name and other.load == "always":
                await platform.models.put(replace(other, load="on_demand"))

    asyncio.run(work())


def words(flags: EngineFlags) -> tuple[str, ...]:
    """The flags as a command line spells them."""
    found: list[str] = []
    for field in fields(flags):
        value = getattr(flags, field.name)
        if value is not None:
            found += ["--" + field.name.replace("_", "-"), str(value)]
    return tuple(found)
