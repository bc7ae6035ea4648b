"""The addition of LoRA adapters: native equals plain equals the formula, and rows keep to themselves."""
# ruff: noqa: PLR0917, cases come as parameters

import pytest
import torch

from openglm import kernels
from openglm.kernels import LowRank

DTYPES = [torch.float32, torch.bfloat16]
SHAPES = [  # inputs, outputs, (rank, first column, width) of each pair
    (64, 64, [(4, 0, 64)]),
    (100, 90, [(1, 3, 50)]),
    (576, 960, [(8, 0, 576), (8, 576, 192), (8, 768, 192)]),
    (48, 70, [(5, 0, 17), (3, 20, 50)]),
]


def build(inputs, parts):
    pairs = [(torch.randn(rank, inputs), torch.randn(width, rank), start) for rank, start, width in parts]
    return pairs, LowRank.of(pairs)


def formula(y, x, pairs, rows):
    expected = y.double()
    for A, B, start in pairs:
        expected[rows, start : start + len(B)] += x[rows].double() @ A.double().T @ B.double().T
    return expected


@pytest.mark.parametrize("compute", ["plain", "native"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("inputs", "outputs", "parts"), SHAPES)
def test_chosen_rows_get_what_the_formula_says(native, compute, dtype, inputs, outputs, parts):
    pairs, weight = build(inputs, parts)
    x, y = torch.randn(9, inputs).to(dtype), torch.randn(9, outputs).to(dtype)
    for rows in (None, torch.tensor([0, 3, 4, 8]), torch.tensor([], dtype=torch.int64)):
        got = y.clone()
        kernels.add_low_rank(got, x, weight, rows, compute=compute)
        expected = formula(y, x, pairs, slice(None) if rows is None else rows)
        tolerance = 1e-4 if dtype == torch.float32 else 0.02
        torch.testing.assert_close(got.double(), expected, rtol=tolerance, atol=tolerance * inputs**0.5)
        if rows is not None:
            others = [row for row in range(9) if row not in rows.tolist()]
            assert torch.equal(got[others], y[others])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_rows_bits_do_not_depend_on_the_rows_beside_it(native, dtype):
    _, weight = build(576, SHAPES[2][2])
    x, y = torch.randn(70, 576).to(dtype), torch.randn(70, 960).to(dtype)
    together = y.clone()
    kernels.add_low_rank(together, x, weight, compute="native")
    for row in range(70):
        alone = y[row : row + 1].clone()
        kernels.add_low_rank(alone, x[row : row + 1], weight, compute="native")
        assert torch.equal(alone[0], together[row])


def test_rows_outside_of_the_batch_are_an_error(native):
    _, weight = build(64, [(4, 0, 64)])
    with pytest.raises(IndexError, match="outside of the batch"):
        kernels.add_low_rank(
            torch.zeros(3, 64), torch.zeros(3, 64), weight, torch.tensor([3]), compute="native"
        )
    with pytest.raises(ValueError, match="x must be"):
        kernels.add_low_rank(torch.zeros(3, 64), torch.zeros(3, 32), weight)
