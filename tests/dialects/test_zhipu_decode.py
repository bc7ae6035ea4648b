"""Zhipu's bodies in, requests or clear refusals out."""

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openglm.dialects import zhipu
from openglm.errors import InvalidRequest
from openglm.messages import Grammar, ImagePart, SamplingParams, TextPart

HELLO = [{"role": "user", "content": "hello"}]
FUNCTION = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()


def chat(*, coding=False, **fields):
    body = {"model": "glm-4.6", "messages": HELLO, **fields}
    return zhipu.decode_chat(json.dumps(body).encode(), coding=coding)


def refusal(**fields) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        chat(**fields)
    return caught.value


def test_a_bare_body_gets_every_default():
    request = chat()
    assert request.chat.sampling == SamplingParams()
    assert request.chat.chosen == frozenset()
    assert (request.chat.thinking, request.chat.keep_reasoning, request.chat.stream) == (None, None, False)
    assert (request.request_id, request.tool_stream) == (None, False)
    assert not request.tools


def test_the_nulls_that_the_sdk_always_sends_are_absent_fields():
    names = (
        "request_id user_id do_sample stream temperature top_p max_tokens seed stop sensitive_word_check "
        "tools tool_choice meta extra response_format thinking watermark_enabled tool_stream reasoning_effort"
    )
    assert chat(**dict.fromkeys(names.split())) == chat()


def test_thinking_is_switched_and_old_reasoning_kept_as_the_body_says():
    assert chat(thinking={"type": "enabled"}).chat.thinking is True
    assert chat(thinking={"type": "disabled"}).chat.thinking is False
    assert chat(thinking={"type": "enabled", "clear_thinking": False}).chat.keep_reasoning is True
    assert chat(reasoning_effort="none").chat.thinking is False
    assert chat(reasoning_effort="max").chat.template_options == {"reasoning_effort": "max"}


def test_coding_routes_keep_old_reasoning_unless_told_to_clear_it():
    assert chat(coding=True).chat.keep_reasoning is True
    assert (
        chat(coding=True, thinking={"type": "enabled", "clear_thinking": True}).chat.keep_reasoning is False
    )


def test_reasoning_of_old_turns_arrives_unchanged_and_in_order():
    turns = [
        HELLO[0],
        {"role": "assistant", "content": "a", "reasoning_content": " first\n"},
        HELLO[0],
        {"role": "assistant", "content": "b", "reasoning_content": "second "},
        HELLO[0],
    ]
    messages = chat(messages=turns, coding=True).chat.messages
    assert [message.reasoning for message in messages] == [None, " first\n", None, "second ", None]


def test_no_sampling_is_the_likeliest_token_whatever_the_temperature_beside_it():
    request = chat(do_sample=False, temperature=0.01).chat
    assert request.sampling.temperature == 0.0
    assert "temperature" in request.chosen
    assert chat(do_sample=True, temperature=0.3).chat.sampling.temperature == 0.3


@pytest.mark.parametrize("temperature", [0, 0.01, 1, 1.5, 2])
def test_temperatures_of_both_worlds_are_accepted(temperature):
    assert chat(temperature=temperature).chat.sampling.temperature == temperature


def test_stop_is_one_string_or_a_list():
    assert chat(stop="a").chat.sampling.stop == ("a",)
    assert chat(stop=["a", "b"]).chat.sampling.stop == ("a", "b")


def test_images_come_as_a_url_as_a_data_url_or_as_bare_base64():
    urls = ["https://example.org/a.png", f"data:image/png;base64,{PNG}", PNG]
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content = [{"type": "text", "text": "what?"}, *parts]
    (message,) = chat(messages=[{"role": "user", "content": content}]).chat.messages
    data_url = f"data:image/png;base64,{PNG}"
    assert message.parts == (TextPart("what?"), ImagePart(urls[0]), ImagePart(data_url), ImagePart(data_url))


@pytest.mark.parametrize("url", ["hello", "/9j/not base64!", "file:///etc/passwd"])
def test_what_is_no_image_is_refused_by_its_place(url):
    content = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": url}}]
    error = refusal(messages=[{"role": "user", "content": content}])
    assert error.param == "messages[0].content[1].image_url.url"


@pytest.mark.parametrize("kind", ["video_url", "file_url", "input_audio"])
def test_what_the_models_cannot_read_is_refused_by_name(kind):
    error = refusal(messages=[{"role": "user", "content": [{"type": kind, kind: {"url": "https://x"}}]}])
    assert error.param == "messages[0].content[0].type"


