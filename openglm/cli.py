"""The program `glm`: each verb names the function that does it, imported only when the verb is used.

Data goes to stdout, everything else to stderr. Exit code 0: done; 1: it failed and stderr says why;
2: the command line, or a recipe or its data, is wrong; 130: interrupted; 143: told to stop.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from openglm import __version__
from openglm.errors import OpenGLMError, RecipeError

if TYPE_CHECKING:
    from cyclopts import App

VERBS = {
    "up": ("up:up", "Start everything in one command: the page, the API, the model."),
    "serve": ("serve:serve", "Serve one model over HTTP, without accounts."),
    "chat": ("chat:chat", "Talk to a model in the terminal."),
    "generate": ("generate:generate", "Answer one prompt and exit."),
    "pull": ("models:pull", "Fetch a model, or bring it up to date."),
    "models": ("models:models", "List the models that are known and those that are here."),
    "convert": ("convert:convert", "Write any checkpoint we read as a published-layout folder."),
    "quantize": ("convert:quantize", "Write a smaller copy of a checkpoint: int8 or int4 weights."),
    "train": ("train:train", "Fine-tune a model with LoRA on chats."),
    "admin": ("admin:admin", "Look after a platform: users, keys, money, limits, models, channels, backups."),
    "doctor": ("doctor:doctor", "Say what this machine has, what will be used, and what to fix."),
}


def main() -> None:
    sys.exit(run(sys.argv[1:]))


def program() -> App:
    """All verbs, none of them imported yet."""
    from cyclopts import App

    app = App(
        "glm",
        "GLM models from a laptop up: fetch, serve, chat.",
        version=__version__,
        help_format="plaintext",
    )
    for verb, (target, summary) in VERBS.items():
        app.command(f"openglm.commands.{target}", name=verb, help=summary)
    return app


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line and return its exit code."""
    from cyclopts import CycloptsError

    try:
        code = program()(
            arguments or ["--help"],
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
        sys.stdout.flush()
        return code or 0
    except CycloptsError as error:
        return complain(str(error), f"`glm {verb_of(arguments)}--help` lists what can be said", 2)
    except RecipeError as error:
        return complain(error.message, error.hint, 2)
    except OpenGLMError as error:
        return complain(error.message, error.hint, 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def verb_of(arguments: Sequence[str]) -> str:
    return f"{arguments[0]} " if arguments and arguments[0] in VERBS else ""


def complain(message: str, hint: str | None, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
