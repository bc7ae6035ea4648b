"""What each method of an SDK must do here: the checks that prove it, or the error that is documented.

A table is made of functions, so the same one is read by pytest, which names the tests after it, and run by
`drive.py` in an interpreter that has the SDK and little else. Nothing here needs more than Python.
"""

from __future__ import annotations

import base64
import fnmatch
import inspect
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

PICTURE = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0\x1f\x15\xc4\x89"
PICTURE_URL = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"


@dataclass(frozen=True)
class World:
    """Where the platform is, and keys of an SDK's own accounts there."""

    url: str
    page: str  # a web page for the reader
    picture: str  # the address of PICTURE
    key: str  # money in the wallet
    poor_key: str  # none
    narrow_key: str  # of the first account, for a model that is not there
    limited_key: str  # one request a minute
    plan_key: str  # a coding plan and no money
    tuning_key: str  # money, and a model of its own that can be fine-tuned: tiny-SDK
    training_gate: str  # a file with the step that no training passes

    @classmethod
    def nowhere(cls) -> World:
        """For clients that are only looked at."""
        return cls(**dict.fromkeys(cls.__dataclass_fields__, "http://nowhere.example"))


Check = Callable[[Any], None]  # takes the SDK's `Tools`, as its own driver makes them


@dataclass(frozen=True)
class Refusal:
    code: str
    arguments: dict[str, Any]


@dataclass
class Table:
    """`works` and `refused` by the methods that they are about; a method may stand in both."""

    checks: dict[str, Check] = field(default_factory=dict)  # by "methods: sentence"
    methods: set[str] = field(default_factory=set)  # that a check is about
    refused: dict[str, Refusal] = field(default_factory=dict)  # by method, or by a pattern with *
    silent: set[str] = field(default_factory=set)

    def works(self, *methods: str) -> Callable[[Check], Check]:
        """This function proves that the methods do what they should. Its name is a sentence."""

        def add(check: Check) -> Check:
            self.checks[f"{', '.join(methods)}: {check.__name__.replace('_', ' ')}"] = check
            self.methods.update(methods)
            return check

        return add

    def __or__(self, other: Table) -> Table:
        return Table(
            self.checks | other.checks,
            self.methods | other.methods,
            self.refused | other.refused,
            self.silent | other.silent,
        )

    def refuses(self, code: str, *methods: str, **arguments: Any) -> None:
        """These methods end in this error. `arguments` are those that no placeholder will do for."""
        self.refused.update(dict.fromkeys(methods, Refusal(code, arguments)))

    def sends_nothing(self, *methods: str) -> None:
        """These methods ask the platform for nothing, or insist on another place than its own."""
        self.silent.update(methods)

    def refusal_of(self, method: str) -> Refusal | None:
        return next(
            (said for pattern, said in self.refused.items() if fnmatch.fnmatchcase(method, pattern)), None
        )

    def names(self, method: str) -> bool:
        return method in self.methods | self.silent or self.refusal_of(method) is not None


def methods_of(client: Any, resource_class: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every public method of every resource that hangs on a client, by its dotted name."""
    yield from _walk(client, resource_class, "")


def _walk(owner: Any, resource_class: type, path: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name in dir(owner):
        if name.startswith(("_", "with_")):
            continue
        value = getattr(owner, name, None)
        if isinstance(value, resource_class):
            yield from _walk(value, resource_class, f"{path}{name}.")
        elif path and inspect.ismethod(value):
            yield path + name, value


def placeholders(method: Callable[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    """Arguments that let a method send its request: those given, and something where one must be."""
    wanted = {
        name: _placeholder(str(parameter.annotation))
        for name, parameter in inspect.signature(method).parameters.items()
        if parameter.default is inspect.Parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    known = inspect.signature(method).parameters
    return wanted | {name: value for name, value in given.items() if name in known}


def send(call: Callable[..., Any], given: dict[str, Any]) -> None:
    """Call a method and have it send what it sends, also where it waits for a `with` to do so."""
    result = call(**placeholders(call, given))
    if hasattr(result, "__enter__"):
        with result as opened:
            for _ in opened:
                pass


def _placeholder(annotation: str) -> Any:
    kinds: tuple[tuple[str, Any], ...] = (
        ("FileTypes", ("a.txt", b"words")),
        ("Iterable", [{}]),
        ("List", ["x"]),
        ("Sequence", ["x"]),
        ("bool", True),
        ("int", 1),
        ("float", 1.0),
        ("Dict", {"x": "x"}),
    )
    return next((value for word, value in kinds if word in annotation), "x")


def until(condition: Callable[[], Any]) -> Any:
    """What a condition says as soon as it says anything."""
    deadline = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition never held"
        time.sleep(0.01)
    return found