def test_a_conversation_needs_somebody_who_asks():
    assert refusal(messages=[{"role": "system", "content": "a"}]).param == "messages"
    answered = [{"role": "system", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert refusal(messages=answered).param == "messages"


def test_a_search_tool_becomes_the_platforms_business_and_no_function():
    search = {
        "enable": "True",
        "search_engine": "search_pro",
        "search_query": "weather",
        "count": 3,
        "search_result": True,
        "result_sequence": "before",
        "search_domain_filter": "example.org",
        "search_recency_filter": "oneDay",
        "content_size": "high",
        "require_search": "false",
        "search_prompt": "say so: {search_result}",
    }
    request = chat(tools=[FUNCTION, {"type": "web_search", "web_search": search}])
    assert [tool.name for tool in request.chat.tools] == ["look_up"]
    assert request.tools.web_search == zhipu.WebSearch(
        "search_pro",
        "weather",
        3,
        "example.org",
        "oneDay",
        "high",
        show_results=True,
        results_first=True,
        prompt="say so: {search_result}",
    )


def test_a_search_that_is_not_enabled_is_none():
    assert not chat(tools=[{"type": "web_search", "web_search": {"enable": False}}]).tools
    assert not chat(tools=[{"type": "web_search", "web_search": {"search_query": "a"}}]).tools


def test_retrieval_and_mcp_tools_arrive_typed_and_hide_their_secrets():
    retrieval = {"knowledge_id": "kb1", "prompt_template": "{{knowledge}} {{question}}"}
    mcp = {
        "server_label": "files",
        "server_url": "https://example.org/mcp",
        "transport_type": "sse",
        "allowed_tools": ["read"],
        "headers": {"authorization": "secret"},
    }
    tools = chat(tools=[{"type": "retrieval", "retrieval": retrieval}, {"type": "mcp", "mcp": mcp}]).tools
    assert tools.retrieval == zhipu.Retrieval(("kb1",), "{{knowledge}} {{question}}")
    (server,) = tools.mcp
    assert (server.label, server.transport, server.allowed_tools) == ("files", "sse", ("read",))
    assert dict(server.headers) == {"authorization": "secret"}
    assert "secret" not in repr(tools)


@pytest.mark.parametrize(
    ("tools", "param"),
    [
        ([FUNCTION] * 129, "tools"),
        ([FUNCTION, FUNCTION], "tools[1].function.name"),
        ([{"type": "retrieval", "retrieval": {}}], "tools[0].retrieval.knowledge_id"),
        ([{"type": "mcp", "mcp": {"server_label": "a", "server_url": "ftp://x"}}], "tools[0].mcp.server_url"),
        ([{"type": "mcp", "mcp": {"server_label": "a", "headers": {"a": 1}}}], "tools[0].mcp.headers"),
        ([{"type": "code_interpreter"}], "tools[0].type"),
        ([{"type": "web_search", "web_search": {"enable": "maybe"}}], "tools[0].web_search.enable"),
    ],
)
def test_tools_that_do_not_fit_are_refused_by_their_place(tools, param):
    assert refusal(tools=tools).param == param


def test_response_formats_of_both_worlds():
    assert chat(response_format={"type": "text"}).chat.grammar is None
    assert chat(response_format={"type": "json_object"}).chat.grammar == Grammar("json_object")
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    assert chat(response_format=schema).chat.grammar == Grammar("json_schema", '{"type":"object"}')


def test_a_stream_always_asks_for_its_usage():
    request = chat(stream=True, tool_stream=True)
    assert (request.chat.stream, request.chat.include_usage, request.tool_stream) == (True, True, True)


def test_ids_of_requests_are_kept_and_those_of_users_checked():
    assert chat(request_id="r-1", user_id="user-42").request_id == "r-1"
    assert refusal(request_id="a b").param == "request_id"
    assert refusal(user_id="short").param == "user_id"


def test_a_missing_field_and_a_wrong_one_are_told_apart():
    assert refusal(model=None).code == "missing_field"
    assert refusal(messages=None).code == "missing_field"
    assert refusal(temperature="hot").code == "invalid_value"


def test_a_conversation_to_count():
    call = zhipu.decode_tokenizer(
        json.dumps({"model": "m", "messages": HELLO, "tools": [FUNCTION], "request_id": "r"}).encode()
    )
    assert call.chat.messages[0].text == "hello"
    assert [tool.name for tool in call.chat.tools] == ["look_up"]
    assert call.request_id == "r"


def test_texts_to_embed():
    call = zhipu.decode_embedding(
        json.dumps({"model": "embedding-3", "input": ["a", "b"], "dimensions": 256}).encode()
    )
    assert call.embedding.inputs == ("a", "b")
    assert call.embedding.dimensions == 256
    with pytest.raises(InvalidRequest) as caught:
        zhipu.decode_embedding(b'{"input": "a"}')
    assert caught.value.param == "model"


FIELDS = (
    "model messages tools tool_choice thinking do_sample temperature top_p max_tokens stop seed request_id "
    "user_id response_format stream tool_stream sensitive_word_check reasoning_effort n"
)
INNER = "type function web_search retrieval mcp enable role content name url"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(INNER.split()),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(FIELDS.split()), JSON, max_size=4))
def test_any_field_gone_wrong_gives_a_request_or_a_refusal(fields):
    body = json.dumps({"model": "m", "messages": HELLO, **fields}).encode()
    with contextlib.suppress(InvalidRequest):
        assert isinstance(zhipu.decode_chat(body), zhipu.ZhipuRequest)
