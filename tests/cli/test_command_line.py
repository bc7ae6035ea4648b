"""What the command line says about itself, and what it says to a slip."""

from __future__ import annotations

import json

import pytest

from openglm import __version__
from openglm.cli import VERBS


def test_glm_alone_prints_its_verbs(glm):
    done = glm()
    assert done.returncode == 0
    for verb in VERBS:
        assert f" {verb} " in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_and_its_flags(glm, verb):
    done = glm(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert f"glm {verb}" in done.stdout
    assert done.stderr == ""


def test_the_version_is_the_package_version(glm):
    assert glm("--version").stdout.strip() == __version__


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["serv", "smollm2"], "serve"),
        (["generate", "smollm2", "--promt", "x"], "--prompt"),
        (["serve", "smollm2", "--quantise", "int8"], "--quantize"),
        (["generate", "--prompt", "x", "--quantize", "int9"], "int8"),
    ],
)
def test_a_slip_names_the_nearest_right_word(glm, arguments, nearest):
    done = glm(*arguments)
    assert done.returncode == 2
    assert f"Did you mean {nearest}" in done.stderr.replace('"', "")
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate"],
        ["serve"],
        ["serve", "smollm2", "--port", "70000"],
        ["quantize", "a", "b", "--bits", "5"],
        ["pull", "a", "b"],
    ],
)
def test_what_cannot_be_understood_is_exit_code_2(glm, arguments):
    done = glm(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["generate", "smolm2", "--prompt", "x"], "did you mean smollm2?"),
        (["serve", "/nothing/here"], "no such folder"),
        (["serve", "smollm2", "--lora", "just-a-folder"], "NAME=FOLDER"),
        (["generate", "--prompt", "x", "--lora", "/nothing/here"], "adapter_config.json"),
        (["pull", "hf:justname"], "hf:owner/name"),
        (["generate", "--prompt", "x", "--device", "tpu"], "cpu, cuda"),
        (["generate", "--prompt", "x", "--max-sequences", "0"], "max_sequences must be at least 1"),
    ],
)
def test_a_failure_is_a_message_and_exit_code_1(glm, smollm2, arguments, said):
    done = glm(*arguments)
    assert done.returncode == 1
    assert "error: " in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_doctor_tells_programs_the_same_as_people(glm, smollm2):
    done = glm("doctor", "--json")
    assert done.returncode == 0, done.stdout
    names = [check["name"] for check in json.loads(done.stdout)["checks"]]
    for name in (
        "python",
        "processor",
        "memory",
        "torch",
        "device",
        "kernels",
        "cache",
        "disk",
        "models",
        "chromium",
    ):
        assert name in names
    people = glm("doctor").stdout
    assert all(name in people for name in names)


def test_doctor_says_what_to_fix(glm, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = glm("doctor", OPENGLM_CACHE=str(blocked))
    assert done.returncode == 1
    assert "OPENGLM_CACHE" in done.stdout


def test_models_lists_what_is_known_and_what_is_here(glm, smollm2):
    listed = json.loads(glm("models", "--json").stdout)
    here = {entry["alias"]: entry["here"] for entry in listed["known"]}
    assert here["smollm2"]
    assert "glm-4.7" in here
    assert any(str(smollm2.parent) == row["path"] for row in listed["here"])
    assert "Apache-2.0" in glm("models").stdout


def test_an_empty_cache_has_no_models(glm, tmp_path):
    assert json.loads(glm("models", "--json", OPENGLM_CACHE=str(tmp_path)).stdout)["here"] == []
