"""Chats as samples: what is learnt, what is only read, and what a bad line is told."""

import json

import pytest

from openglm.dialects.fields import Fields
from openglm.dialects.openai.turns import read_messages, read_tools
from openglm.errors import RecipeError
from openglm.train.chats import read_chats
from openglm.train.samples import Sample

FORMATS = ["chatml", "glm-4.5", "glm-4.7", "glm-4-0414", "glm-z1"]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
CALL = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
ROUNDS = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello!", "reasoning_content": "A greeting."},
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": "", "reasoning_content": "I must look.", "tool_calls": [CALL]},
    {"role": "tool", "content": "sun", "tool_call_id": "1"},
    {"role": "assistant", "content": "It is sunny.", "reasoning_content": "The tool says sun."},
]


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def learnt(form, sample: Sample) -> str:
    return form.tokenizer.decode(sample.targets[sample.weight > 0].tolist())


@pytest.fixture
def samples(write_lines):
    def read(form, *rows, max_length=1000):
        return read_chats(write_lines(list(rows)), form, max_length)

    return read


def test_only_what_the_model_writes_is_learnt_with_the_token_that_ends_it(chatml, samples):
    row = {"messages": [user("Hi"), assistant("Hello!"), user("Bye"), assistant("Ciao")]}
    (sample,) = samples(chatml, row).samples
    assert learnt(chatml, sample) == "Hello!<|im_end|>Ciao<|im_end|>"
    assert chatml.tokenizer.decode(sample.tokens.tolist()) == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\nCiao"
    )


def test_a_turn_of_weight_0_is_read_and_not_learnt(chatml, samples):
    turns = [user("Hi"), assistant("Hello!", weight=0), user("Bye"), assistant("Ciao", weight=1)]
    plain = [{key: value for key, value in turn.items() if key != "weight"} for turn in turns]
    (sample,) = samples(chatml, {"messages": turns}).samples
    (whole,) = samples(chatml, {"messages": plain}).samples
    assert learnt(chatml, sample) == "Ciao<|im_end|>"
    assert sample.tokens.tolist() == whole.tokens.tolist()


@pytest.mark.parametrize("name", FORMATS)
def test_training_sees_what_serving_sees_token_by_token(name, forms, samples):
    """Each learnt turn stands behind the very prompt that serving would have sent for it, and every turn is
    learnt once; whatever the format does to the reasoning of earlier turns."""
    form = forms(name)
    row = {"messages": ROUNDS, "tools": TOOLS}
    messages, tools = read_messages(Fields(row)), read_tools(Fields(row))
    made = samples(form, row).samples
    served = []
    for n, message in enumerate(messages):
        if message.role == "assistant":
            prompt = form.render(messages[:n], tools=tools)
            whole = form.render(messages[: n + 1], tools=tools, generate=False)
            end = max(i for i, written in enumerate(whole.mask) if written) + 1
            served.append((prompt.ids, whole.ids[len(prompt.ids) : end]))
    trained = []
    for sample in made:
        ids = [*sample.tokens.tolist(), int(sample.targets[-1])]
        mask = [False, *(sample.weight > 0)]
        start = 0
        while True in mask[start:]:
            first = mask.index(True, start)
            start = mask.index(False, first) if False in mask[first:] else len(mask)
            trained.append((ids[:first], ids[first:start]))
    assert sorted(trained) == sorted(served)


def test_tools_are_declared_as_in_serving(forms, samples):
    form = forms("glm-4.5")
    row = {"messages": [user("Hi"), assistant("", tool_calls=[CALL])], "tools": TOOLS}
    (sample,) = samples(form, row).samples
    assert '"name": "weather"' in form.tokenizer.decode(sample.tokens.tolist())
    assert "<tool_call>weather" in learnt(form, sample)
    assert learnt(form, sample).endswith("<|observation|>")


def test_long_chats_are_cut_counted_and_dropped_if_nothing_is_left(chatml, samples):
    rows = [
        {"messages": [user("a"), assistant("b" * 50)]},
        {"messages": [user("a" * 99), assistant("b")]},
        {"messages": [user("a"), assistant("b")]},
    ]
    made = samples(chatml, *rows, max_length=40)
    assert (made.num_chats, made.num_cut, made.num_lost) == (3, 2, 1)
    assert [len(sample) for sample in made.samples] == [39, 21]
    with pytest.raises(RecipeError, match="max_length leaves no assistant turn"):
        samples(chatml, rows[1], max_length=40)


def test_empty_lines_are_passed_over_and_the_file_is_known_by_its_hash(chatml, samples):
    row = json.dumps({"messages": [user("Hi"), assistant("Hello!")]})
    made = samples(chatml, row, "", row)
    assert made.num_chats == 2
    assert made.sha256 != samples(chatml, row, row).sha256


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: the line is not valid JSON"),
        ("[1]", "line 2: the line must be a JSON object, got a list of 1"),
        ({"prompt": "a", "completion": "b"}, r"line 2: messages must be a list of at least one message"),
        ({"messages": [user("a")]}, "line 2: there is no assistant turn to learn"),
        ({"messages": [user("a"), assistant("b", weight=0)]}, "there is no assistant turn to learn"),
        ({"messages": [user("a"), assistant("b", weight=2)]}, r"messages\[1\].weight must be an integer"),
        ({"messages": [user("a") | {"weight": 1}, assistant("b")]}, r"messages\[0\].weight must be left out"),
        ({"messages": [{"role": "robot", "content": "a"}]}, r"line 2: messages\[0\].role must be one of"),
        ({"messages": [user("a"), assistant(3)]}, r"messages\[1\].content must be a string"),
        ({"messages": [user("a"), assistant("b")], "tools": [{}]}, r"tools\[0\].type must be function"),
        ({"messages": [user("a"), assistant("b")], "functions": [1]}, "functions is not supported"),
    ],
)
def test_a_bad_line_is_named_by_its_number_and_fault(line, said, chatml, samples):
    good = {"messages": [user("Hi"), assistant("Hello!")]}
    with pytest.raises(RecipeError, match=said):
        samples(chatml, good, line, good)


def test_a_file_that_is_missing_or_empty_is_said_so(chatml, samples, tmp_path):
    with pytest.raises(RecipeError, match="nothing to learn"):
        samples(chatml)
    with pytest.raises(RecipeError, match="cannot be read"):
        read_chats(tmp_path / "none.jsonl", chatml, 100)
