"""A platform as a process of its own, to be stopped and killed: DATA DATABASE_URL UPSTREAM_URL.

`/tasks` says how many tasks its loop has; `/stall?s=9` holds the loop up for so many seconds.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from openglm.asgi import run
from openglm.maas.gateway import create_app
from openglm.maas.platform import Platform
from openglm.maas.settings import Settings
from openglm.maas.upstreams import Channel


async def tasks(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(asyncio.all_tasks())))


async def stall(request: Request) -> PlainTextResponse:
    time.sleep(float(request.query_params["s"]))
    return PlainTextResponse("")


def main() -> None:
    data, database_url, upstream = sys.argv[1:]
    platform = Platform(Settings(data=Path(data), database_url=database_url), serves=False)
    platform.router.add(Channel("fake", upstream, {"glm": "wire"}, leaving="cancel"))
    app = create_app(platform)
    app.router.routes[:0] = [Route("/tasks", tasks), Route("/stall", stall, methods=["POST"])]
    run(app, port=0, on_ready=lambda url: print(url, flush=True))


main()
