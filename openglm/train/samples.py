"""The one form that training data takes, and how samples are packed and ordered. No torch.

Every objective makes samples: causal text, chats, and later filled blanks and rollouts. Packed samples are a
sample again: documents end to end, none of which sees another. Order and packing depend on seed, epoch and
index alone, so a run that goes on somewhere, or on another number of machines, reads the same stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """T tokens and what is to be predicted at each."""

    tokens: NDArray[np.int64]  # (T,)
    targets: NDArray[np.int64]  # (T,) what should follow
    weight: NDArray[np.float32]  # (T,) of each target in the loss; 0: it is only read
    positions: NDArray[np.int64]  # (T,) within the document
    documents: NDArray[np.int64]  # (T,) which document a token belongs to: 0, 1 and so on
    prefix_lengths: tuple[int, ...]  # of each document, the first tokens that all its tokens see; 0: causal

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def lengths(self) -> list[int]:
        """Of the documents."""
        return np.bincount(self.documents).tolist()

    @property
    def learnt(self) -> float:
        return float(self.weight.sum(dtype=np.float64))


def causal(ids: Sequence[int], mask: Sequence[bool], max_length: int | None = None) -> Sample:
    """One document's first `max_length` tokens, of which those under the mask are learnt. What lies behind
    the last of them is left out, since nothing would come of it."""
    weight = np.array(mask[1:max_length], dtype=np.float32)
    length = int(weight.nonzero()[0].max(initial=-1)) + 1
    known = np.array(ids[: length + 1], dtype=np.int64)
    return Sample(
        known[:-1],
        known[1:],
        weight[:length],
        np.arange(length),
        np.zeros(length, dtype=np.int64),
        (0,),
    )


def join(samples: Sequence[Sample]) -> Sample:
    """Samples end to end; their documents keep their positions and get numbers of their own."""
    counts = [len(sample.prefix_lengths) for sample in samples]
    firsts = np.cumsum([0, *counts[:-1]])
    return Sample(
        np.concatenate([sample.tokens for sample in samples]),
        np.concatenate([sample.targets for sample in samples]),
        np.concatenate([sample.weight for sample in samples]),
        np.concatenate([sample.positions for sample in samples]),
        np.concatenate([sample.documents + first for sample, first in zip(samples, firsts, strict=True)]),
        tuple(length for sample in samples for length in sample.prefix_lengths),
    )


def pack(samples: Sequence[Sample], room: int) -> list[Sample]:
    """All samples in few rows of at most `room` tokens, by first fit, longest first.

    A sample that is longer than the room gets a row of its own.
    """
    rows: list[list[Sample]] = []
    lengths: list[int] = []
    for sample in sorted(samples, key=len, reverse=True):
        fits = next((row for row, length in enumerate(lengths) if length + len(sample) <= room), None)
        if fits is None:
            rows.append([])
            lengths.append(0)
            fits = len(rows) - 1
        rows[fits].append(sample)
        lengths[fits] += len(sample)
    return [join(row) for row in rows]


def order(seed: int, epoch: int, count: int) -> list[int]:
    """In which order an epoch takes `count` samples: sorted by a hash, the same on every machine."""

    def key(index: int) -> bytes:
        return blake2b(f"{seed} {epoch} {index}".encode(), digest_size=16).digest()

    return sorted(range(count), key=key)


class Batches:
    """The samples of each step. Steps count on through the epochs; an epoch's last batch may be smaller."""

    def __init__(self, samples: Sequence[Sample], batch_size: int, seed: int):
        self._samples = samples
        self._batch_size = batch_size
        self._seed = seed
        self.steps_per_epoch = -(-len(samples) // batch_size)
        self._epoch, self._order = -1, [0]

    def __getitem__(self, step: int) -> list[Sample]:
        epoch, batch = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, order(self._seed, epoch, len(self._samples))
        chosen = self._order[batch * self._batch_size : (batch + 1) * self._batch_size]
        return [self._samples[index] for index in chosen]
