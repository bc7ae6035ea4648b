"""The loop against the plainest one there is, and what must not change its numbers."""

from dataclasses import replace

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call
from torch.nn import functional as F

from openglm.errors import TrainingFailure
from openglm.model import CausalAttend, quantize_model
from openglm.model.lora import new_adapter
from openglm.train.chats import Chats
from openglm.train.loop import Trainer
from openglm.train.lora import TrainedLora
from openglm.train.plan import bytes_per_token, make_plan
from openglm.train.recipe import Recipe, changed, read_recipe
from openglm.train.samples import causal, join

LEAST = '[model]\nname = "x"\ndtype = "float32"\n[data]\ntrain = "x"\n[run]\noutput = "x"\n'


@pytest.fixture
def given(tmp_path) -> Recipe:
    path = tmp_path / "recipe.toml"
    path.write_text(
        LEAST + "epochs = 2\nbatch_size = 3\n[optimizer]\nlearning_rate = 1e-2\nweight_decay = 0.1\n"
    )
    return read_recipe(path)


@pytest.fixture
def chats() -> Chats:
    generator = torch.Generator().manual_seed(5)
    samples = []
    for length in (3, 20, 9, 14, 6, 31, 17):
        ids = torch.randint(256, (length,), generator=generator).tolist()
        samples.append(causal(ids, [n > length // 3 for n in range(length)]))
    return Chats(samples, len(samples), 0, 0, "")


@pytest.fixture
def make_trainer(build_model, chats):
    def make(recipe: Recipe, name: str = "llama", bits: int | None = None) -> Trainer:
        model = build_model(name)
        if bits:
            model = quantize_model(model, bits)
        model = model.to(getattr(torch, recipe.model.dtype))
        plan = make_plan(recipe, model.config, chats)
        adapter = new_adapter(
            model.config,
            rank=plan.recipe.lora.rank,
            alpha=plan.recipe.lora.alpha,
            targets=recipe.lora.targets,
            dropout=recipe.lora.dropout,
            generator=torch.Generator().manual_seed(1),
        )
        torch.manual_seed(0)
        return Trainer(plan, model, TrainedLora(model, adapter, "x"), chats.samples)

    return make


def train_plainly(trainer: Trainer, model, num_steps: int):
    """No packing, no chunks, no hooks: one chat at a time through the model with W + scale * B A in its
    place, all logits at once, and the gradients of autograd alone."""
    pairs = {
        name: (pair.A.detach().clone().requires_grad_(), pair.B.detach().clone().requires_grad_(), pair.scale)
        for name, pair in trainer.trained.adapter.pairs.items()
    }
    weights = dict(model.state_dict())
    heights = {
        "q_proj": (0, 32),
        "k_proj": (32, 48),
        "v_proj": (48, 64),
        "gate_proj": (0, 64),
        "up_proj": (64, 128),
    }
    fused = {
        "q_proj": "qkv_proj",
        "k_proj": "qkv_proj",
        "v_proj": "qkv_proj",
        "gate_proj": "gate_up_proj",
        "up_proj": "gate_up_proj",
    }
    table = trainer.plan.recipe.optimizer
    optimizer = torch.optim.AdamW(
        [t for A, B, _ in pairs.values() for t in (A, B)], lr=1, weight_decay=table.weight_decay
    )
    losses = []
    for step in range(num_steps):
        adapted = dict(weights)
        for name, (A, B, scale) in pairs.items():
            module, _, last = name.removeprefix("model.").rpartition(".")
            path = f"{module}.{fused.get(last, last)}.weight"
            start, stop = heights.get(last, (0, len(B)))
            before, rows, after = (adapted[path][:start], adapted[path][start:stop], adapted[path][stop:])
            adapted[path] = torch.cat((before, rows + scale * B @ A, after))
        batch = trainer.batches[step]
        total = torch.zeros(())
        for sample in batch:
            tokens, targets = torch.from_numpy(sample.tokens), torch.from_numpy(sample.targets)
            positions = torch.arange(len(tokens))
            hidden = functional_call(model, adapted, (tokens, positions, CausalAttend()))
            each = F.cross_entropy(hidden @ weights["lm_head.weight"].T, targets, reduction="none")
            total = total + (each * torch.from_numpy(sample.weight)).sum()
        loss = total / sum(float(sample.weight.sum()) for sample in batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([t for A, B, _ in pairs.values() for t in (A, B)], table.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 - step / trainer.plan.steps)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, pairs


def test_training_equals_a_plain_loop_over_full_matrices(given, make_trainer, build_model):
    recipe = changed(given, "optimizer", warmup_ratio=0.0)
    trainer = make_trainer(recipe)
    losses, pairs = train_plainly(trainer, build_model(), 6)
    assert trainer.plan.steps == 6
    assert [trainer.step(n).loss for n in range(6)] == pytest.approx(losses, rel=1e-5)
    assert losses[3] < losses[0]
    for name, pair in trainer.trained.adapter.pairs.items():
        torch.testing.assert_close(pair.A, pairs[name][0], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(pair.B, pairs[name][1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["llama", "qwen2", "glm4", "glm4_moe"])
def test_a_packed_row_has_the_loss_and_the_gradients_of_its_documents(name, given, make_trainer, chats):
    trainer = make_trainer(given, name)
    trainer.step(0)  # or B is zero, and with it every gradient of A
    together = trainer.loss(join(chats.samples))
    packed = torch.autograd.grad(together, trainer.parameters, allow_unused=True)
    alone = [trainer.loss(sample) for sample in chats.samples]
    unpacked = torch.autograd.grad(sum(alone), trainer.parameters, allow_unused=True)
    torch.testing.assert_close(together, sum(alone), rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(packed, unpacked, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["llama", "glm4_moe"])
@pytest.mark.parametrize(
    ("table", "values"),
    [
        ("run", {"micro_batch_tokens": 20}),
        ("run", {"micro_batch_tokens": 1}),
        ("run", {"recompute": True}),
    ],
)
def test_splitting_and_recomputing_change_only_rounding(name, table, values, given, make_trainer):
    plain, other = make_trainer(given, name), make_trainer(changed(given, table, **values), name)
    for step in range(3):
        mine, theirs = plain.step(step), other.step(step)
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-4)
        assert mine.grad_norm == pytest.approx(theirs.grad_norm, rel=1e-3)
        assert mine.tokens == theirs.tokens


def test_recomputing_drops_what_it_dropped_before(given, make_trainer):
    recipe = changed(given, "lora", dropout=0.3)
    norms = []
    for recompute in (False, True):
        trainer = make_trainer(changed(recipe, "run", recompute=recompute))
        norms.append([trainer.step(n).grad_norm for n in range(2)])
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_bfloat16_and_packed_weights_learn_like_float32(given, make_trainer):
    exact = make_trainer(given)
    rounded = make_trainer(changed(given, "model", dtype="bfloat16"))
    packed = make_trainer(given, bits=8)
    wanted = [exact.step(n).loss for n in range(6)]
    assert wanted[-1] < wanted[0]
    assert [rounded.step(n).loss for n in range(6)] == pytest.approx(wanted, rel=0.05)
    assert [packed.step(n).loss for n in range(6)] == pytest.approx(wanted, rel=0.05)
    assert all(p.dtype == torch.float32 for p in rounded.parameters)


def test_only_the_chosen_projections_are_trained_and_the_model_stays(given, make_trainer, build_model):
    trainer = make_trainer(changed(given, "lora", targets=("v_proj", "down_proj")))
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.step(0)
    assert {name.split(".")[-2] for name in trainer.trained.parameters} == {"v_proj", "down_proj"}
    assert trainer.plan.trained_parameters == sum(p.numel() for p in trainer.parameters)
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert not any(p.requires_grad for p in trainer.model.parameters())


def test_validation_changes_nothing_and_drops_nothing(given, make_trainer, chats):
    trainer = make_trainer(changed(given, "lora", dropout=0.5))
    trainer.step(0)
    first, second = trainer.validate(chats.samples), trainer.validate(chats.samples)
    assert first == second
    alone = sum(float(trainer.loss(s).detach()) for s in chats.samples) / sum(s.learnt for s in chats.samples)
    assert first == pytest.approx(alone, rel=1e-5)
    assert all(p.grad is None for p in trainer.parameters)


def test_numbers_that_break_end_the_run_before_they_reach_the_adapter(given, make_trainer):
    trainer = make_trainer(given)
    with torch.no_grad():
        trainer.model.embed_tokens.weight.fill_(float("nan"))
    with pytest.raises(TrainingFailure, match=r"step 1 has loss nan"):
        trainer.step(0)
    assert all(p.isfinite().all() for p in trainer.parameters)


@pytest.mark.parametrize("name", ["llama", "glm4_moe"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_the_plans_memory_is_what_autograd_keeps(name, dtype, dropout, build_model):
    model = build_model(name).to(dtype)
    generator = torch.Generator()
    adapter = new_adapter(model.config, rank=1, alpha=1, targets=None, dropout=dropout, generator=generator)
    trained = TrainedLora(model, adapter, "x")
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *trained.parameters.values())}
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        tokens = torch.arange(64)
        out = model(tokens, tokens, CausalAttend())
    assert out.requires_grad
    planned = bytes_per_token(model.config, dtype.itemsize, dropout > 0, recompute=False)
    assert planned == pytest.approx(sum(kept.values()) / 64, rel=0.35)


def test_a_plan_leaves_nothing_open(given, build_model, chats):
    plan = make_plan(replace(given, run=replace(given.run, batch_size=None)), build_model().config, chats)
    assert plan.batch_size == 1
    assert plan.steps == 2 * len(chats.samples)
    assert plan.tokens == 2 * sum(map(len, chats.samples))
    assert plan.threads == 1
    recipe = plan.recipe
    tables = (recipe.model, recipe.data, recipe.lora, recipe.optimizer, recipe.run)
    open_ = [f for t in tables for f in t.__dataclass_fields__ if getattr(t, f) is None]
    assert open_ == ["validation"]
    assert str(plan.steps) in plan.text()
