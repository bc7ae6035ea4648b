"""A node of a platform that trains, as a process of its own, to be killed: DATA DATABASE_URL NOW HOW WORDS…

HOW: `lives`, or dies `before` or `after` the settle of a training. WORDS are for the trainer.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from openglm.maas.database import open_database
from openglm.maas.files import Files
from tests.maas.finetuning.conftest import Bench


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingFiles(Files):
    """Dies when the result file of a training is written, which is right before the settle."""

    async def write(self, *_: object, **__: object):
        die()


async def main() -> None:
    data, url, now, how, *words = sys.argv[1:]
    bench = Bench(open_database(url), Path(data))
    bench.now = int(now)
    await bench.models.reload()
    if how == "before":
        bench.files = DyingFiles(bench.database, bench.files._blobs, clock=bench.clock)
    billing = bench.billing("dying")
    await billing.beat()
    more = {"settled": die} if how == "after" else {}
    tuning = bench.tuning(*words, node="dying", billing=billing, **more)
    await tuning.worker.start()
    print("serves", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
