"""`glm train` as a process: its streams, its exit codes, and what a signal does."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
CHATS = ROOT / "recipes" / "pirate.jsonl"


@pytest.fixture
def recipe(tmp_path, smollm2) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(
        f'[model]\nname = "smollm2"\n[data]\ntrain = "{CHATS}"\n[lora]\nrank = 2\n'
        '[optimizer]\nlearning_rate = 2e-3\n[run]\noutput = "out"\nepochs = 2\nbatch_size = 2\n'
    )
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["--set", "run.epoch=1"], "did you mean epochs?"),
        (["--set", "model.name=smolm2"], "did you mean smollm2?"),
        (["--set", "data.train=/nothing/here"], "cannot be read"),
    ],
)
def test_a_wrong_recipe_is_exit_code_2_and_a_message(glm, recipe, changes, said):
    done = glm("train", str(recipe), *changes)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_bad_line_of_the_data_is_named(glm, recipe, tmp_path):
    data = tmp_path / "bad.jsonl"
    data.write_text(CHATS.read_text() + '{"messages": []}\n')
    done = glm("train", str(recipe), "--set", f"data.train={data}")
    assert done.returncode == 2
    assert "bad.jsonl, line 21: messages must be" in done.stderr


def test_the_plan_says_everything_and_does_nothing(glm, recipe, tmp_path):
    done = glm("train", str(recipe), "--plan")
    assert done.returncode == 0, done.stderr
    for said in ("parameters", "134,515,008", "optimizer.learning_rate", "0.002", "memory"):
        assert said in done.stdout
    plan = json.loads(glm("train", str(recipe), "--plan", "--json").stdout)
    assert plan["steps"] == 20
    assert plan["recipe"]["run"]["batch_size"] == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_default_model_learns_is_stopped_goes_on_and_answers_otherwise(glm, recipe, tmp_path):
    command = [sys.executable, "-m", "openglm.cli", "train", str(recipe), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        rows = [json.loads(program.stdout.readline()) for _ in range(3)]
        program.send_signal(signal.SIGTERM)
        rest, errors = program.communicate(timeout=200)
        assert program.returncode == 143, errors
    rows += [json.loads(line) for line in rest.splitlines()]
    assert len(rows) < 20
    done = glm("train", str(recipe), "--json")
    assert done.returncode == 0, done.stderr
    assert f"going on behind step {rows[-1]['step']} of 20" in done.stderr
    *later, result = map(json.loads, done.stdout.splitlines())
    rows += later
    assert [row["step"] for row in rows] == list(range(1, 21))
    first, last = (sum(row["loss"] for row in part) for part in (rows[:5], rows[-5:]))
    assert last < 0.6 * first
    assert result["status"] == "done"
    assert result["trained_tokens"] == rows[-1]["tokens"]
    again = glm("train", str(recipe), "--json")
    assert again.returncode == 0
    assert json.loads(again.stdout) == result
    assert "finished already" in again.stderr

    ask = ("generate", "smollm2", "--prompt", "What is the capital of Italy?", "--max-tokens", "16")
    plain, pirate = (glm(*ask, "--temperature", "0", *lora) for lora in ((), ("--lora", result["adapter"])))
    assert "Aye" in pirate.stdout, pirate.stderr
    assert "Aye" not in plain.stdout
    merged = tmp_path / "merged"
    assert glm("convert", "smollm2", str(merged), "--lora", result["adapter"]).returncode == 0
    assert "Aye" in glm("generate", str(merged), *ask[2:], "--temperature", "0").stdout


@pytest.mark.slow
def test_a_child_that_lost_its_parent_saves_and_stops(recipe):
    command = [sys.executable, "-m", "openglm.cli", "train", str(recipe), "--json", "--until-eof"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdout.readline()
        program.stdin.close()
        assert program.wait(timeout=200) == 143
    assert list((recipe.parent / "out" / "checkpoint").glob("step-*"))
