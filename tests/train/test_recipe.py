"""What a recipe may say, and what it hears when it says something else."""

from dataclasses import asdict

import pytest

from openglm.errors import RecipeError
from openglm.train.recipe import differences, read_recipe, write_recipe

LEAST = '[model]\nname = "smollm2"\n[data]\ntrain = "chats.jsonl"\n[run]\noutput = "out"\n'


@pytest.fixture
def read(tmp_path):
    def read(text=LEAST, *changes):
        path = tmp_path / "recipe.toml"
        path.write_text(text)
        return read_recipe(path, changes)

    return read


def test_three_lines_are_a_recipe_and_the_rest_is_left_open(read):
    recipe = read()
    assert (recipe.lora.rank, recipe.lora.alpha, recipe.lora.targets) == (8, 16.0, None)
    assert (recipe.run.epochs, recipe.run.batch_size, recipe.optimizer.learning_rate) == (3, None, None)


def test_paths_are_relative_to_the_file_and_changes_to_the_working_directory(read, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    recipe = read(LEAST, "run.output=there", "data.validation=/somewhere/v.jsonl")
    assert recipe.data.train == str(tmp_path / "chats.jsonl")
    assert recipe.run.output == str(elsewhere / "there")
    assert recipe.data.validation == "/somewhere/v.jsonl"


def test_changes_are_read_as_toml_and_words_need_no_quotes(read):
    changes = ("run.epochs=5", "optimizer.schedule=cosine", 'lora.targets=["q_proj"]', "lora.alpha = 4")
    recipe = read(LEAST, *changes)
    assert recipe.run.epochs == 5
    assert recipe.optimizer.schedule == "cosine"
    assert recipe.lora.targets == ("q_proj",)
    assert recipe.lora.alpha == 4.0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("run.epoch=5",), "did you mean epochs?"),
        (("optimiser.beta1=0.5",), "did you mean optimizer?"),
        (("lora.banana=1",), "known: rank, alpha"),
        (("run.epochs=0",), "run.epochs: expected `int` >= 1"),
        (("run.epochs=1.5",), "run.epochs: expected `int`, got `float`"),
        (("optimizer.schedule=wavy",), "optimizer.schedule: invalid enum value 'wavy'"),
        (("optimizer.learning_rate=nan",), "must be a finite number"),
        (("lora.targets=[1]",), r"lora.targets\[0\]: expected `str`"),
        (("lora.dropout=1.0",), "lora.dropout: expected `float` < 1.0"),
        (("epochs=3",), "table.key=value"),
        (("run.epochs",), "table.key=value"),
    ],
)
def test_a_slip_is_named_with_its_place(read, changes, said):
    with pytest.raises(RecipeError, match=said.replace("?", r"\?")):
        read(LEAST, *changes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[model]\nname = ", "is not TOML"),
        ("model = 3\n", "must be a table"),
        ('[model]\nname = "x"\n[run]\noutput = "o"\n', r"\[data\] must say train"),
        ("", r"\[model\] must say name"),
    ],
)
def test_what_is_no_recipe_is_refused(read, text, said):
    with pytest.raises(RecipeError, match=said):
        read(text)


def test_a_missing_file_is_said_so(tmp_path):
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path / "none.toml")


def test_what_is_written_reads_back_the_same(read, tmp_path):
    text = LEAST.replace("smollm2", 'a \\"quoted\\" naïve\\tname')
    recipe = read(text, 'lora.targets=["a", "b"]', "optimizer.learning_rate=1e-5", "run.recompute=true")
    path = tmp_path / "again.toml"
    path.write_text(write_recipe(recipe), encoding="utf-8")
    assert read_recipe(path) == recipe
    assert "validation" not in path.read_text()


def test_differences_are_named_by_table_and_key(read):
    assert differences(read(), read()) == []
    assert differences(read(), read(LEAST, "run.seed=3", "lora.rank=2")) == ["run.seed", "lora.rank"]
    assert len(asdict(read())) == 5
