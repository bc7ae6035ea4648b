"""Deletes old usage rows as a process of its own: DATABASE_URL NOW.

Says how many went, and its peak of memory before and after in KiB.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys

from openglm.maas.database import open_database
from openglm.maas.money import Invoices
from openglm.maas.operate.retention import delete_older


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    url, now = sys.argv[1], int(sys.argv[2])
    database = open_database(url)
    before = peak()
    deleted = asyncio.run(
        delete_older(database, Invoices(database, clock=lambda: now), 100, clock=lambda: now)
    )
    print(json.dumps({"deleted": deleted["usage_event"], "before": before, "after": peak()}))
    database.close()


main()
