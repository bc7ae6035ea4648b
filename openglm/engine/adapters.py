"""Several LoRA adapters over one model, in one batch: each row goes through its own, or through none.

The model itself stays as it is, packed or not: a hook behind every linear that can have an adapter adds the
low-rank product to the rows of those that use one. While no adapter is loaded there are no hooks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from openglm import kernels
from openglm.kernels import LowRank
from openglm.model.decoder import Decoder
from openglm.model.lora import Adapter, by_module

NO_ADAPTER = 0  # the number of rows that go through the bare model


class Adapters:
    def __init__(self, model: Decoder):
        self._model = model
        self._loaded: dict[int, dict[str, LowRank]] = {}  # number -> our module -> what it adds
        self._hooks: dict[str, RemovableHandle] = {}
        self._active: list[tuple[dict[str, LowRank], Tensor | None]] = []

    def __contains__(self, number: int) -> bool:
        return number in self._loaded

    def add(self, number: int, adapter: Adapter) -> None:
        """Take an adapter in under a number of its own, not NO_ADAPTER."""
        self._loaded[number] = _stack(adapter, self._model)
        for path in self._loaded[number]:
            if path not in self._hooks:
                self._hooks[path] = self._hook(path, self._model.get_submodule(path))

    def remove(self, number: int) -> None:
        del self._loaded[number]
        still = set().union(*self._loaded.values())
        for path in self._hooks.keys() - still:
            self._hooks.pop(path).remove()

    @contextmanager
    def rows(self, numbers: Sequence[int], counts: Sequence[int]) -> Iterator[None]:
        """While it lasts, a batch's rows go through these adapters: counts[i] rows through numbers[i]."""
        self._active = [
            (self._loaded[number], _rows_of(number, numbers, counts, self._model.device))
            for number in dict.fromkeys(numbers)
            if number != NO_ADAPTER
        ]
        try:
            yield
        finally:
            self._active = []

    def _hook(self, path: str, module: nn.Module) -> RemovableHandle:
        def add_low_rank(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            for added, rows in self._active:
                if path in added:
                    kernels.add_low_rank(output, inputs[0], added[path], rows)

        return module.register_forward_hook(add_low_rank)


def _rows_of(
    number: int, numbers: Sequence[int], counts: Sequence[int], device: torch.device
) -> Tensor | None:
    """None: all of them."""
    if all(other == number for other in numbers):
        return None
    mine = np.repeat(np.array(numbers) == number, counts)
    return torch.from_numpy(mine.nonzero()[0]).to(device)


def _stack(adapter: Adapter, model: Decoder) -> dict[str, LowRank]:
    """A module's pairs as one."""
    return {
        path: LowRank.of([(pair.A, pair.scale * pair.B.float(), place.start) for place, pair in parts]).to(
            model.device, model.dtype
        )
        for path, parts in by_module(adapter, model.config).items()
    }
