"""Asking a model's server and reading its answer: the twins of decoding and encoding."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openglm.dialects import openai
from openglm.dialects.openai.bodies import chat_body, completion_body, embedding_body, tokenize_body
from openglm.dialects.openai.upstream import (
    UpstreamEvents,
    decode_count,
    decode_embeddings,
    decode_upstream_error,
)
from openglm.errors import (
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    PromptTooLong,
    UpstreamFailure,
)
from openglm.messages import (
    Failure,
    Finish,
    LogprobsDelta,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)

CHATS = [
    {"messages": [{"role": "user", "content": "hi"}]},
    {"messages": [{"role": "user", "content": ""}], "temperature": 1.0, "top_k": -1, "seed": 7},
    {
        "messages": [
            {"role": "system", "content": "be brief"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "what is this?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                ],
            },
            {
                "role": "assistant",
                "reasoning_content": "hm",
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
            {"role": "assistant", "content": ""},
            {"role": "user", "content": "go on", "name": "ann"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "f",
                    "description": "d",
                    "parameters": {"type": "object"},
                    "strict": True,
                },
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "n": 3,
        "logprobs": True,
        "top_logprobs": 2,
        "max_tokens": 5,
        "stop": ["x", "y"],
        "logit_bias": {"3": -5},
        "thinking": {"type": "disabled", "clear_thinking": False},
        "reasoning_effort": "low",
        "cache_salt": "s",
    },
    {
        "messages": [{"role": "user", "content": "json"}],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "object"}},
        },
    },
    {"messages": [{"role": "user", "content": "r"}], "guided_regex": "[a-z]+"},
    {"messages": [{"role": "user", "content": "c"}], "guided_choice": ["a", "b"]},
]


@pytest.mark.parametrize("body", CHATS)
def test_a_body_we_ask_with_decodes_to_the_request_it_was_made_from(body):
    request = openai.decode_chat(json.dumps({"model": "glm", **body}).encode())
    again = openai.decode_chat(chat_body(request, "glm"))
    assert again.stream
    assert again.continuous_usage
    for name in ("messages", "tools", "tool_choice", "sampling", "chosen", "n", "grammar", "thinking"):
        assert getattr(again, name) == getattr(request, name), name
    for name in ("keep_reasoning", "template_options", "cache_salt", "parallel_tool_calls"):
        assert getattr(again, name) == getattr(request, name), name


def test_what_the_caller_did_not_choose_is_not_sent():
    request = openai.decode_chat(b'{"model":"m","messages":[{"role":"user","content":"x"}],"top_p":0.5}')
    body = json.loads(chat_body(request, "wire-name"))
    assert body["model"] == "wire-name"
    assert body["top_p"] == 0.5
    assert not {"temperature", "max_tokens", "seed", "stop"} & body.keys()


def test_a_service_without_extensions_is_asked_in_openais_words_alone():
    body = {
        "model": "m",
        "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": "y", "reasoning_content": "hm"},
            {"role": "user", "content": "z"},
        ],
        "temperature": 0.5,
        "max_tokens": 3,
        "thinking": {"type": "enabled"},
        "cache_salt": "s",
    }
    request = openai.decode_chat(json.dumps(body).encode())
    asked = json.loads(chat_body(request, "wire", extensions=False))
    assert asked.keys() == {"model", "messages", "stream", "stream_options", "temperature", "max_tokens"}
    assert asked["stream_options"] == {"include_usage": True}
    assert "reasoning_content" not in asked["messages"][1]
    for extra in ({"top_k": 4}, {"response_format": {"type": "regex", "regex": "a"}}):
        foreign = openai.decode_chat(json.dumps({**body, **extra}).encode())
        with pytest.raises(InvalidRequest) as refused:
            chat_body(foreign, "wire", extensions=False)
        assert refused.value.param in extra
    asked = json.loads(completion_body(openai.decode_completion(b'{"prompt":"x"}'), "m", extensions=False))
    assert asked.keys() == {"model", "prompt", "stream", "stream_options", "max_tokens"}


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "once", "max_tokens": 3},
        {"prompt": ["a", "b"], "n": 2, "echo": True, "logprobs": 1},
        {"prompt": [1, 2, 3], "temperature": 0},
        {"prompt": [[1], [2, 3]]},
        {"prompt": "def f(", "suffix": ")"},
    ],
)
def test_completions_are_asked_for_as_they_came(body):
    request = openai.decode_completion(json.dumps({"model": "m", **body}).encode())
    again = openai.decode_completion(completion_body(request, "m"))
    assert again.sampling.max_tokens == request.sampling.max_tokens
    for name in ("prompts", "suffix", "echo", "n", "sampling"):
        assert getattr(again, name) == getattr(request, name), name


def test_embeddings_come_back_exact_and_in_order():
    request = openai.decode_embedding(b'{"model":"m","input":["a","b"],"dimensions":2}')
    assert openai.decode_embedding(embedding_body(request, "m")).inputs == ("a", "b")
    from array import array

    vectors = [array("f", [0.1, 0.2]), array("f", [0.3, -1e-30])]
    for encoding in ("float", "base64"):
        body = openai.encode_embeddings(vectors, model="m", encoding=encoding, prompt_tokens=9)
        body["data"].reverse()
        assert decode_embeddings(json.dumps(body).encode(), len(vectors)) == (vectors, 9)
    with pytest.raises(UpstreamFailure):
        decode_embeddings(b'{"data":"x"}', 1)


def test_a_conversation_is_counted_with_its_tools_and_switches():
    request = openai.decode_chat(json.dumps({"model": "glm", **CHATS[2]}).encode())
    body = json.loads(tokenize_body(request, "m"))
    assert body.keys() == {"model", "messages", "tools", "chat_template_kwargs"}
    assert openai.decode_tokenize(json.dumps(body).encode()).chat.messages == request.messages
    assert json.loads(tokenize_body("text", "m")) == {"model": "m", "prompt": "text"}
    assert decode_count(b'{"count": 3, "tokens": [1,2,3]}') == 3
    with pytest.raises(UpstreamFailure):
        decode_count(b'{"count": "3"}')


texts = st.text(min_size=1, max_size=20)
events = st.one_of(
    texts.map(ReasoningDelta),
    texts.map(TextDelta),
    st.builds(ToolCallDelta, st.integers(0, 2), st.none(), st.none(), texts),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(events, min_size=1, max_size=4), max_size=6), st.data())
def test_a_stream_we_encode_reads_back_the_same_however_it_is_cut(steps, data):
    chunks = openai.ChatChunks("m", include_usage=True, continuous_usage=True)
    usage = Usage(5, 2, 0, 4, 3)
    body = b"".join(chunks.encode(0, [UsageUpdate(usage), *step]) for step in steps)
    body += chunks.encode(0, [UsageUpdate(usage), Finish("stop")]) + b": keep-alive\n\n" + chunks.end()
    if data.draw(st.booleans()):
        body = body.replace(b"\n", b"\r\n")
    reader, read = UpstreamEvents(), []
    size = data.draw(st.integers(1, 300))
    for start in range(0, len(body), size):
        read += reader.feed(body[start : start + size])
    read += reader.done()
    flat = [event for _, step in read for event in step if not isinstance(event, UsageUpdate)]
    assert joined(flat[:-1]) == joined([event for step in steps for event in step])
    assert flat[-1] == Finish("stop")
    assert reader.usage == usage


def joined(found):
    """Texts of each kind and call, which is all that merging of neighbours keeps."""
    whole = {}
    for event in found:
        key = (type(event), getattr(event, "index", None))
        text = event.arguments if isinstance(event, ToolCallDelta) else event.text
        whole[key] = whole.get(key, "") + text
    return whole


def test_usage_comes_before_the_text_of_its_chunk():
    reader = UpstreamEvents()
    line = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}],"usage":{"prompt_tokens":3}}\n'
    assert reader.feed(line) == [(0, [UsageUpdate(Usage(3)), TextDelta("x")])]


def test_cached_and_reasoning_tokens_are_counted_once():
    reader = UpstreamEvents()
    reader.feed(
        b'data: {"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":7,'
        b'"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":5}}}\n'
    )
    assert reader.usage == Usage(6, 4, 0, 2, 5)


def test_an_answer_of_five_megabytes_in_one_line_is_read_in_linear_time():
    reader = UpstreamEvents()
    text = "长" * 1_700_000
    line = (
        b"data: " + json.dumps({"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]}).encode()
    )
    steps = []
    for start in range(0, len(line), 1000):
        steps += reader.feed(line[start : start + 1000])
    steps += reader.feed(b"\n")
    assert steps == [(0, [TextDelta(text), Finish("stop")])]


def test_a_body_that_ends_in_the_middle_of_an_answer_is_a_failure():
    reader = UpstreamEvents()
    reader.feed(b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n')
    with pytest.raises(UpstreamFailure, match="middle"):
        reader.done()
    with pytest.raises(UpstreamFailure):
        UpstreamEvents().done()


def test_a_missing_done_is_no_failure_once_every_choice_has_ended():
    reader = UpstreamEvents(2)
    reader.feed(b'data: {"choices":[{"index":1,"delta":{},"finish_reason":"length"}]}\n')
    assert reader.done() == []


def counted(index: int | None, prompt: int, completion: int, cached: int = 0) -> bytes:
    """A chunk of one choice, or of none, with a count."""
    choices = [] if index is None else [{"index": index, "delta": {"content": "x"}}]
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    usage["prompt_tokens_details"] = {"cached_tokens": cached}
    return b"data: " + json.dumps({"choices": choices, "usage": usage}).encode() + b"\n"


def test_a_server_that_counts_each_choice_alone_is_billed_for_all_of_them():
    """As vLLM and SGLang do while they stream, and all together at the end."""
    reader = UpstreamEvents(2)
    for index, completion in ((0, 1), (1, 1), (0, 2), (0, 3), (1, 2)):
        reader.feed(counted(index, 7, completion, cached=3))
    assert reader.usage == Usage(4, 3, 0, 5)
    reader.feed(counted(None, 7, 6, cached=3))
    assert reader.usage == Usage(4, 3, 0, 6)


def test_several_prompts_are_counted_once_each_and_their_answers_together():
    reader = UpstreamEvents(2, 2)  # choices 0 and 1 of the first prompt, 2 and 3 of the second
    for index, prompt, completion in ((0, 7, 1), (2, 30, 1), (1, 7, 4), (3, 30, 2), (0, 7, 2)):
        reader.feed(counted(index, prompt, completion))
    assert reader.usage == Usage(37, 0, 0, 9)


def test_a_server_that_says_it_counts_all_choices_is_taken_at_its_word():
    reader = UpstreamEvents(2, counts_all=True)
    for index, completion in ((0, 1), (1, 2), (0, 3)):
        reader.feed(counted(index, 7, completion))
    assert reader.usage == Usage(7, 0, 0, 3)


@pytest.mark.parametrize("index", [-1, 2, 2**40])
def test_a_choice_that_nobody_asked_for_is_a_failure_of_the_upstream(index):
    with pytest.raises(UpstreamFailure, match="asked for"):
        UpstreamEvents(2).feed(counted(index, 7, 1))


@pytest.mark.parametrize("prompt", [2**40 + 1, 2**63, -1])
def test_a_count_that_cannot_be_is_a_failure_of_the_upstream(prompt):
    with pytest.raises(UpstreamFailure):
        UpstreamEvents().feed(counted(0, prompt, 1))
    with pytest.raises(UpstreamFailure):
        decode_count(b'{"count":%d}' % prompt)
    body = {"data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": prompt}}
    with pytest.raises(UpstreamFailure):
        decode_embeddings(json.dumps(body).encode(), 1)


@pytest.mark.parametrize(
    "line", [b"data: {", b"data: <html>", b'data: {"choices":3}', b'data: {"usage":{"prompt_tokens":"x"}}']
)
def test_what_is_no_chunk_is_a_failure_of_the_upstream(line):
    with pytest.raises(UpstreamFailure):
        UpstreamEvents().feed(line + b"\n")


@pytest.mark.parametrize("cached", [-1, 4])
def test_a_usage_that_does_not_add_up_is_never_billed(cached):
    line = f'data: {{"usage":{{"prompt_tokens":3,"prompt_tokens_details":{{"cached_tokens":{cached}}}}}}}\n'
    with pytest.raises(UpstreamFailure, match="add up"):
        UpstreamEvents().feed(line.encode())


def test_an_error_inside_a_stream_ends_it():
    reader = UpstreamEvents()
    steps = reader.feed(
        b'data: {"error":{"message":"out of memory","code":"internal"}}\ndata: {"choices":[]}\n'
    )
    assert steps == [(0, [Failure("out of memory")])]
    assert reader.done() == []


def test_log_probabilities_keep_their_bytes():
    token = TokenLogprob(-1, b"\xe9", -0.5, ((-1, b"a", -1.0), (-1, b"\xe9", -0.5)))
    chunks = openai.ChatChunks("m")
    reader = UpstreamEvents()
    (step,) = reader.feed(chunks.encode(0, [LogprobsDelta((token,)), TextDelta("x")]))
    assert step[1][0] == LogprobsDelta((token,))


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": {"message": "bad", "param": "top_p", "code": "invalid_value"}}, InvalidRequest),
        (400, {"error": {"message": "too long", "code": "context_length_exceeded"}}, PromptTooLong),
        (400, {"message": "This model's maximum context length is 8 tokens"}, PromptTooLong),
        (404, {"error": {"message": "no such model"}}, ModelNotFound),
        (429, {}, Overloaded),
        (503, None, Overloaded),
        (500, {"error": {"message": "trace of our inside"}}, UpstreamFailure),
        (401, {"error": {"message": "your key sk-1"}}, UpstreamFailure),
    ],
)
def test_a_status_becomes_an_error_of_ours_and_the_inside_stays_inside(status, body, kind):
    error = decode_upstream_error(status, json.dumps(body).encode() if body is not None else b"<html>")
    assert type(error) is kind
    if kind is UpstreamFailure:
        assert error.message == f"the model's server answered with status {status}"


@pytest.mark.parametrize(
    "message", ["glm-4.7 is not a multimodal model", "At most 0 image(s) may be provided in one prompt."]
)
def test_a_server_whose_model_sees_no_images_is_understood(message):
    error = decode_upstream_error(400, json.dumps({"error": {"message": message, "code": 400}}).encode())
    assert isinstance(error, InvalidRequest)
    assert error.code == "image_not_supported"


@pytest.mark.parametrize(
    ("message", "numbers"),
    [
        ("the prompt has 9 tokens and max_tokens is 3; together at most 10 fit", (9, 3, 10)),
        ("the prompt has 9 tokens; together at most 8 fit", (9, None, 8)),
        (
            "This model's maximum context length is 10 tokens. However, you requested 3 output tokens and"
            " your prompt contains at least 9 input tokens, for a total of at least 12 tokens.",
            (9, 3, 10),
        ),
        (
            "'max_tokens' is too large: 3. This model's maximum context length is 10 tokens and your"
            " request has 9 input tokens (3 > 10 - 9).",
            (9, 3, 10),
        ),
        (
            "This model's maximum context length is 10 tokens. However, you requested 12 tokens (9 in the"
            " messages, 3 in the completion). Please reduce the length.",
            (9, 3, 10),
        ),
        (
            "Requested token count exceeds the model's maximum context length of 10 tokens. You requested a"
            " total of 12 tokens: 9 tokens from the input messages and 3 tokens for the completion.",
            (9, 3, 10),
        ),
        ("The input (9 tokens) is longer than the model's context length (8 tokens).", (9, None, 8)),
        ("This model's maximum context length is 8 tokens", (None, None, 8)),
    ],
)
def test_a_request_that_does_not_fit_is_understood_with_its_numbers(message, numbers):
    code = "context_length_exceeded" if "together" in message else 400
    error = decode_upstream_error(400, json.dumps({"error": {"message": message, "code": code}}).encode())
    assert isinstance(error, PromptTooLong)
    assert (error.prompt, error.wanted, error.limit) == numbers
