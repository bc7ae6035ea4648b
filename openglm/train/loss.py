"""Cross entropy from hidden states, a few rows of logits at a time.

The logits of a step would be its largest tensor by far (2,048 tokens of a 49,152-word vocabulary: 400 MB in
float32). Here each chunk's gradient is computed with its loss, in its own memory, and only the gradient of
the hidden states is kept.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK = 256  # rows of logits that are held at once


def cross_entropy(
    hidden: Tensor, head: Tensor, targets: Tensor, weight: Tensor, chunk: int = CHUNK
) -> Tensor:
    """The weighted sum of -log p(target): hidden (N, H), head (V, H), targets (N,), weight (N,) -> ()."""
    return _ChunkedCrossEntropy.apply(hidden, head, targets, weight, chunk)


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, head, targets, weight, chunk):  # noqa: PLR0917, autograd passes them so
        for_hidden, for_head = ctx.needs_input_grad[:2]
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        hidden_grad = torch.empty_like(hidden) if for_hidden else None
        head_grad = torch.zeros_like(head) if for_head else None
        for start in range(0, len(hidden), chunk):
            rows = slice(start, start + chunk)
            logits = F.linear(hidden[rows], head).float()
            norm = logits.logsumexp(-1, keepdim=True)
            losses = norm[:, 0] - logits.gather(-1, targets[rows, None])[:, 0]
            total += (losses * weight[rows]).sum()
            if not (for_hidden or for_head):
                continue
            grad = logits.sub_(norm).exp_()  # p, then (p - 1 at the target) * weight
            grad.scatter_add_(-1, targets[rows, None], torch.full_like(norm, -1))
            grad = grad.mul_(weight[rows, None]).to(hidden.dtype)
            if hidden_grad is not None:
                hidden_grad[rows] = grad @ head
            if head_grad is not None:
                head_grad.addmm_(grad.T, hidden[rows])
        ctx.save_for_backward(hidden_grad, head_grad)
        return total

    @staticmethod
    def backward(ctx, outer):
        hidden_grad, head_grad = ctx.saved_tensors
        return (
            None if hidden_grad is None else hidden_grad * outer,
            None if head_grad is None else head_grad * outer,
            None,
            None,
            None,
        )
