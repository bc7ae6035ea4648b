"""The chunked loss against the plain one, and the learning rate's course."""

import pytest
import torch
from torch.nn import functional as F

from openglm.train.loss import cross_entropy
from openglm.train.schedule import share


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
@pytest.mark.parametrize("head_learns", [True, False])
def test_chunks_change_neither_loss_nor_gradients(chunk, head_learns):
    torch.manual_seed(0)
    hidden = torch.randn(7, 8, dtype=torch.float64, requires_grad=True)
    head = torch.randn(11, 8, dtype=torch.float64, requires_grad=head_learns)
    targets, weight = torch.randint(11, (7,)), torch.tensor([1, 0.5, 1, 0, 2, 1, 1], dtype=torch.float64)
    plain = (F.cross_entropy(hidden @ head.T, targets, reduction="none") * weight).sum()
    wanted = torch.autograd.grad(3 * plain, [hidden, head] if head_learns else [hidden])
    loss = cross_entropy(hidden, head, targets, weight, chunk)
    got = torch.autograd.grad(3 * loss, [hidden, head] if head_learns else [hidden])
    torch.testing.assert_close(loss.double(), plain, rtol=1e-6, atol=1e-6)
    for mine, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


def test_without_gradients_it_is_the_same_number():
    hidden, head, targets = torch.randn(5, 8), torch.randn(11, 8, requires_grad=True), torch.arange(5)
    with torch.no_grad():
        assert cross_entropy(hidden, head, targets, torch.ones(5), 2) == cross_entropy(
            hidden, head.detach(), targets, torch.ones(5), 2
        )


def test_no_learnt_token_is_no_loss():
    hidden = torch.randn(0, 8, requires_grad=True)
    cross_entropy(hidden, torch.randn(11, 8), torch.empty(0, dtype=torch.int64), torch.empty(0)).backward()
    assert hidden.grad.shape == (0, 8)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_the_rate_rises_to_its_peak_and_falls_by_the_schedule(schedule):
    course = [share(step, 20, 4, schedule) for step in range(20)]
    assert course[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert all(0 < value <= 1 for value in course)
    middle = {"linear": 0.5, "cosine": 0.5, "constant": 1.0}[schedule]
    assert course[12] == pytest.approx(middle)
    assert course[4:] == sorted(course[4:], reverse=True)


def test_without_warm_up_the_first_step_has_the_peak():
    assert share(0, 5, 0, "linear") == 1.0
    assert share(0, 1, 0, "cosine") == 1.0
