"""`make docs`: what the documents say, held against the tree.

Links and their headings lead somewhere; each `glm` command is one that the program understands, flags and all
(it is parsed, not run); each `make` target exists; Python, JSON and TOML in blocks are such.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

from cyclopts import CycloptsError, MissingArgumentError

from openglm.cli import VERBS, program

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(path for pattern in ("*.md", "docs/*.md", "benches/*.md") for path in ROOT.glob(pattern))
DEPLOY = sorted(path for path in (ROOT / "deploy").rglob("*") if path.is_file())
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\((?!\w+:)([^)\s]+)\)")
_GLM = re.compile(rf"(?:^|[\s/\"'(])glm ((?:{'|'.join(VERBS)})\b[^\n|&;>`]*)")
_MAKE = re.compile(r"\bmake ([a-z]+)\b")
_READS: dict[str, Callable[[str], object]] = {"python": ast.parse, "json": json.loads, "toml": tomllib.loads}


def complaints() -> list[str]:
    """What is wrong, a line each."""
    found = [f"{path.relative_to(ROOT)}: {text}" for path in DOCUMENTS for text in of_document(path)]
    for path in DEPLOY:
        for command in _GLM.findall(path.read_text(encoding="utf-8")):
            found += [f"{path.relative_to(ROOT)}: {text}" for text in of_command(command, whole=False)]
    return found


def of_document(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    prose = _BLOCK.sub("", text)
    for link in _LINK.findall(prose):
        yield from of_link(path, link)
    for language, block in _BLOCK.findall(text):
        if language in ("sh", "bash"):
            for command in _GLM.findall(block.replace("\\\n", " ")):
                yield from of_command(command, whole=True)
            yield from of_targets(block)
        elif language in _READS:
            try:
                _READS[language](block)
            except (SyntaxError, ValueError) as error:
                yield f"a block is no {language}: {error}"
    for span in _SPAN.findall(prose):
        for command in _GLM.findall(f" {span}"):
            yield from of_command(command, whole=False)
        yield from of_targets(span)


def of_link(path: Path, link: str) -> Iterator[str]:
    target, _, heading = link.partition("#")
    file = path.parent / target if target else path
    if not file.exists():
        yield f"the link {link} leads nowhere"
    elif heading and heading not in headings(file):
        yield f"{file.name} has no heading #{heading}"


def headings(path: Path) -> set[str]:
    """The anchors of a document, as hosts of code make them."""
    text = _BLOCK.sub("", path.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ +(.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def of_command(command: str, *, whole: bool) -> Iterator[str]:
    """`whole`: it could be typed as it stands; else arguments may be left out, and … stands for some."""
    try:
        words = [word for word in shlex.split(command, comments=True) if not set(word) <= set("….")]
        program().parse_args(words, exit_on_error=False, print_error=False)
    except MissingArgumentError as error:
        if whole:
            yield f"`glm {command.strip()}`: {error}"
    except (CycloptsError, ValueError) as error:
        yield f"`glm {command.strip()}`: {error}"


def of_targets(text: str) -> Iterator[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in _MAKE.findall(text):
        if not re.search(rf"^{target}:", makefile, re.M):
            yield f"there is no make {target}"


if __name__ == "__main__":
    problems = complaints()
    print("\n".join(problems), file=sys.stderr, end="\n" if problems else "")
    sys.exit(bool(problems))
