"""zai-sdk and zhipuai, as checks use them: clients for our platform, and the errors that they raise.

The two are one family: what both have is checked by the same functions.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from tests.sdk.table import Table, World, methods_of

PAAS = "/api/paas/v4"
CODING = "/api/coding/paas/v4"
CLIENTS = {"zai": "ZaiClient", "zhipuai": "ZhipuAI"}

both, zai, zhipuai = Table(), Table(), Table()


@dataclass
class Sdk:
    """`core` is where the SDK keeps its errors."""

    name: str
    world: World
    package: ModuleType = field(init=False)
    core: ModuleType = field(init=False)

    def __post_init__(self) -> None:
        self.package = importlib.import_module(self.name)
        self.core = importlib.import_module(f"{self.name}.core")
        self.client = self.open()
        # Some of its types do not fit what the official service documents: a list is typed as one object.
        self.lenient = self.open(_strict_response_validation=False)

    def open(self, key: str | None = None, base: str = PAAS, **options: Any) -> Any:
        """A client that changes base URL and key, and is told to check the answers' types."""
        options = {"_strict_response_validation": True, "max_retries": 0, "timeout": 60, **options}
        made = getattr(self.package, CLIENTS[self.name])
        return made(api_key=key or self.world.key, base_url=self.world.url + base, **options)

    def methods(self) -> Iterator[tuple[str, Callable[..., Any]]]:
        return methods_of(self.client, self.core.BaseAPI)

    @contextmanager
    def raises(self, error: str, code: str | None = None) -> Iterator[list[Any]]:
        """The block must raise exactly this class of the SDK's, with Zhipu's code in the body."""
        caught: list[Any] = []
        try:
            yield caught
        except Exception as failure:
            caught.append(failure)
        assert caught, f"no {error} was raised"
        (raised,) = caught
        assert type(raised).__name__ == error, f"{type(raised).__name__}: {raised}"
        if code is not None:
            told = raised.json_data if hasattr(raised, "json_data") else raised.response.json()["error"]
            assert told["code"] == code, told
            assert told["message"]


def ask(text: str = "", **script: Any) -> list[dict[str, Any]]:
    """Messages whose answer the fake model server writes as it is told."""
    return [{"role": "user", "content": text or json.dumps(script)}]
