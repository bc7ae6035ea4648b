"""`glm serve`: one model behind an HTTP server."""

from __future__ import annotations

import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from openglm.commands.session import EngineFlags, how_it_runs, open_session, read_recommended
from openglm.errors import InvalidRequest
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
    name: Annotated[str | None, Parameter(help="what requests call the model; default: its own name")] = None,
    page: Annotated[bool, Parameter(help="serve the chat page at / too")] = False,
    lora: Annotated[
        tuple[str, ...],
        Parameter(help="serve a LoRA adapter too, as NAME=FOLDER; may be repeated", negative=()),
    ] = (),
    lora_loading: Annotated[
        bool, Parameter(negative=(), help="let whoever reaches the server load adapters from this disk")
    ] = False,
    access_log: Annotated[bool, Parameter(negative=(), help="one line on stderr for each request")] = False,
    until_eof: Annotated[
        bool,
        Parameter(negative=(), help="stop when standard input ends, as with the program that started it"),
    ] = False,
    flags: EngineFlags = EngineFlags(),
) -> None:
    """Serve one model over HTTP: the OpenAI API at /v1, /tokenize, /health, /metrics. No accounts."""
    if until_eof:
        threading.Thread(target=stop_at_eof, name="until-eof", daemon=True).start()
    from openglm import logs
    from openglm.asgi import open_socket, run
    from openglm.serve import Service, create_app

    logs.to_stderr(requests=access_log)
    adapters = [named_folder(text) for text in lora]
    open_socket(address.host, address.port, uds).close()  # a taken port is known before the model is loaded
    with open_session(model, flags) as session:
        local = session.local
        service = Service(
            session.engine,
            session.tokenizer,
            session.chat_format,
            name or local.name,
            title=local.title,
            licence=local.licence,
            source=local.source,
            sampling=SamplingParams(**read_recommended(local)),
        )
        say(f"model    {local.title}, called {name or local.name!r} in requests")
        say(f"licence  {local.licence or 'as its files say'}")
        say(f"runs on  {how_it_runs(local.path, flags)}")
        for adapter, folder in adapters:
            service.load_adapter(adapter, folder)
            say(f"adapter  {adapter!r} from {folder}")
        run(
            # Whoever may open a Unix socket may read this disk anyway.
            create_app(service, page=page, lora_loading=lora_loading or uds is not None),
            host=address.host,
            port=address.port,
            uds=uds,
            on_ready=lambda url: print(f"ready {url}", flush=True),
            access_log=access_log,
        )


def named_folder(text: str) -> tuple[str, Path]:
    """NAME=FOLDER, taken apart."""
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise InvalidRequest(f"--lora must be NAME=FOLDER, got {text!r}")
    return name, Path(folder).expanduser()


def stop_at_eof() -> None:
    """Whoever started us holds the other end; that it is gone is all that is ever read."""
    while os.read(0, 4096):  # not sys.stdin: its lock must be free when the interpreter ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
