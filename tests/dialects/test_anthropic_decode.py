"""Anthropic's bodies in, requests out; what does not fit is told by name."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openglm.dialects import anthropic
from openglm.errors import InvalidRequest, OpenGLMError
from openglm.messages import (
    ChatRequest,
    Grammar,
    ImagePart,
    Message,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolSpec,
)

KEY = b"k" * 32
FIELDS = (
    "model",
    "max_tokens",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "output_format",
    "metadata",
    "context_management",
    "stop_sequences",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "mcp_servers",
)
HELLO = {"role": "user", "content": "hello"}
TOOL = {"name": "f", "description": "does f", "input_schema": {"type": "object", "properties": {}}}


def decode(**fields) -> ChatRequest:
    return request(**fields).chat


def request(**fields) -> anthropic.MessagesRequest:
    body = {"model": "glm", "max_tokens": 10, "messages": [HELLO], **fields}
    return anthropic.decode_messages(json.dumps(body).encode(), KEY)


def talk(*messages: dict) -> tuple[Message, ...]:
    return decode(messages=list(messages)).messages


def user(*blocks: dict) -> dict:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: dict) -> dict:
    return {"role": "assistant", "content": list(blocks)}


def text(words: str, **more) -> dict:
    return {"type": "text", "text": words, **more}


def thinking(words: str, key: bytes = KEY) -> dict:
    return {"type": "thinking", "thinking": words, "signature": anthropic.sign(key, words)}


def test_the_smallest_body():
    chat = decode()
    assert chat.model == "glm"
    assert chat.messages == (Message.of("user", "hello"),)
    assert chat.sampling.max_tokens == 10
    assert chat.chosen == {"max_tokens"}
    assert chat.thinking is False
    assert not chat.stream


def test_all_sampling_fields_and_the_end_user():
    made = request(
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop_sequences=["END"],
        stream=True,
        metadata={"user_id": "u-1"},
        cache_control={"type": "ephemeral"},
        service_tier="auto",
        never_heard_of={"x": 1},
    )
    sampling = made.chat.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.stop) == (0.5, 0.9, 40, ("END",))
    assert made.chat.chosen == {"max_tokens", "temperature", "top_p", "top_k", "stop"}
    assert made.chat.stream
    assert made.user_id == "u-1"


def test_nulls_are_absent_fields():
    absent = dict.fromkeys(set(FIELDS) - {"model", "max_tokens", "messages"})
    assert decode(**absent) == decode()


def test_system_as_text_or_blocks_without_the_line_that_counts_requests():
    assert decode(system="be kind").messages[0] == Message.of("system", "be kind")
    blocks = [
        text("x-anthropic-billing-header: cc_version=2.1.197; cch=1f2e3;"),
        text("be kind", cache_control={"type": "ephemeral"}),
        text("be brief"),
    ]
    assert decode(system=blocks).messages[0] == Message.of("system", "be kind\nbe brief")
    assert decode(system=[]).messages == decode(system="").messages == (Message.of("user", "hello"),)


def test_blocks_of_people():
    assert talk(
        user(
            text("look"),
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}},
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
            text("and"),
            text("tell"),
        )
    ) == (
        Message(
            "user",
            (
                TextPart("look"),
                ImagePart("data:image/png;base64,QUJD"),
                ImagePart("https://example.com/a.png"),
                TextPart("and\ntell"),
            ),
        ),
    )


def test_documents_and_search_results_are_their_text():
    plain = {"type": "text", "media_type": "text/plain", "data": "body"}
    inner = {"type": "content", "content": [text("one"), text("two")]}
    (message,) = talk(
        user(
            {"type": "document", "title": "T", "context": "C", "source": plain},
            {"type": "document", "source": inner},
            {"type": "search_result", "title": "S", "source": "https://s", "content": [text("found")]},
        )
    )
    assert message.text == "T\nC\nbody\none\ntwo\nS\nhttps://s\nfound"


def test_a_loop_of_tools_with_reasoning():
    messages = talk(
        HELLO,
        assistant(
            thinking("hm "),
            {"type": "redacted_thinking", "data": "x"},
            text("I "),
            text("call"),
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
            {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
        ),
        user(
            text("<reminder>"),
            {"type": "tool_result", "tool_use_id": "t1", "content": "one"},
            {"type": "tool_result", "tool_use_id": "t2", "content": [text("two")], "is_error": True},
            text("go on"),
        ),
    )
    calls = (ToolCall("t1", "f", '{"a":1}'), ToolCall("t2", "g", "{}"))
    assert messages[1:] == (
        Message.of("assistant", "I call", reasoning="hm ", tool_calls=calls),
        Message.of("tool", "one", tool_call_id="t1"),
        Message.of("tool", "Error:\ntwo", tool_call_id="t2"),
        Message.of("user", "<reminder>\ngo on"),
    )


def test_results_without_content_and_with_images():
    image = {"type": "image", "source": {"type": "url", "url": "https://a"}}
    messages = talk(
        user(
            {"type": "tool_result", "tool_use_id": "t"},
            {"type": "tool_result", "tool_use_id": "u", "content": [text("see"), image]},
            {"type": "tool_result", "tool_use_id": "v", "content": "<tool_use_error>no</>", "is_error": True},
        )
    )
    assert messages == (
        Message("tool", (), tool_call_id="t"),
        Message("tool", (TextPart("see"), ImagePart("https://a")), tool_call_id="u"),
        Message.of("tool", "<tool_use_error>no</>", tool_call_id="v"),
    )


def test_what_another_servers_tools_left_behind_is_left_out():
    messages = talk(
        HELLO,
        assistant(
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
            text("found"),
        ),
        HELLO,
    )
    assert messages[1] == Message.of("assistant", "found")


def test_reasoning_of_ours_comes_back_and_of_others_is_left_out():
    def reasoning(block: dict) -> str | None:
        return talk(HELLO, assistant(block, text("x")), HELLO)[1].reasoning

    assert reasoning(thinking("a thought")) == "a thought"
    assert reasoning(thinking("a thought", key=b"other" * 7)) is None
    assert reasoning({"type": "thinking", "thinking": "a", "signature": "ErUBCkYIBx"}) is None
    assert reasoning({"type": "thinking", "thinking": "a"}) is None
    assert reasoning({"type": "thinking", "thinking": "", "signature": ""}) is None


@pytest.mark.parametrize("change", [{"thinking": "another"}, {"signature": "glm1.!!"}, {"thinking": ""}])
def test_edited_reasoning_is_refused(change: dict):
    with pytest.raises(InvalidRequest) as caught:
        talk(HELLO, assistant({**thinking("a thought"), **change}), HELLO)
    assert caught.value.param == "messages[1].content[0].signature"


@given(st.text(), st.text(), st.binary(min_size=1), st.binary(min_size=1))
def test_a_signature_fits_its_text_and_key_alone(one: str, other: str, key: bytes, wrong: bytes):
    one, other = (t.encode("utf-8", "replace").decode() for t in (one, other))
    token = anthropic.sign(key, one)
    assert anthropic.judge(key, one, token) == "ours"
    if other != one:
        assert anthropic.judge(key, other, token) == "edited"
    if wrong != key:
        assert anthropic.judge(wrong, one, token) == "foreign"


@pytest.mark.parametrize(
    ("thinking", "effort", "wanted"),
    [
        (None, None, False),
        (None, "low", None),
        ({"type": "enabled", "budget_tokens": 5000}, None, True),
        ({"type": "adaptive"}, "high", None),
        ({"type": "disabled"}, "high", False),
    ],
)
def test_thinking_is_off_unless_asked_for(thinking, effort, wanted):
    chat = decode(thinking=thinking, output_config={"effort": effort})
    assert chat.thinking is wanted
    assert chat.template_options == ({"reasoning_effort": effort} if effort else {})


def test_context_edits_keep_all_thoughts_or_those_of_the_last_turns():
    turn = [
        HELLO,
        assistant(thinking("a"), {"type": "tool_use", "id": "t", "name": "f", "input": {}}),
        user({"type": "tool_result", "tool_use_id": "t", "content": "r"}),
        assistant(thinking("b"), text("x")),
    ]
    messages = [*turn, *turn, HELLO]

    def kept(*edits) -> tuple[bool | None, str]:
        chat = decode(messages=messages, context_management={"edits": list(edits)})
        return chat.keep_reasoning, "".join(
            m.reasoning or "-" for m in chat.messages if m.role == "assistant"
        )

    clear = {"type": "clear_thinking_20251015"}
    assert kept() == (None, "abab")
    assert kept({"type": "clear_tool_uses_20250919", "trigger": {"x": 1}}) == (None, "abab")
    assert kept({**clear, "keep": "all"}) == kept({**clear, "keep": {"type": "all"}}) == (True, "abab")
    assert kept({**clear, "keep": {"type": "thinking_turns", "value": 2}}) == (True, "abab")
    assert kept({**clear, "keep": {"type": "thinking_turns", "value": 1}}) == kept(clear) == (True, "--ab")


def test_tools_and_choices():
    chat = decode(tools=[{**TOOL, "type": "custom", "cache_control": {}, "defer_loading": False}])
    assert chat.tools == (ToolSpec("f", "does f", TOOL["input_schema"]),)
    assert chat.tool_choice == ToolChoice()
    assert chat.parallel_tool_calls
    for given_choice, choice in (
        ({"type": "auto"}, ToolChoice("auto")),
        ({"type": "any"}, ToolChoice("required")),
        ({"type": "tool", "name": "f"}, ToolChoice("named", "f")),
        ({"type": "none"}, ToolChoice("none")),
    ):
        assert decode(tools=[TOOL], tool_choice=given_choice).tool_choice == choice
    single = decode(tools=[TOOL], tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    assert not single.parallel_tool_calls


def test_a_deferred_tool_is_offered_once_a_result_refers_to_it():
    late, later = ({**TOOL, "name": name, "defer_loading": True} for name in ("late", "later"))
    search = {"type": "tool_use", "id": "t", "name": "f", "input": {}}

    def offered(*found: dict) -> ChatRequest:
        result = {"type": "tool_result", "tool_use_id": "t", "content": list(found)}
        return decode(tools=[late, TOOL, later], messages=[HELLO, assistant(search), user(result)])

    assert [tool.name for tool in offered(text("nothing")).tools] == ["f"]
    chat = offered({"type": "tool_reference", "tool_name": "later"}, text("is new"))
    assert [tool.name for tool in chat.tools] == ["f", "later"]
    assert chat.messages[-1].text == "The tool later can be called now.\nis new"
    with pytest.raises(InvalidRequest, match="one of the tools"):
        offered({"type": "tool_reference", "tool_name": "nobody"})


def test_system_messages_bring_tools_in_and_take_them_away():
    def change(kind: str, tool: dict) -> dict:
        return {"role": "system", "content": [{"type": kind, "tool": tool}]}

    def offered(*messages: dict) -> list[str]:
        tools = [TOOL, {**TOOL, "name": "late", "defer_loading": True}]
        chat = decode(tools=tools, messages=[HELLO, *messages])
        assert len(chat.messages) == 1
        return [tool.name for tool in chat.tools]

    late = {"type": "tool_reference", "name": "late"}
    new = {"type": "tool_definition", "definition": {**TOOL, "name": "new"}}
    assert offered(change("tool_addition", late), change("tool_addition", new)) == ["f", "late", "new"]
    assert offered(change("tool_addition", late), change("tool_removal", late)) == ["f"]
    assert offered(change("tool_removal", {"type": "tool_reference", "name": "f"})) == []
    with pytest.raises(InvalidRequest, match=r"messages\[1\].content\[0\].tool.type"):
        offered(change("tool_removal", {"type": "mcp_toolset_reference", "server_name": "s"}))


def test_a_schema_for_the_answer():
    form = {"type": "json_schema", "schema": {"type": "object"}}
    grammar = Grammar("json_schema", '{"type":"object"}')
    assert decode(output_config={"format": form}).grammar == grammar
    assert decode(output_format=form).grammar == grammar
    forced = decode(output_config={"format": form}, tools=[TOOL], tool_choice={"type": "any"})
    assert forced.grammar is None


def test_counting_needs_no_max_tokens_and_reads_the_same_prompt():
    body = {"model": "glm", "system": "s", "messages": [HELLO], "tools": [TOOL]}
    counted = anthropic.decode_count(json.dumps(body).encode(), KEY)
    answered = decode(system="s", tools=[TOOL])
    assert (counted.messages, counted.tools) == (answered.messages, answered.tools)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 3}, "model"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"messages": [HELLO, {"role": "assistant", "content": "The"}]}, "messages"),
        ({"messages": [user({"type": "video"})]}, "messages[0].content[0].type"),
        ({"messages": [user({"type": "text"})]}, "messages[0].content[0].text"),
        ({"messages": [user({"type": "image"})]}, "messages[0].content[0].source"),
        (
            {"messages": [user({"type": "image", "source": {"type": "file", "file_id": "f"}})]},
            "messages[0].content[0].source.type",
        ),
        (
            {"messages": [user({"type": "image", "source": {"type": "base64", "data": "x"}})]},
            "messages[0].content[0].source.media_type",
        ),
        (
            {"messages": [user({"type": "document", "source": {"type": "base64", "data": "x"}})]},
            "messages[0].content[0].source.type",
        ),
        ({"messages": [user({"type": "tool_result"})]}, "messages[0].content[0].tool_use_id"),
        ({"messages": [user({"type": "tool_use"})]}, "messages[0].content[0].type"),
        (
            {"messages": [assistant({"type": "tool_use", "id": "t", "name": "f"}), HELLO]},
            "messages[0].content[0].input",
        ),
        ({"messages": [assistant({"type": "image"}), HELLO]}, "messages[0].content[0].type"),
        ({"system": 1}, "system"),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"temperature": 9}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"stop_sequences": [""]}, "stop_sequences"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"stream": "yes"}, "stream"),
        ({"thinking": {}}, "thinking.type"),
        ({"thinking": {"type": "maybe"}}, "thinking.type"),
        ({"output_config": {"effort": "immense"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        (
            {"tools": [TOOL], "output_config": {"format": {"type": "json_schema", "schema": {}}}},
            "output_config.format",
        ),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tools": [{**TOOL, "name": "a b"}]}, "tools[0].name"),
        ({"tools": [TOOL, TOOL]}, "tools[1].name"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": {}}, "tool_choice.type"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice.name"),
        ({"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
        ({"thread": {"type": "create"}}, "thread"),
        ({"compaction": {"type": "summarize"}}, "compaction"),
        ({"metadata": {"user_id": 1}}, "metadata.user_id"),
    ],
)
def test_what_does_not_fit_is_told_by_name(fields: dict, param: str):
    with pytest.raises(InvalidRequest) as caught:
        decode(**fields)
    assert caught.value.param == param


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.just("text")
    | st.just("tool_result"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "content", "role", "source", "id", "name", "input", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_no_body_breaks_the_decoder(fields: dict):
    body = {"model": "glm", "max_tokens": 1, "messages": [HELLO], **fields}
    with contextlib.suppress(OpenGLMError):
        anthropic.decode_messages(json.dumps(body).encode(), KEY)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"model": NaN}', b"[" * 9999])
def test_what_is_no_json_object_is_told(body: bytes):
    with pytest.raises(InvalidRequest):
        anthropic.decode_messages(body, KEY)
