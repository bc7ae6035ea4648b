"""Reading a JSON body strictly, field by field; every dialect decodes with these few verbs.

An explicit null is the same as an absent field, and fields nobody asks for are ignored: clients send both.
Anything else that does not fit is an InvalidRequest that names the field and says what came and what is
expected. No other exception leaves this module, whatever the bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from openglm.errors import InvalidRequest

LARGE_BODY = 256 * 1024  # bytes; larger ones are counted before they are read, and decoded beside the loop
# A value costs a hundred times what its bytes in the body do: 22 million empty lists fit into 64 MiB.
MAX_VALUES = 500_000
MAX_DEPTH = 200  # levels of nesting; a JSON schema of 64 nested objects needs about 130
_NAMES = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "an integer"}


def parse_object(body: bytes, most: int = MAX_VALUES) -> Fields:
    """The body's one JSON object, of at most so many values. NaN, Infinity, lone surrogates and nesting bombs
    are not JSON here."""
    if len(body) > LARGE_BODY and too_many(body, most):
        raise InvalidRequest(
            f"the body must have at most {most} JSON values, got more", code="too_many_values"
        )
    try:
        data = msgspec.json.decode(body)
    except RecursionError:
        raise InvalidRequest(f"the body nests deeper than {MAX_DEPTH} levels", code="invalid_json") from None
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"the body must be UTF-8 text, got a string with {error.reason}", code="invalid_json"
        ) from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise InvalidRequest(
            f"the body is not valid JSON: {_reason(body, error)}", code="invalid_json"
        ) from None
    if not isinstance(data, dict):
        raise InvalidRequest(f"the body must be a JSON object, got {shown(data)}", code="invalid_json")
    if too_deep(data):
        raise InvalidRequest(f"the body nests deeper than {MAX_DEPTH} levels", code="invalid_json")
    return Fields(data)


def _reason(body: bytes, error: Exception) -> str:
    # msgspec reports a lone \ud800 escape as truncated input, which would send the reader astray.
    if "truncated" in str(error) and b"\\u" in body and body.rstrip().endswith(b"}"):
        return "it breaks off, or a string holds half of a surrogate pair such as \\ud800"
    return str(error).removeprefix("JSON is malformed: ")


def too_many(body: bytes, most: int = MAX_VALUES) -> bool:
    """Whether JSON holds more values than that, told without reading it: there is a comma or a bracket
    for each. Those inside of strings do not count, and a prompt may be full of them."""
    if _marks(body) <= most:
        return False
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"")
    found, inside = 0, 0
    for start in range(0, len(plain), LARGE_BODY):
        pieces = plain[start : start + LARGE_BODY].split(b'"')
        found += _marks(b"".join(pieces[inside::2]))
        if found > most:
            return True
        inside = (inside + len(pieces) - 1) % 2
    return False


def _marks(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def too_deep(data: Any) -> bool:
    """Whether a JSON value nests deeper than MAX_DEPTH, found without recursion."""
    level: list[Any] = [data]
    for _ in range(MAX_DEPTH):
        level = [inner for value in level if isinstance(value, dict | list) for inner in _values(value)]
        if not level:
            return False
    return True


def _values(value: dict[str, Any] | list[Any]) -> Sequence[Any]:
    return list(value.values()) if isinstance(value, dict) else value


def shown(value: Any) -> str:
    """A value as an error message shows it: its kind, and its text where that is short."""
    if value is None:
        return "null"
    kind = _NAMES.get(type(value), "a number")
    if isinstance(value, dict | list):
        return f"{kind} of {len(value)}"
    text = ascii(value)
    if len(text) <= 60:
        return f"{kind}: {text}"
    return f"{kind} of {len(value)} characters" if isinstance(value, str) else f"{kind}: {text[:20]}..."


class Fields:
    """One JSON object and where it stands in the body (`messages[2].content[0]`)."""

    def __init__(self, data: Mapping[str, Any], path: str = ""):
        self.data = data
        self.path = path

    def at(self, name: str) -> str:
        """The full name of a field, as errors name it."""
        return f"{self.path}.{name}" if self.path else name

    def has(self, name: str) -> bool:
        return self.data.get(name) is not None

    def raw(self, name: str) -> Any:
        """The value as it came; null is None."""
        return self.data.get(name)

    def wrong(self, name: str, expected: str, *, hint: str | None = None) -> InvalidRequest:
        """The error for a field that does not fit; for the caller to raise."""
        got = shown(self.raw(name)) if self.has(name) else "nothing"
        return InvalidRequest(
            f"{self.at(name)} must be {expected}, got {got}",
            param=self.at(name),
            code="invalid_value" if self.has(name) else "missing_field",
            hint=hint,
        )

    def text(self, name: str) -> str | None:
        value = self.raw(name)
        if value is not None and not isinstance(value, str):
            raise self.wrong(name, "a string")
        return value

    def needed_text(self, name: str) -> str:
        value = self.text(name)
        if not value:
            raise self.wrong(name, "a string that is not empty")
        return value

    def word(self, name: str, words: Sequence[str]) -> str | None:
        """One of a few words."""
        value = self.raw(name)
        if value is not None and (not isinstance(value, str) or value not in words):
            raise self.wrong(name, "one of " + ", ".join(words))
        return value

    def flag(self, name: str) -> bool | None:
        value = self.raw(name)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def integer(self, name: str, low: int, high: int, *, hint: str | None = None) -> int | None:
        """An integer in [low, high]. 3.0 is one: JSON has no integers, and some clients write them so."""
        value = self.raw(name)
        if value is None:
            return None
        whole = as_integer(value)
        if whole is None or not low <= whole <= high:
            raise self.wrong(name, f"an integer from {low} to {high}", hint=hint)
        return whole

    def number(
        self, name: str, low: float, high: float, *, above: bool = False, hint: str | None = None
    ) -> float | None:
        """A number in [low, high], or in (low, high] with `above`."""
        value = self.raw(name)
        if value is None:
            return None
        if not is_number(value) or not low <= value <= high or (above and value == low):
            expected = (
                f"a number above {low:g} and at most {high:g}"
                if above
                else f"a number from {low:g} to {high:g}"
            )
            raise self.wrong(name, expected, hint=hint)
        return float(value)

    def object(self, name: str) -> Fields | None:
        value = self.raw(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return Fields(value, self.at(name))

    def needed_object(self, name: str) -> Fields:
        value = self.object(name)
        if value is None:
            raise self.wrong(name, "an object")
        return value

    def items(self, name: str, most: int) -> list[Any]:
        """A list of at most `most` items; absent is empty."""
        value = self.raw(name)
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > most:
            raise self.wrong(name, f"a list of at most {most} items")
        return value

    def objects(self, name: str, most: int) -> Iterator[Fields]:
        """The objects of a list, each with its own path."""
        for index, value in enumerate(self.items(name, most)):
            path = f"{self.at(name)}[{index}]"
            if not isinstance(value, dict):
                raise InvalidRequest(
                    f"{path} must be an object, got {shown(value)}", param=path, code="invalid_value"
                )
            yield Fields(value, path)


def as_integer(value: Any) -> int | None:
    """The integer that a JSON value is, or None. A boolean is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, float) and value.is_integer() else None


def is_object(text: str) -> bool:
    """Whether a text is JSON of one object."""
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (ValueError, RecursionError):
        return False


def is_number(value: Any) -> bool:
    """A finite JSON number. Integers too large for a double are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
