"""The official OpenAI client, as checks use it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import openai
import pytest
from openai._resource import SyncAPIResource

from tests.sdk.table import Table, World, methods_of

T = TypeVar("T")
table = Table()


@dataclass
class Sdk:
    world: World
    client: openai.OpenAI = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.open()

    def open(self, key: str | None = None, base: str = "/v1", **options: Any) -> openai.OpenAI:
        """A client that changes base URL and key, and is told to check the answers' types."""
        return openai.OpenAI(**self._options(key, base, options))

    def run(self, work: Callable[[openai.AsyncOpenAI], Awaitable[T]]) -> T:
        """Something with the asynchronous client."""

        async def go() -> T:
            async with openai.AsyncOpenAI(**self._options(None, "/v1", {})) as client:
                return await work(client)

        return asyncio.run(go())

    def methods(self) -> Iterator[tuple[str, Callable[..., Any]]]:
        return methods_of(self.client, SyncAPIResource)

    def _options(self, key: str | None, base: str, options: dict[str, Any]) -> dict[str, Any]:
        return {
            "api_key": key or self.world.key,
            "admin_api_key": key or self.world.key,
            "base_url": self.world.url + base,
            "max_retries": 0,
            "timeout": 60,
            "_strict_response_validation": True,
            **options,
        }


def ask(text: str = "", **script: Any) -> list[Any]:
    """Messages whose answer the fake model server writes as it is told."""
    return [{"role": "user", "content": text or json.dumps(script)}]


def raises(error: type[openai.APIError], code: str) -> Any:
    """The block must raise this class of the SDK's with our code."""
    return pytest.raises(error, check=lambda caught: type(caught) is error and caught.code == code)


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALLING = {
    "tokens": 1,
    "calls": [{"id": "call_1", "name": "weather", "arguments": '{"city": "Wuhan"}'}],
    "finish": "tool_calls",
}
