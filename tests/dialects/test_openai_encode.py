"""Events in, OpenAI's objects and chunks out."""

import base64
import json
import struct
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openglm.dialects import openai
from openglm.errors import (
    CheckpointError,
    EngineFailure,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    PromptTooLong,
    RequestTooLarge,
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

USAGE = Usage(input_uncached=3, cache_read=4, output_text=5, output_reasoning=6)
WIRE_USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 11,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 6},
}
SOME_LOGPROB = TokenLogprob(1, b"hi", -0.5, ((1, b"hi", -0.5), (2, b"\xe2", float("-inf"))))


def chunks(steps, **options):
    encoder = openai.ChatChunks("m", **options)
    data = b"".join(encoder.encode(choice, events) for choice, events in steps) + encoder.end()
    *out, done = frames(data)
    assert done == b"[DONE]"
    return [json.loads(chunk) for chunk in out]


def frames(data: bytes) -> list[bytes]:
    """What each server-sent event carries."""
    *events, rest = data.split(b"\n\n")
    assert rest == b""
    assert all(event.startswith(b"data: ") for event in events)
    return [event.removeprefix(b"data: ") for event in events]


def test_a_streamed_chat_answer_opens_with_the_role_and_ends_with_the_reason():
    first, second, last = chunks([(0, [TextDelta("a")]), (0, [TextDelta("b")]), (0, [Finish("stop")])])
    assert first["object"] == "chat.completion.chunk"
    assert first["id"].startswith("chatcmpl-")
    assert first["id"] == last["id"]
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "a"}
    assert second["choices"][0]["delta"] == {"content": "b"}
    assert last["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert "usage" not in last


def test_an_empty_answer_still_says_who_speaks():
    (only,) = chunks([(0, [Finish("length")])])
    assert only["choices"][0]["delta"] == {"role": "assistant"}


def test_usage_comes_once_at_the_end_or_in_every_chunk():
    steps = [(0, [TextDelta("a")]), (0, [UsageUpdate(USAGE), Finish("stop")])]
    assert [chunk["usage"] for chunk in chunks(steps, include_usage=True)] == [None, None, WIRE_USAGE]
    *_, ending, last = chunks(steps, include_usage=True, continuous_usage=True)
    assert ending["usage"] == last["usage"] == WIRE_USAGE
    assert last["choices"] == []


def test_one_step_is_one_chunk_unless_that_would_turn_the_order_round():
    events = [
        ReasoningDelta("r"),
        TextDelta("t"),
        ToolCallDelta(0, "call_1", "f", "{"),
        ToolCallDelta(0, arguments="}"),
    ]
    (one,) = chunks([(0, events)])
    delta = one["choices"][0]["delta"]
    assert (delta["reasoning_content"], delta["content"]) == ("r", "t")
    assert delta["tool_calls"] == [
        {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{"}},
        {"index": 0, "function": {"arguments": "}"}},
    ]
    two = chunks([(0, [TextDelta("t"), ReasoningDelta("r")])])
    assert [list(chunk["choices"][0]["delta"]) for chunk in two] == [
        ["role", "content"],
        ["reasoning_content"],
    ]


def test_logprobs_ride_with_the_next_chunk_of_their_choice():
    silent, text = (
        (0, [LogprobsDelta((SOME_LOGPROB,))]),
        (0, [LogprobsDelta((SOME_LOGPROB,)), TextDelta("x")]),
    )
    (chunk,) = chunks([silent, text])
    entries = chunk["choices"][0]["logprobs"]["content"]
    assert len(entries) == 2
    assert entries[0]["token"] == "hi"
    assert entries[0]["bytes"] == [104, 105]
    assert entries[0]["top_logprobs"][1] == {"token": "\\xe2", "logprob": -9999.0, "bytes": [226]}


def test_a_failure_is_an_error_chunk():
    *_, broken = chunks([(0, [TextDelta("a"), Failure("it broke", retryable=True)])])
    assert broken == {
        "error": {"message": "it broke", "type": "server_error", "param": None, "code": "overloaded"}
    }


def test_a_whole_chat_answer():
    whole = openai.ChatObject("m", 2, logprobs=True)
    whole.add(0, [ReasoningDelta("r"), TextDelta("a"), LogprobsDelta((SOME_LOGPROB,))])
    whole.add(1, [ToolCallDelta(0, "call_1", "f", '{"a"'), ToolCallDelta(0, arguments=": 1}")])
    whole.add(1, [Finish("tool_calls")])
    whole.add(0, [TextDelta("b"), UsageUpdate(USAGE), Finish("stop")])
    body = whole.body()
    assert body["object"] == "chat.completion"
    assert body["usage"] == WIRE_USAGE
    first, second = body["choices"]
    assert first["message"] == {
        "role": "assistant",
        "content": "ab",
        "refusal": None,
        "reasoning_content": "r",
    }
    assert len(first["logprobs"]["content"]) == 1
    assert second["finish_reason"] == "tool_calls"
    assert second["message"]["content"] is None
    assert second["message"]["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    ]


def test_a_call_that_broke_off_and_was_given_back_as_text_is_no_call():
    whole = openai.ChatObject("m")
    whole.add(0, [ToolCallDelta(0, "call_1", "f", '{"a"'), TextDelta("<tool_call>f"), Finish("stop")])
    message = whole.body()["choices"][0]["message"]
    assert "tool_calls" not in message
    assert message["content"] == "<tool_call>f"


def test_a_call_that_needs_no_arguments_is_a_call():
    whole = openai.ChatObject("m")
    whole.add(0, [ToolCallDelta(0, "call_1", "f", ""), Finish("tool_calls")])
    (call,) = whole.body()["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "f", "arguments": "{}"}


EVENTS = st.one_of(
    st.text(max_size=3).map(TextDelta),
    st.text(max_size=3).map(ReasoningDelta),
    st.builds(lambda text: LogprobsDelta((TokenLogprob(1, text.encode(), -1.0),)), st.text(max_size=3)),
)


@given(st.lists(st.tuples(st.integers(0, 1), st.lists(EVENTS, max_size=4)), max_size=6))
def test_the_chunks_of_a_stream_add_up_to_the_whole_object(steps):
    steps = [*steps, (0, [Finish("stop")]), (1, [UsageUpdate(USAGE), Finish("length")])]
    whole = openai.ChatObject("m", 2, logprobs=True)
    for choice, events in steps:
        whole.add(choice, events)
    body = whole.body()
    streamed = chunks(steps, include_usage=True)
    for choice in body["choices"]:
        parts = [c for chunk in streamed for c in chunk["choices"] if c["index"] == choice["index"]]
        message = choice["message"]
        assert "".join(part["delta"].get("content", "") for part in parts) == message["content"]
        reasoning = "".join(part["delta"].get("reasoning_content", "") for part in parts)
        assert reasoning == message.get("reasoning_content", "")
        entries = [entry for part in parts if part["logprobs"] for entry in part["logprobs"]["content"]]
        assert entries == choice["logprobs"]["content"]
        assert [part["finish_reason"] for part in parts][-1] == choice["finish_reason"]
    assert streamed[-1]["usage"] == body["usage"]


def test_a_streamed_and_a_whole_completion_agree_down_to_the_offsets():
    tokens = [
        TokenLogprob(i, data, -1.0, ((i, data, -1.0),))
        for i, data in enumerate([b"a", b"\xc3", b"\xa9", b"b"])
    ]
    steps = [
        (0, [LogprobsDelta(tuple(tokens[:2])), TextDelta("a")]),
        (0, [LogprobsDelta(tuple(tokens[2:3])), TextDelta("é")]),
        (0, [LogprobsDelta(tuple(tokens[3:])), TextDelta("b"), UsageUpdate(USAGE), Finish("length")]),
    ]
    whole, stream = openai.CompletionObject("m", 1, logprobs=True), openai.CompletionChunks("m")
    parts = []
    for choice, events in steps:
        whole.add(choice, events)
        parts += [json.loads(chunk)["choices"][0] for chunk in frames(stream.encode(choice, events))]
    (choice,) = whole.body()["choices"]
    assert choice["text"] == "".join(part["text"] for part in parts) == "aéb"
    assert choice["logprobs"]["text_offset"] == [0, 1, 1, 2]
    assert [o for part in parts for o in part["logprobs"]["text_offset"]] == [0, 1, 1, 2]
    assert parts[-1]["finish_reason"] == choice["finish_reason"] == "length"


def test_the_first_token_of_an_echoed_prompt_has_no_logprob():
    whole = openai.CompletionObject("m", 1, logprobs=True)
    whole.add(0, [LogprobsDelta((TokenLogprob(1, b"a", None),)), TextDelta("a"), Finish("length")])
    logprobs = whole.body()["choices"][0]["logprobs"]
    assert (logprobs["token_logprobs"], logprobs["top_logprobs"]) == ([None], [None])


def test_the_chosen_token_is_among_the_likeliest_of_a_completion():
    """OpenAI: "there may be up to logprobs+1 elements"."""
    whole = openai.CompletionObject("m", 1, logprobs=True)
    token = TokenLogprob(7, b"rare", -9.0, ((1, b"a", -0.1), (2, b"b", -2.5)))
    whole.add(0, [LogprobsDelta((token,)), TextDelta("rare"), Finish("length")])
    logprobs = whole.body()["choices"][0]["logprobs"]
    assert logprobs["top_logprobs"] == [{"a": -0.1, "b": -2.5, "rare": -9.0}]


def test_embeddings_as_floats_and_as_base64_are_the_same_numbers():
    vectors = [array("f", [0.6, -0.8])]
    floats = openai.encode_embeddings(vectors, model="m", encoding="float", prompt_tokens=2)
    packed = openai.encode_embeddings(vectors, model="m", encoding="base64", prompt_tokens=2)
    data = base64.b64decode(packed["data"][0]["embedding"])
    assert list(struct.unpack("<2f", data)) == floats["data"][0]["embedding"]
    assert floats["usage"] == {"prompt_tokens": 2, "total_tokens": 2}


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (
            InvalidRequest("bad", param="n", code="invalid_value"),
            400,
            "invalid_request_error",
            "invalid_value",
        ),
        (ModelNotFound("no"), 404, "invalid_request_error", "model_not_found"),
        (PromptTooLong("long"), 400, "invalid_request_error", "context_length_exceeded"),
        (RequestTooLarge("big"), 413, "invalid_request_error", "request_too_large"),
        (Overloaded("full"), 503, "server_error", "overloaded"),
        (EngineFailure("broke"), 500, "server_error", "internal_error"),
        (CheckpointError("broke"), 500, "server_error", "internal_error"),
        (RuntimeError("secret /home/path"), 500, "server_error", "internal_error"),
    ],
)
def test_every_error_has_the_one_shape(error, status, kind, code):
    wire = openai.encode_error(error)
    assert wire.status == status
    assert list(wire.body) == ["error"]
    assert list(wire.body["error"]) == ["message", "type", "param", "code"]
    assert (wire.body["error"]["type"], wire.body["error"]["code"]) == (kind, code)
    assert "secret" not in wire.body["error"]["message"]
    assert ("retry-after" in wire.headers) == (status == 503)


def test_hints_reach_the_client():
    wire = openai.encode_error(InvalidRequest("top_p must be in (0, 1]", hint="use temperature 0"))
    assert "use temperature 0" in wire.body["error"]["message"]
