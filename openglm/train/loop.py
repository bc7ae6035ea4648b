"""The training loop: each step's samples through the model, back, and into the optimiser.

A step's loss is the sum over all of its learnt tokens divided by their weight, however the samples are split
and packed, so that packing and splitting change nothing but rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from openglm import kernels
from openglm.errors import TrainingFailure
from openglm.kernels import QuantWeight
from openglm.model.attention import CausalAttend
from openglm.model.decoder import Decoder
from openglm.train.lora import TrainedLora
from openglm.train.loss import cross_entropy
from openglm.train.plan import Plan
from openglm.train.recompute import recompute_layers
from openglm.train.samples import Batches, Sample, pack
from openglm.train.schedule import share


@dataclass(frozen=True, slots=True)
class Step:
    """What one step came to."""

    loss: float  # per learnt token, before the update
    learning_rate: float
    grad_norm: float  # before clipping
    tokens: int


class Trainer:
    def __init__(self, plan: Plan, model: Decoder, trained: TrainedLora, samples: Sequence[Sample]):
        table = plan.recipe.optimizer
        self.plan, self.model, self.trained = plan, model, trained
        self.batches = Batches(samples, plan.batch_size, plan.recipe.run.seed)
        self.parameters: list[nn.Parameter] = list(trained.parameters.values())
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=plan.learning_rate,
            betas=(table.beta1, table.beta2),
            eps=table.epsilon,
            weight_decay=table.weight_decay,
        )
        head = model.lm_head.weight
        self.head: Tensor = kernels.dequantize(head, model.dtype) if isinstance(head, QuantWeight) else head
        if plan.recompute:
            recompute_layers(model)

    def step(self, number: int) -> Step:
        """Step `number`, counted from 0."""
        plan, table = self.plan, self.plan.recipe.optimizer
        samples = self.batches[number]
        learnt = sum(sample.learnt for sample in samples)
        self.trained.training = True
        loss = torch.zeros((), device=self.model.device)
        for row in pack(samples, plan.micro_batch_tokens):
            part = self.loss(row) / learnt
            part.backward()
            loss += part.detach()
        norm = nn.utils.clip_grad_norm_(self.parameters, table.max_grad_norm)
        rate = plan.learning_rate * share(number, plan.steps, plan.warmup_steps, table.schedule)
        outcome = Step(float(loss), rate, float(norm), sum(map(len, samples)))
        if not math.isfinite(outcome.loss + outcome.grad_norm):
            raise TrainingFailure(
                f"step {number + 1} has loss {outcome.loss} and gradient norm {outcome.grad_norm}",
                hint="lower optimizer.learning_rate; the last checkpoint is from before",
            )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        return outcome

    def loss(self, row: Sample) -> Tensor:
        """The weighted sum of the losses of a packed row."""
        device = self.model.device
        prefixes = row.prefix_lengths if any(row.prefix_lengths) else None
        attend = CausalAttend(row.lengths, prefixes)
        tokens, targets, positions, weight = (
            torch.from_numpy(array).to(device)
            for array in (row.tokens, row.targets, row.positions, row.weight)
        )
        hidden = self.model(tokens, positions, attend)
        learnt = weight.nonzero()[:, 0]  # the others need no logits
        return cross_entropy(hidden[learnt], self.head, targets[learnt], weight[learnt])

    @torch.no_grad()
    def validate(self, samples: Sequence[Sample]) -> float:
        """The loss per learnt token of samples that are not trained on."""
        self.trained.training = False
        total = sum(float(self.loss(row)) for row in pack(samples, self.plan.micro_batch_tokens))
        return total / sum(sample.learnt for sample in samples)
