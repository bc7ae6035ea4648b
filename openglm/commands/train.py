"""`glm train`: a recipe in, a trained adapter out; it goes on where it was when it is started again."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from openglm.commands.serve import stop_at_eof


def train(
    recipe: Annotated[Path, Parameter(help="a TOML file; the README shows one")],
    /,
    *,
    set_: Annotated[
        tuple[str, ...],
        Parameter(name="--set", help="table.key=value in place of the file's; may be repeated", negative=()),
    ] = (),
    plan: Annotated[
        bool, Parameter(negative=(), help="print every derived value, sizes and memory, and do nothing")
    ] = False,
    json_: Annotated[
        bool, Parameter(name="--json", negative=(), help="print the metrics of each step as JSON lines")
    ] = False,
    until_eof: Annotated[bool, Parameter(negative=(), help="save and stop when standard input ends")] = False,
) -> int:
    """Fine-tune a model with LoRA on chats.

    Everything lands in the recipe's output folder. Started again with the same recipe it goes on where it
    was; SIGTERM and Ctrl-C save first. Exit code 2: the recipe or the data is wrong.
    """
    if until_eof:
        threading.Thread(target=stop_at_eof, name="until-eof", daemon=True).start()
    from openglm import logs, runtime
    from openglm.train.recipe import read_recipe
    from openglm.train.stop import Stop

    given = read_recipe(recipe, set_)
    logs.to_stderr()
    runtime.let_threads_sleep()
    with Stop() as stop:
        from openglm.train import run
        from openglm.train.progress import progress_for

        progress = progress_for()
        prepared = run.prepare(given)
        if plan:
            print(json.dumps(prepared.plan.to_dict()) if json_ else prepared.plan.text())
            return 0
        result = run.start(prepared)
        if result is not None:
            progress.say("this run is finished already")
        else:
            progress.say(prepared.plan.text())

            def report(row: Mapping[str, Any]) -> None:
                progress.row(row)
                if json_:
                    put(row)

            stop.working = True
            try:
                result = run.train(prepared, report, stop, progress.say)
            finally:
                progress.close()
        if result is None:
            progress.say("stopped; the same command goes on from here")
            return stop.exit_code
    put(result) if json_ else print(result["adapter"])
    return 0


def put(row: Mapping[str, Any]) -> None:
    """A line on stdout. That nobody reads it any more is no reason to stop: the same is in metrics.jsonl."""
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(row), flush=True)
