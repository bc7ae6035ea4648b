"""Runs an SDK's table in the interpreter that has it: `python -m tests.sdk.drive zai < world.json`.

Prints a JSON line with every method that the SDK has, and one as each row of the table ends: its name, and
the traceback of its failure or null.
"""

from __future__ import annotations

import faulthandler
import json
import sys
import traceback
from collections.abc import Callable

from tests.sdk.table import World, send
from tests.sdk.zhipu import Sdk
from tests.sdk.zhipu_tables import TABLES

LONGEST_S = 100


def main(name: str) -> None:
    sdk, table = Sdk(name, World(**json.load(sys.stdin))), TABLES[name]
    methods = dict(sdk.methods())
    print(json.dumps(list(methods)), flush=True)
    for sentence, check in table.checks.items():
        print(json.dumps([sentence, failure(check, sdk)]), flush=True)
    for method, call in methods.items():
        if refusal := table.refusal_of(method):
            print(json.dumps([method, failure(refused, sdk, call, refusal)]), flush=True)


def refused(sdk: Sdk, call: Callable, refusal) -> None:
    with sdk.raises("APIRequestFailedError", refusal.code):
        send(call, refusal.arguments)


def failure(check: Callable[..., None], *arguments: object) -> str | None:
    faulthandler.dump_traceback_later(LONGEST_S, exit=True)  # what hangs says where
    try:
        check(*arguments)
    except Exception:
        return traceback.format_exc()
    finally:
        faulthandler.cancel_dump_traceback_later()
    return None


if __name__ == "__main__":
    main(sys.argv[1])
