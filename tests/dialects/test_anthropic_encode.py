"""Events in, Anthropic's stream and message object out, in the one order that its SDKs accept."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message as WireMessage
from anthropic.types import RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from openglm import errors
from openglm.dialects import anthropic
from openglm.messages import (
    Event,
    Failure,
    Finish,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)

KEY = b"k" * 32
USAGE = Usage(input_uncached=3, cache_read=4, cache_write=1, output_text=5, output_reasoning=6)
WIRE_USAGE = {
    "input_tokens": 3,
    "cache_creation_input_tokens": 1,
    "cache_read_input_tokens": 4,
    "output_tokens": 11,
    "output_tokens_details": {"thinking_tokens": 6},
}
THINK, SAY, CALL = ReasoningDelta, TextDelta, ToolCallDelta
adapter = TypeAdapter(RawMessageStreamEvent)


def stream(*steps: list[Event]) -> list[dict]:
    chunks = anthropic.MessageChunks("glm", KEY, request_id="req_1")
    return frames(b"".join(chunks.encode(0, step) for step in steps) + chunks.end())


def frames(data: bytes) -> list[dict]:
    *events, rest = data.split(b"\n\n")
    assert rest == b""
    found = []
    for event in events:
        name, body = event.split(b"\n")
        value = json.loads(body.removeprefix(b"data: "))
        assert name == b"event: " + value["type"].encode()
        found.append(value)
    return found


def whole(*steps: list[Event]) -> dict:
    answer = anthropic.MessageObject("glm", KEY)
    for step in steps:
        answer.add(0, step)
    return answer.body()


def accumulated(events: list[dict]) -> dict:
    """What the official SDK makes of a stream."""
    snapshot, buffers = None, {}
    for event in events:
        snapshot = accumulate_event(
            event=adapter.validate_python(event), current_snapshot=snapshot, json_bufs=buffers
        )
    assert snapshot is not None
    return snapshot.model_dump(exclude_none=True)


def test_the_order_of_a_stream_and_what_each_event_carries():
    events = stream(
        [UsageUpdate(Usage(3, 4, 1, 0, 1)), THINK("so")],
        [UsageUpdate(USAGE), SAY("it "), SAY("is")],
        [CALL(0, "t1", "f", '{"a":'), CALL(0, arguments="1}")],
        [Finish("tool_calls")],
    )
    start = events[0]["message"]
    assert start.pop("id").startswith("msg_")
    assert start == {
        "type": "message",
        "role": "assistant",
        "model": "glm",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**WIRE_USAGE, "output_tokens": 1, "output_tokens_details": {"thinking_tokens": 1}},
    }
    sign = anthropic.sign(KEY, "so")
    assert events[1:] == [
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "thinking", "thinking": "", "signature": ""},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "so"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": sign}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "it is"}},
        {"type": "content_block_stop", "index": 1},
        {
            "type": "content_block_start",
            "index": 2,
            "content_block": {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
        },
        {
            "type": "content_block_delta",
            "index": 2,
            "delta": {"type": "input_json_delta", "partial_json": '{"a":1}'},
        },
        {"type": "content_block_stop", "index": 2},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": WIRE_USAGE,
        },
        {"type": "message_stop"},
    ]


def test_a_count_that_comes_first_starts_the_message_and_one_that_comes_last_is_told_at_the_end():
    chunks = anthropic.MessageChunks("glm", KEY)
    assert frames(chunks.encode(0, [UsageUpdate(USAGE)]))[0]["message"]["usage"] == WIRE_USAGE
    late = stream([SAY("a"), Finish("stop")], [UsageUpdate(USAGE)])
    assert late[0]["message"]["usage"]["input_tokens"] == 0
    assert late[-2]["usage"] == WIRE_USAGE
    silent = stream([Finish("stop")], [UsageUpdate(USAGE)])
    assert silent[0]["message"]["usage"] == WIRE_USAGE


def test_an_answer_without_a_word_is_whole():
    assert [event["type"] for event in stream()] == ["message_start", "message_delta", "message_stop"]
    assert whole()["content"] == []


@pytest.mark.parametrize(
    ("events", "reason", "sequence"),
    [
        ([SAY("a"), Finish("stop")], "end_turn", None),
        ([SAY("a"), Finish("stop", 151336)], "end_turn", None),
        ([SAY("a"), Finish("stop", "END")], "stop_sequence", "END"),
        ([SAY("a"), Finish("length")], "max_tokens", None),
        ([CALL(0, "t", "f", "{}"), Finish("tool_calls")], "tool_use", None),
        ([CALL(0, "t", "f", ""), Finish("stop")], "tool_use", None),
        ([CALL(0, "t", "f", '{"a'), Finish("tool_calls")], "end_turn", None),
        ([CALL(0, "t", "f", '{"a'), Finish("length")], "max_tokens", None),
    ],
)
def test_why_an_answer_ended(events, reason, sequence):
    ends = [whole(events), stream(events)[-2]["delta"]]
    assert [(end["stop_reason"], end["stop_sequence"]) for end in ends] == [(reason, sequence)] * 2


def test_a_whole_answer():
    body = whole(
        [UsageUpdate(USAGE), THINK("so"), SAY("x"), CALL(0, None, "f", '{"a":1}'), Finish("tool_calls")]
    )
    assert WireMessage.model_validate(body).usage.cache_read_input_tokens == 4
    assert body["usage"] == WIRE_USAGE
    thought, text, call = body["content"]
    assert thought == {"type": "thinking", "thinking": "so", "signature": anthropic.sign(KEY, "so")}
    assert text == {"type": "text", "text": "x"}
    assert call.pop("id").startswith("toolu_")
    assert call == {"type": "tool_use", "name": "f", "input": {"a": 1}}


def test_a_call_that_broke_off_is_left_out_of_a_whole_answer():
    assert whole([CALL(0, "t", "f", '{"a'), Finish("length")])["content"] == []


def test_a_failure_in_the_middle_is_an_error_event_and_the_last_word():
    chunks = anthropic.MessageChunks("glm", KEY, request_id="req_1")
    data = chunks.encode(0, [SAY("a")]) + chunks.encode(0, [Failure("gone", retryable=True)])
    data += chunks.encode(0, [SAY("b")]) + chunks.fail(ValueError()) + chunks.end()
    *_, last = frames(data)
    assert last == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "gone"},
        "request_id": "req_1",
    }
    assert "b" not in data.decode().split("event: error")[1]
    first = anthropic.MessageChunks("glm", KEY).encode(0, [Failure("gone")])
    assert [event["type"] for event in frames(first)] == ["error"]


def test_an_answer_that_was_aborted_is_no_answer():
    assert stream([SAY("a"), Finish("abort")])[-1]["type"] == "error"
    answer = anthropic.MessageObject("glm", KEY)
    answer.add(0, [SAY("a"), Finish("abort")])
    assert answer.failure is not None


def test_a_refused_answer_ends_in_order():
    chunks = anthropic.MessageChunks("glm", KEY)
    data = chunks.encode(0, [SAY("a")]) + chunks.fail(errors.UnsafeContent("no")) + chunks.end()
    events = frames(data)
    assert [event["type"] for event in events][-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert events[-2]["delta"]["stop_reason"] == "refusal"


texts = st.text(alphabet="ab \n", max_size=3)
pieces = st.one_of(
    st.builds(THINK, texts),
    st.builds(SAY, texts),
    st.builds(UsageUpdate, st.just(USAGE)),
    st.sampled_from([CALL(0, "t0", "f", "{}"), CALL(1, "t1", "g", '{"x":1}'), CALL(2, "t2", "h")]),
)


@given(st.lists(pieces, max_size=12), st.data())
def test_the_sdk_reads_a_stream_as_the_whole_answer_however_it_is_cut(answer, data):
    answer = [*dict.fromkeys(answer), Finish("stop")]  # no call twice
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=5)))
    bounds = [0, *cuts, len(answer)]
    read = accumulated(stream(*(answer[a:b] for a, b in pairwise(bounds))))
    made = WireMessage.model_validate(whole(answer)).model_dump(exclude_none=True)
    assert {**read, "id": ""} == {**made, "id": ""}


@pytest.mark.parametrize(
    ("error", "status", "kind", "headers"),
    [
        (errors.InvalidRequest("no"), 400, "invalid_request_error", {}),
        (errors.ModelNotFound("no"), 404, "not_found_error", {}),
        (errors.PromptTooLong("no"), 400, "invalid_request_error", {}),
        (errors.RequestTooLarge("no"), 413, "request_too_large", {}),
        (errors.Unauthorized("no"), 401, "authentication_error", {}),
        (errors.Forbidden("no"), 403, "permission_error", {}),
        (errors.NotFound("no"), 404, "not_found_error", {}),
        (errors.NotOffered("no"), 404, "not_found_error", {}),
        (errors.DuplicateRequest("no"), 409, "invalid_request_error", {"x-should-retry": "false"}),
        (errors.UnsafeContent("no"), 400, "invalid_request_error", {}),
        (errors.PaymentRequired("no"), 402, "billing_error", {"x-should-retry": "false"}),
        (errors.BudgetExhausted("no"), 429, "rate_limit_error", {"x-should-retry": "false"}),
        (errors.PlanRefused("no", reason="week"), 429, "rate_limit_error", {"x-should-retry": "false"}),
        (errors.PlanRefused("no", reason="expired"), 402, "billing_error", {"x-should-retry": "false"}),
        (
            errors.RateLimited("no", kind="requests", retry_after_s=2),
            429,
            "rate_limit_error",
            {"retry-after": "2", "retry-after-ms": "2000"},
        ),
        (errors.UpstreamFailure("no"), 502, "api_error", {}),
        (errors.Overloaded("no"), 529, "overloaded_error", {"retry-after": "1", "retry-after-ms": "1000"}),
        (errors.EngineFailure("no"), 500, "api_error", {}),
        (errors.CheckpointError("no"), 500, "api_error", {}),
        (ValueError("a secret"), 500, "api_error", {}),
    ],
)
def test_every_error_has_its_status_and_type(error, status, kind, headers):
    wire = anthropic.encode_error(error, "req_1")
    assert (wire.status, wire.headers) == (status, headers)
    assert wire.body["type"] == "error"
    assert wire.body["request_id"] == "req_1"
    assert wire.body["error"]["type"] == kind
    assert "secret" not in wire.body["error"]["message"]


@pytest.mark.parametrize(
    ("error", "opening"),
    [
        (errors.PromptTooLong("9 tokens, 8 fit"), "prompt is too long: 9 tokens"),
        (errors.InvalidRequest("no", code="image_not_supported"), "could not process image: no"),
        (errors.InvalidRequest("no", code="document_not_supported"), "could not process PDF: no"),
        (errors.InvalidRequest("no", code="invalid_signature"), "invalid signature in thinking block: no"),
    ],
)
def test_what_agents_can_mend_is_told_in_the_words_that_they_know(error, opening):
    error.hint = "mend it"
    message = anthropic.encode_error(error).body["error"]["message"]
    assert message.startswith(opening)
    assert message.endswith(" (hint: mend it)")


def test_numbers_of_a_prompt_that_is_too_long_are_told_as_agents_read_them():
    def said(**numbers: int) -> str:
        return anthropic.encode_error(errors.PromptTooLong("no", **numbers)).body["error"]["message"]

    assert said(prompt=9, wanted=3, limit=8) == "prompt is too long: 9 tokens > 8 maximum"
    assert (
        said(prompt=5, wanted=4, limit=8) == "input length and `max_tokens` exceed context limit: 5 + 4 > 8"
    )
    assert said(limit=8) == "prompt is too long: no"


def test_pages_of_models():
    names = [f"m{number}" for number in range(5)]

    def page(**query: str) -> tuple[list[str], bool]:
        body = anthropic.encode_models(names, query)
        assert body["first_id"] == (body["data"][0]["id"] if body["data"] else None)
        return [model["id"] for model in body["data"]], body["has_more"]

    assert page() == (names, False)
    assert page(limit="2") == (["m0", "m1"], True)
    assert page(limit="2", after_id="m1") == (["m2", "m3"], True)
    assert page(limit="2", after_id="m3") == (["m4"], False)
    assert page(limit="2", before_id="m3") == (["m1", "m2"], True)
    assert page(limit="9", before_id="m1") == (["m0"], False)
    assert page(after_id="m4") == ([], False)
    for wrong in ({"limit": "0"}, {"limit": "x"}, {"limit": "1001"}, {"after_id": "zzz"}):
        with pytest.raises(errors.InvalidRequest):
            anthropic.encode_models(names, wrong)
