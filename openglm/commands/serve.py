"""`glm serve` and `glm up`: a model behind an HTTP server, with a page where one is wanted."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from openglm.commands.session import EngineFlags, how_it_runs, open_session, read_recommended
from openglm.messages import SamplingParams

Port = Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to listen."""

    host: Annotated[str, Parameter(help="address to listen on; 0.0.0.0 lets other machines in")] = "127.0.0.1"
    port: Annotated[Port, Parameter(help="0 takes a free one and says which")] = 8000


def serve(
    model: Annotated[str, Parameter(help="an alias, a folder, hf:…, ms:…, gguf:… or pypi:…")],
    /,
    *,
    address: Address = Address(),
    uds: Annotated[Path | None, Parameter(help="listen on this Unix socket instead")] = None,
    page: Annotated[bool, Parameter(help="serve the chat page at / too")] = False,
    access_log: Annotated[bool, Parameter(negative=(), help="one line on stderr for each request")] = False,
    flags: EngineFlags = EngineFlags(),
) -> None:
    """Serve one model over HTTP: the OpenAI API at /v1, /tokenize, /health, /metrics. No accounts."""
    start(model, address, flags, page=page, uds=uds, access_log=access_log)


def up(
    *,
    model: Annotated[str | None, Parameter(help="default: the embedded one")] = None,
    address: Address = Address(),
    open_: Annotated[bool, Parameter(name="--open", negative=(), help="open the page in a browser")] = False,
    flags: EngineFlags = EngineFlags(),
) -> None:
    """Start everything: the model, the API and the page, on one address."""
    start(model, address, flags, page=True, open_page=open_)


def start(
    name: str | None,
    address: Address,
    flags: EngineFlags,
    *,
    page: bool,
    uds: Path | None = None,
    access_log: bool = False,
    open_page: bool = False,
) -> None:
    from openglm.asgi import open_socket, run
    from openglm.serve import Service, create_app

    open_socket(address.host, address.port, uds).close()  # a taken port is known before the model is loaded
    with open_session(name, flags) as session:
        local = session.local
        service = Service(
            session.engine,
            session.tokenizer,
            session.chat_format,
            local.name,
            title=local.title,
            licence=local.licence,
            source=local.source,
            sampling=SamplingParams(**read_recommended(local)),
        )
        say(f"model    {local.title}, called {local.name!r} in requests")
        say(f"licence  {local.licence or 'as its files say'}")
        say(f"runs on  {how_it_runs(local.path, flags)}")

        def ready(url: str) -> None:
            print(f"ready {url}", flush=True)
            if open_page:
                import webbrowser

                webbrowser.open(url)

        app = create_app(service, page=page)
        run(
            app,
            host=address.host,
            port=address.port,
            uds=uds,
            on_ready=ready,
            access_log=access_log,
        )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
