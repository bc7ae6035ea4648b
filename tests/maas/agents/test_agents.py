"""Agents as data: what a table may say, what a caller may send, and what the instructions become."""

from __future__ import annotations

import pytest

from openglm.errors import InvalidRequest, NotOffered, OpenGLMError
from openglm.maas.agents import Agents
from openglm.maas.agents.agents import SHIPPED, model_of, read_agents

SMALL = """
model = "glm"
[agents.poet]
instructions = "Write about {{ topic }}{% if rhymes %}, in rhymes{% endif %}."
sampling = { temperature = 0.5, max_tokens = 100 }
[agents.poet.variables.topic]
needed = true
[agents.poet.variables.rhymes]
type = "boolean"
[agents.poet.variables.length]
type = "number"
values = [4, 8]
default = 4
"""


def test_the_agents_that_we_ship_can_be_read_and_told():
    agents = read_agents(SHIPPED.read_text(encoding="utf-8"))
    translation = agents["general_translation"]
    plain = translation.told({})
    assert "into zh-CN" in plain
    assert "Find out yourself" in plain
    assert "{" not in plain
    for strategy in translation.variables["strategy"].values:
        assert translation.told({"strategy": strategy})
    wished = {"general": {"suggestion": "as a lawyer"}, "cot": {"reason_lang": "to"}}
    told = translation.told(
        {
            "source_lang": "en",
            "target_lang": "fr",
            "strategy": "cot",
            "strategy_config": wished,
            "glossary": "a = b",
        }
    )
    for words in ("written in en", "into fr", "first in fr, then", "as a lawyer", "a = b"):
        assert words in told
    assert agents["web_research"].tools.web_search is not None
    assert "- amount" in agents["field_extraction"].told({"fields": ["parties", "amount"]})
    assert "style formal" in agents["text_review"].told({"style": "formal"})


def test_a_table_gives_instructions_sampling_and_a_model():
    poet = read_agents(SMALL)["poet"]
    assert poet.told({"topic": "the sea", "rhymes": True}) == "Write about the sea, in rhymes."
    assert (poet.model, poet.sampling.temperature, poet.sampling.max_tokens) == ("glm", 0.5, 100)
    assert poet.chosen == {"temperature", "max_tokens"}


def test_what_a_caller_sends_is_a_value_and_never_a_template():
    poet = read_agents(SMALL)["poet"]
    assert poet.told({"topic": "{{ 7 * 7 }}{% include 'x' %}"}) == "Write about {{ 7 * 7 }}{% include 'x' %}."


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ({}, "missing_field", "needs custom_variables.topic"),
        ({"topic": 3}, "invalid_value", "must be a text"),
        ({"topic": "a", "rhymes": "yes"}, "invalid_value", "true or false"),
        ({"topic": "a", "length": 5}, "invalid_value", "one of 4, 8"),
        ({"topic": "a" * 30_000}, "invalid_value", "at most 20000 bytes"),
        ({"topik": "a"}, "invalid_value", "no variable 'topik'"),
    ],
)
def test_variables_that_do_not_fit_are_named(given, code, words):
    with pytest.raises(InvalidRequest, match=words) as caught:
        read_agents(SMALL)["poet"].told(given)
    assert caught.value.code == code
    if "topik" in given:
        assert caught.value.hint == "did you mean topic?"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[agents.a]\nname = 'A'", "instructions must be"),
        ("[agents.a]\ninstructions = 'x'\ntemper = 1", "unknown key 'temper'"),
        ("[agents.a]\ninstructions = 'x {{ y }}'", "use y, which no variable declares"),
        ("[agents.a]\ninstructions = '{% if %}'", "line 1 of the instructions"),
        ("[agents.a]\ninstructions = 'x'\nsampling = { temperature = 9 }", "from 0 to 2"),
        ("[agents.a]\ninstructions = 'x'\nsampling = { heat = 1 }", "unknown key 'heat'"),
        ("[agents.a]\ninstructions = 'x'\n[agents.a.variables.v]\ntype = 'word'", "one of text"),
        ("[agents.a]\ninstructions = 'x'\n[agents.a.variables.v]\ndefault = 3", "must be a text"),
        (
            "[agents.a]\ninstructions = 'x'\ntools = [{ type = 'function', function = { name = 'f' } }]",
            "no functions",
        ),
        ("[agents.'a b']\ninstructions = 'x'", "an agent's id"),
        ("[agent.a]\ninstructions = 'x'", "unknown key 'agent'"),
        ("model = 3", "model must be a text"),
        ("[agents", "no TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_place(text, words):
    with pytest.raises(OpenGLMError, match=words):
        read_agents(text)


def test_a_file_of_the_operator_replaces_ours(tmp_path):
    agents = Agents(tmp_path / "agents.toml")
    agents.load()
    assert agents.get("general_translation")
    (tmp_path / "agents.toml").write_text(SMALL)
    agents.load()
    assert [agent.id for agent in agents.all()] == ["poet"]
    with pytest.raises(InvalidRequest, match="there is no agent"):
        agents.get("general_translation")
    (tmp_path / "agents.toml").write_text("[agents")
    with pytest.raises(OpenGLMError, match=r"agents\.toml: this is no TOML"):
        agents.load()


def test_the_model_is_the_agents_or_the_requests_or_the_only_one():
    poet = read_agents(SMALL)["poet"]
    free = read_agents(SMALL.replace('model = "glm"', ""))["poet"]
    assert model_of(poet, "other", ["a", "b"]) == "glm"
    assert model_of(free, "other", ["a", "b"]) == "other"
    assert model_of(free, None, ["a"]) == "a"
    with pytest.raises(NotOffered, match="2 to choose from"):
        model_of(free, None, ["a", "b"])
