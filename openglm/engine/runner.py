"""One step's rows through the model: a flat batch over the paged cache. The same code on CPU and CUDA.

Rows are tokens of any mix of sequences, prompts and answers alike; `PagedAttend` is what tells the decoder
which cache entries each row writes and sees. Metadata is built in numpy: a step has few rows, and per-row
tensor calls would cost more than the model does.
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from openglm import kernels
from openglm.engine.adapters import Adapters
from openglm.engine.cache import PagedCache
from openglm.engine.request import Sequence
from openglm.engine.scheduler import Chunk
from openglm.model.decoder import Decoder


class PagedAttend:
    """Writes this step's keys and values into the cache, then lets every row see its own sequence."""

    def __init__(
        self,
        *,
        cache: PagedCache,
        slots: Tensor,
        block_tables: Tensor,
        starts: Tensor,
        lens: Tensor,
        context: Tensor,
    ):
        self.cache = cache
        self.slots = slots  # (T,) int64: where row t's entry goes
        self.block_tables = block_tables  # (B, max_blocks) int32
        self.query_starts = starts  # (B,) int32: first row of each sequence
        self.query_lens = lens  # (B,) int32
        self.context_lens = context  # (B,) int32: keys of each sequence, these rows' own included

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        keys, values = self.cache.keys[layer], self.cache.values[layer]
        kernels.write_cache(k, v, keys, values, self.slots)
        return kernels.paged_attention(
            q, keys, values, self.block_tables, self.query_starts, self.query_lens, self.context_lens, scale
        )


@dataclass(frozen=True, slots=True)
class Batch:
    input_ids: Tensor  # (T,)
    positions: Tensor  # (T,)
    attend: PagedAttend
    first_rows: list[int]  # by sequence
    counts: list[int]  # rows of each sequence
    adapters: list[int]  # the number of each sequence's adapter


class Runner:
    def __init__(self, model: Decoder, cache: PagedCache, *, max_sequences: int, max_context: int):
        self.model = model
        self.cache = cache
        self.adapters = Adapters(model)
        self.device = model.device
        # Block tables only grow while a sequence runs, so each keeps a row here and appends to it.
        self._tables = np.zeros((max_sequences, -(-max_context // cache.block_size)), dtype=np.int32)
        self._free_rows = list(range(max_sequences))
        self._rows: dict[int, int] = {}  # sequence id -> row
        self._filled: dict[int, int] = {}  # sequence id -> blocks that its row already has

    def release(self, sequence: Sequence) -> None:
        """The sequence gave its blocks back."""
        row = self._rows.pop(sequence.id, None)
        if row is not None:
            self._free_rows.append(row)
            del self._filled[sequence.id]

    def batch(self, chunks: Many[Chunk]) -> Batch:
        ids: list[int] = []
        for chunk in chunks:
            tokens = chunk.sequence.token_ids
            if chunk.num_tokens == 1:
                ids.append(tokens[chunk.start])
            else:
                ids += tokens[chunk.start : chunk.start + chunk.num_tokens]
                ids += chunk.sequence.draft_ids[: chunk.num_drafts]
        return self._batch(
            [chunk.sequence for chunk in chunks],
            [chunk.start for chunk in chunks],
            [chunk.num_tokens for chunk in chunks],
            ids,
        )

    def rows(self, sequences: Many[Sequence], positions: list[int], ids: list[int]) -> Batch:
        """One row per sequence, at a position that its blocks reach."""
        return self._batch(sequences, positions, [1] * len(sequences), ids)

    def forward(self, batch: Batch) -> Tensor:
        """-> (T, hidden_size), after the final norm."""
        with self.adapters.rows(batch.adapters, batch.counts):
            return self.model(batch.input_ids, batch.positions, batch.attend)

    def _batch(
        self, sequences: Many[Sequence], starts: list[int], counts: list[int], ids: list[int]
    ) -> Batch:
        size = self.cache.block_size
        rows = np.array([self._table_row(sequence) for sequence in sequences])
        start, count = np.array(starts), np.array(counts, dtype=np.int32)
        context = (start + count).astype(np.int32)
        first = np.zeros_like(count)
        np.cumsum(count[:-1], out=first[1:])
        if len(ids) == len(counts):
            positions, row_of = start, rows
        else:
            positions = np.arange(len(ids)) + np.repeat(start - first, count)
            row_of = np.repeat(rows, count)
        slots = self._tables[row_of, positions // size].astype(np.int64) * size + positions % size
        tables = np.ascontiguousarray(self._tables[rows, : -(-int(context.max()) // size)])
        device = self._to_device
        attend = PagedAttend(
            cache=self.cache,
            slots=device(slots),
            block_tables=device(tables),
            starts=device(first),
            lens=device(count),
            context=device(context),
        )
        return Batch(
            device(np.array(ids)),
            device(positions),
            attend,
            first.tolist(),
            counts,
            [sequence.adapter for sequence in sequences],
        )

    def _table_row(self, sequence: Sequence) -> int:
        row = self._rows.get(sequence.id)
        if row is None:
            row = self._rows[sequence.id] = self._free_rows.pop()
            self._filled[sequence.id] = 0
        filled, blocks = self._filled[sequence.id], sequence.blocks
        if filled < len(blocks):
            self._tables[row, filled : len(blocks)] = blocks[filled:]
            self._filled[sequence.id] = len(blocks)
        return row

    def _to_device(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(array)
        return tensor if self.device.type == "cpu" else tensor.to(self.device, non_blocking=True)
