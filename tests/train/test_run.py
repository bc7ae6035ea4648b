"""Whole runs: what they leave behind, and that one which was interrupted ends like one which was not."""
# ruff: noqa: PLR0917, fixtures come as parameters

import hashlib
import json
import multiprocessing
import os
import shutil
import signal

import pytest
import torch

from openglm.engine import EngineOptions, EngineRequest, load_engine
from openglm.errors import CheckpointError, RecipeError
from openglm.messages import Message, SamplingParams
from openglm.model import ModelConfig
from openglm.model.lora import places, read_adapter
from openglm.train import checkpoint, plan, run
from openglm.train.recipe import read_recipe
from openglm.train.run_folder import RunFolder


def adapter_of(folder):
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


def test_a_run_leaves_an_adapter_its_metrics_and_what_made_them(recipe_file, train_it, tiny):
    rows = []
    result = train_it(recipe_file, rows=rows)
    out = recipe_file.parent / "out"
    assert result["status"] == "done"
    assert result["adapter"] == str(out / "adapter")
    assert result["steps"] == 12
    assert result["trained_tokens"] == rows[-1]["tokens"] == 4 * rows[2]["tokens"]
    assert rows == [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 13))
    keys = {
        "step",
        "total_steps",
        "epoch",
        "tokens",
        "loss",
        "learning_rate",
        "grad_norm",
        "tokens_per_second",
    }
    assert all(keys <= row.keys() for row in rows)
    assert [row["step"] for row in rows if "validation_loss" in row] == [3, 6, 9, 12]
    assert rows[-1]["loss"] < rows[0]["loss"] / 2
    assert rows[-1]["validation_loss"] < rows[2]["validation_loss"]
    assert [row["epoch"] for row in rows][2::3] == [1, 2, 3, 4]

    config = ModelConfig.load(tiny)
    assert read_adapter(out / "adapter", config).pairs.keys() == places(config).keys()
    recipe = read_recipe(out / "recipe.toml")
    assert recipe.lora.targets == (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["result"] == result
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert {"recipe.toml", "inputs.json", "metrics.jsonl", "adapter/adapter_config.json"} <= manifest[
        "files"
    ].keys()


def test_what_was_learnt_is_said_by_the_engine(recipe_file, train_it, tiny, chatml):
    result = train_it(recipe_file, "run.epochs=30", "lora.dropout=0.0")
    prompt = chatml.render([Message.of("user", "qqq")]).ids
    sampling = SamplingParams(temperature=0, max_tokens=12)
    with load_engine(tiny, options=EngineOptions(cache_tokens=256)) as engine:
        engine.load_adapter("yes", recipe_file.parent / "out" / "adapter")
        answers = {}
        for adapter in (None, "yes"):
            outputs = engine.generate(EngineRequest(prompt, sampling, adapter=adapter))
            answers[adapter] = [token for output in outputs for token in output.token_ids]
    text = chatml.tokenizer.decode(answers["yes"])
    assert result["loss"] < 1
    assert text.startswith("yes ")
    assert answers[None] != answers["yes"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_run_that_was_stopped_at_any_step_ends_like_one_that_was_not(
    dtype, recipe_file, train_it, metrics, tmp_path
):
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    change = f"model.dtype={dtype}"
    train_it(recipe_file, change, f"run.output={straight}")
    for steps in (1, 4, 2, 0, 3):
        assert train_it(recipe_file, change, f"run.output={broken}", steps=steps) is None
    train_it(recipe_file, change, f"run.output={broken}")
    assert metrics(broken) == metrics(straight)
    assert adapter_of(broken) == adapter_of(straight)


def test_steps_behind_the_last_checkpoint_are_done_again(recipe_file, train_it, metrics, tmp_path):
    """As after a crash: metrics are there that no checkpoint has."""
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    train_it(recipe_file, f"run.output={straight}")
    train_it(recipe_file, f"run.output={broken}", steps=8)
    shutil.rmtree(broken / "checkpoint" / "step-00000008")
    with open(broken / "metrics.jsonl", "a") as file:
        file.write('{"step": 9, "lo')
    train_it(recipe_file, f"run.output={broken}")
    assert metrics(broken) == metrics(straight)
    assert adapter_of(broken) == adapter_of(straight)


@pytest.mark.parametrize("damage", ["cut", "changed", "missing"])
def test_a_damaged_checkpoint_is_passed_over(damage, recipe_file, train_it, metrics, tmp_path, caplog):
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    train_it(recipe_file, f"run.output={straight}")
    train_it(recipe_file, f"run.output={broken}", steps=8)
    path = broken / "checkpoint" / "step-00000008" / "training.safetensors"
    data = path.read_bytes()
    caplog.set_level("INFO")
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(data[:-100] if damage == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    train_it(recipe_file, f"run.output={broken}")
    assert "step-00000008 is damaged" in caplog.text
    assert "going on behind step 5" in caplog.text
    assert metrics(broken) == metrics(straight)
    assert adapter_of(broken) == adapter_of(straight)


def run_until_killed(recipe_path, output, count):
    """In a process of its own: SIGKILL in place of the fsync number `count`."""
    left = [count]
    sync = os.fsync

    def fsync(handle):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(handle)

    os.fsync = fsync
    prepared = run.prepare(read_recipe(recipe_path, [f"run.output={output}"]))
    run.start(prepared)
    run.train(prepared, lambda row: None, lambda: False)


def test_a_run_that_is_killed_at_any_write_ends_like_one_that_is_not(
    recipe_file, train_it, metrics, tmp_path
):
    """Every write of ours ends with an fsync, so killing there meets all states of the folder: half a
    checkpoint, a whole one beside the old one, an adapter without its manifest."""
    straight = tmp_path / "straight"
    train_it(recipe_file, f"run.output={straight}")
    context = multiprocessing.get_context("fork")
    for first in (1, 3, 6, 9, 12, 14, 17, 20):
        broken = tmp_path / f"broken{first}"
        for count in (first, first + 7, first + 13):
            child = context.Process(target=run_until_killed, args=(recipe_file, broken, count))
            child.start()
            child.join(60)
            assert child.exitcode in (-signal.SIGKILL, 0)
        train_it(recipe_file, f"run.output={broken}")
        assert metrics(broken) == metrics(straight)
        assert adapter_of(broken) == adapter_of(straight)
        assert not list(broken.rglob("*.part")), "what killed writers left is cleared away"


def test_a_finished_run_says_so_and_does_nothing(recipe_file, train_it):
    result = train_it(recipe_file)
    out = recipe_file.parent / "out"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != ".lock"}
    rows = []
    assert train_it(recipe_file, rows=rows) == result
    assert rows == []
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != ".lock"} == before


@pytest.mark.parametrize("steps", [4, None])
def test_another_recipe_or_other_data_in_the_same_folder_is_an_error(steps, recipe_file, train_it, tmp_path):
    train_it(recipe_file, steps=steps)
    with pytest.raises(
        RecipeError, match=r"another run, which differs in optimizer\.learning_rate, run\.seed|seed"
    ):
        train_it(recipe_file, "run.seed=1", "optimizer.learning_rate=1e-3")
    path = tmp_path / "chats.jsonl"
    path.write_text(path.read_text().replace("qqqqq", "QQQQQ"))
    with pytest.raises(RecipeError, match="differs in the training data"):
        train_it(recipe_file)


def test_a_run_may_be_moved_and_named_by_its_own_recipe(recipe_file, train_it, metrics, tmp_path):
    straight, moved = tmp_path / "straight", tmp_path / "moved"
    train_it(recipe_file, f"run.output={straight}")
    train_it(recipe_file, steps=7)
    shutil.copytree(recipe_file.parent / "out", moved)
    train_it(moved / "recipe.toml", f"run.output={moved}")
    assert metrics(moved) == metrics(straight)


def test_a_run_goes_on_with_what_it_began_with_on_another_machine(
    recipe_file, train_it, metrics, monkeypatch
):
    """The machine decides how much is computed at once, and that decides the last bits of a sum."""
    train_it(recipe_file, steps=4)
    begun = read_recipe(recipe_file.parent / "out" / "recipe.toml")
    monkeypatch.setitem(plan.MICRO_BATCH_TOKENS, "cpu", 64)
    train_it(recipe_file)
    assert read_recipe(recipe_file.parent / "out" / "recipe.toml") == begun


def test_two_processes_do_not_share_a_folder(recipe_file, train_it, tmp_path):
    train_it(recipe_file, steps=1)
    given = read_recipe(recipe_file)
    first = run.prepare(given)
    run.start(first)
    with pytest.raises(RecipeError, match="another process"):
        run.start(run.prepare(given))


def test_a_folder_that_holds_something_else_is_left_alone(recipe_file, train_it, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("precious")
    with pytest.raises(RecipeError, match=r"holds no run: thesis\.tex"):
        train_it(recipe_file)
    assert sorted(path.name for path in out.iterdir()) == [".lock", "thesis.tex"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("model.name=/nothing/here", "model.name"),
        ("data.max_length=99999", "context has 1024 tokens"),
        ('lora.targets=["q_prj"]', "did you mean q_proj"),
        ("lora.targets=[]", "lora.targets is empty"),
        ("data.train=/nothing/here.jsonl", "cannot be read"),
    ],
)
def test_what_cannot_be_trained_is_said_before_anything_is_written(
    change, said, recipe_file, train_it, tmp_path
):
    with pytest.raises(RecipeError, match=said):
        train_it(recipe_file, change)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_is_for_its_own_adapter(recipe_file, train_it, tiny, tmp_path):
    train_it(recipe_file, steps=6)
    saved = checkpoint.newest(RunFolder(tmp_path / "out").checkpoints)
    assert saved is not None
    assert saved.name == "step-00000006"
    deeper = ModelConfig.from_dict(ModelConfig.load(tiny).to_dict() | {"num_hidden_layers": 3})
    with pytest.raises(CheckpointError, match="lacks tensor"):
        read_adapter(saved / "adapter", deeper)
    assert torch.get_num_threads() == 1
