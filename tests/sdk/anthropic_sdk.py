"""The official Anthropic client, as checks use it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anthropic
import pytest
from anthropic._resource import SyncAPIResource

from tests.sdk.table import Table, World, methods_of

T = TypeVar("T")
table = Table()


@dataclass
class Sdk:
    world: World
    client: anthropic.Anthropic = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.open()

    def open(self, key: str | None = None, **options: Any) -> anthropic.Anthropic:
        """A client that changes base URL and key, and is told to check the answers' types."""
        return anthropic.Anthropic(**self._options(key, options))

    def run(self, work: Callable[[anthropic.AsyncAnthropic], Awaitable[T]]) -> T:
        """Something with the asynchronous client."""

        async def go() -> T:
            async with anthropic.AsyncAnthropic(**self._options(None, {})) as client:
                return await work(client)

        return asyncio.run(go())

    def methods(self) -> Iterator[tuple[str, Callable[..., Any]]]:
        return methods_of(self.client, SyncAPIResource)

    def _options(self, key: str | None, options: dict[str, Any]) -> dict[str, Any]:
        return {
            "api_key": key or self.world.key,
            "base_url": f"{self.world.url}/api/anthropic",
            "max_retries": 0,
            "timeout": 60,
            "_strict_response_validation": True,
            **options,
        }


def ask(text: str = "", **script: Any) -> list[Any]:
    """Messages whose answer the fake model server writes as it is told."""
    return [{"role": "user", "content": text or json.dumps(script)}]


def raises(error: type[anthropic.APIError], kind: str) -> Any:
    """The block must raise this class of the SDK's with this type of error."""
    return pytest.raises(error, check=lambda caught: type(caught) is error and caught.type == kind)
