"""A platform as a process of its own, to be stopped and killed: DATA DATABASE_URL UPSTREAM_URL."""

from __future__ import annotations

import sys
from pathlib import Path

from openglm.asgi import run
from openglm.maas.gateway import create_app
from openglm.maas.platform import Platform
from openglm.maas.settings import Settings
from openglm.maas.upstreams import Channel


def main() -> None:
    data, database_url, upstream = sys.argv[1:]
    platform = Platform(Settings(data=Path(data), database_url=database_url), serves=False)
    platform.router.add(Channel("fake", upstream, {"glm": "wire"}, leaving="cancel"))
    run(create_app(platform), port=0, on_ready=lambda url: print(url, flush=True))


main()
