"""Training on CUDA: in float32 the losses of the CPU, and the same bit-exact way to go on."""

import pytest
import torch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_float32_losses_are_those_of_the_cpu(recipe_file, train_it, tmp_path):
    losses = {}
    for device in ("cpu", "cuda"):
        rows = []
        changes = (f"model.device={device}", f"run.output={tmp_path / device}", "lora.dropout=0.0")
        train_it(recipe_file, *changes, rows=rows)
        losses[device] = [row["loss"] for row in rows]
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_stopped_run_ends_like_one_that_was_not(dtype, recipe_file, train_it, metrics, tmp_path):
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    changes = ("model.device=cuda", f"model.dtype={dtype}")
    train_it(recipe_file, *changes, f"run.output={straight}")
    for steps in (4, 3, None):
        train_it(recipe_file, *changes, f"run.output={broken}", steps=steps)
    assert metrics(broken) == metrics(straight)
