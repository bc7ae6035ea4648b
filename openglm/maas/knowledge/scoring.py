"""How well texts answer a question: BM25 over their words (Robertson and Zaragoza 2009), scaled to [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from openglm.maas.documents.terms import postings, query_terms

K1 = 1.2
B = 0.75
Numbers = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Posted:
    """Where the words of a question stand in one document."""

    lengths: Numbers  # terms of each chunk
    postings: Mapping[str, bytes]  # of the question's words alone


def bm25(words: Sequence[str], documents: Sequence[Posted]) -> list[Numbers]:
    """For each document the scores of its chunks, where 1 is only neared with every word many times."""
    scores = [np.zeros(len(document.lengths), np.float32) for document in documents]
    count = sum(len(document.lengths) for document in documents)
    if not count:
        return scores
    average = max(sum(int(document.lengths.sum()) for document in documents) / count, 1.0)
    most = 0.0
    for word in words:
        found = [np.frombuffer(document.postings.get(word, b""), "<u4") for document in documents]
        frequency = sum(len(entries) for entries in found)
        weight = math.log(1 + (count - frequency + 0.5) / (frequency + 0.5))
        most += weight * (K1 + 1)
        for document, entries, into in zip(documents, found, scores, strict=True):
            at, times = entries >> 8, (entries & 255).astype(np.float32)
            norm = K1 * (1 - B + B * document.lengths[at] / average)
            into[at] += weight * times * (K1 + 1) / (times + norm)
    return [score / most for score in scores] if most else scores


def lexical(question: str, texts: Sequence[str]) -> list[float]:
    """Each text's score for a question, by their words alone."""
    found, lengths = postings(texts)
    words = query_terms(question)
    (scores,) = bm25(words, [Posted(np.frombuffer(lengths, "<u4"), found)])
    return [float(score) for score in scores]
