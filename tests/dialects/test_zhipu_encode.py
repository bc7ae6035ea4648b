"""Events and errors in, Zhipu's objects, chunks and codes out."""

import json
import re
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openglm import errors
from openglm.dialects import zhipu
from openglm.dialects.openai.upstream import UpstreamEvents
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
CALL = [ToolCallDelta(0, "call_1", "f", '{"a"'), ToolCallDelta(0, arguments=": 1}")]
HITS = [{"title": "t", "link": "https://example.org", "refer": "ref_1"}]


def chunks(steps, **options):
    encoder = zhipu.ChatChunks("glm-4.6", **options)
    data = b"".join(encoder.encode(choice, events) for choice, events in steps) + encoder.end()
    *out, done, rest = data.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    return [json.loads(chunk.removeprefix(b"data: ")) for chunk in out]


def test_every_delta_says_who_speaks_and_the_last_chunk_carries_the_usage():
    first, second, last = chunks(
        [(0, [ReasoningDelta("r")]), (0, [TextDelta("a")]), (0, [UsageUpdate(USAGE), Finish("stop")])],
        request_id="mine",
    )
    assert {first["request_id"], second["request_id"], last["request_id"]} == {"mine"}
    assert first["id"] == last["id"]
    assert re.fullmatch(r"\d{14}[0-9a-f]{18}", first["id"])
    assert first["choices"] == [{"index": 0, "delta": {"role": "assistant", "reasoning_content": "r"}}]
    assert second["choices"][0]["delta"] == {"role": "assistant", "content": "a"}
    assert last["choices"][0] == {
        "index": 0,
        "delta": {"role": "assistant", "content": ""},
        "finish_reason": "stop",
    }
    assert last["usage"] == WIRE_USAGE
    assert "usage" not in first
    assert "usage" not in second


def test_a_usage_that_comes_after_the_end_is_still_in_the_last_chunk():
    *_, last = chunks([(0, [TextDelta("a"), Finish("length")]), (0, [UsageUpdate(USAGE)])])
    assert last["choices"][0]["finish_reason"] == "length"
    assert last["usage"] == WIRE_USAGE


def test_each_of_several_choices_ends_once_and_the_usage_comes_once():
    out = chunks([(0, [Finish("stop")]), (1, [TextDelta("b")]), (1, [UsageUpdate(USAGE), Finish("length")])])
    ends = [
        (c["index"], c["finish_reason"]) for chunk in out for c in chunk["choices"] if "finish_reason" in c
    ]
    assert ends == [(0, "stop"), (1, "length")]
    assert ["usage" in chunk for chunk in out] == [False, False, True]


def test_without_tool_stream_a_call_comes_whole_in_one_chunk():
    steps = [(0, [CALL[0]]), (0, [CALL[1]]), (0, [Finish("tool_calls")])]
    call, last = chunks(steps)
    assert call["choices"][0]["delta"]["tool_calls"] == [
        {
            "index": 0,
            "id": "call_1",
            "type": "function",
            "function": {"name": "f", "arguments": '{"a": 1}'},
        }
    ]
    assert last["choices"][0]["finish_reason"] == "tool_calls"


def test_with_tool_stream_a_call_comes_as_it_is_written():
    steps = [(0, [CALL[0]]), (0, [CALL[1]]), (0, [Finish("tool_calls")])]
    first, second, _ = chunks(steps, tool_stream=True)
    assert first["choices"][0]["delta"]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a"'}
    assert second["choices"][0]["delta"]["tool_calls"] == [{"index": 0, "function": {"arguments": ": 1}"}}]


def test_calls_that_grow_side_by_side_come_out_whole_and_in_order():
    steps = [
        (0, [ToolCallDelta(1, "b", "g", "{")]),
        (0, [ToolCallDelta(0, "a", "f", "")]),
        (0, [ToolCallDelta(1, arguments="}")]),
        (0, [Finish("tool_calls")]),
    ]
    call, _ = chunks(steps)
    made = [(c["id"], c["function"]["arguments"]) for c in call["choices"][0]["delta"]["tool_calls"]]
    assert made == [("a", "{}"), ("b", "{}")]


def test_a_call_that_broke_off_is_no_call():
    steps = [(0, [CALL[0]]), (0, [TextDelta("<tool_call>f"), Finish("stop")])]
    text, last = chunks(steps)
    assert text["choices"][0]["delta"]["content"] == "<tool_call>f"
    assert last["choices"][0]["finish_reason"] == "stop"


def test_a_failure_is_an_error_chunk_and_ends_the_stream_without_a_usage():
    text, broken = chunks([(0, [TextDelta("a"), Failure("it broke", retryable=True)])])
    assert text["choices"][0]["delta"]["content"] == "a"
    assert broken == {"error": {"code": "1305", "message": "it broke"}}


def test_an_error_in_the_middle_of_a_stream_has_its_code():
    encoder = zhipu.ChatChunks("m")
    frame = encoder.fail(errors.PaymentRequired("the wallet is empty"))
    assert json.loads(frame.removeprefix(b"data: "))["error"]["code"] == "1113"
    assert encoder.end() == b"data: [DONE]\n\n"


def test_hits_of_a_search_come_before_or_after_the_words_once():
    steps = [(0, [TextDelta("a")]), (0, [Finish("stop")])]
    after = chunks(steps, web_search=HITS)
    assert [chunk.get("web_search") for chunk in after] == [None, HITS]
    before = chunks(steps, web_search=HITS, results_first=True)
    assert [chunk.get("web_search") for chunk in before] == [HITS, None]


def test_a_whole_answer():
    whole = zhipu.ChatObject("glm-4.6", request_id="mine", web_search=HITS)
    whole.add(0, [ReasoningDelta("r"), TextDelta("a"), *CALL, UsageUpdate(USAGE), Finish("tool_calls")])
    body = whole.body()
    assert body["request_id"] == "mine"
    assert body["usage"] == WIRE_USAGE
    assert body["web_search"] == HITS
    (choice,) = body["choices"]
    assert choice == {
        "index": 0,
        "finish_reason": "tool_calls",
        "message": {
            "role": "assistant",
            "content": "a",
            "reasoning_content": "r",
            "tool_calls": [
                {
                    "index": 0,
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"a": 1}'},
                }
            ],
        },
    }


def test_an_answer_without_a_request_id_of_the_callers_has_its_own():
    body = zhipu.ChatObject("m").body()
    assert body["request_id"] == body["id"]


def test_a_whole_answer_tells_of_its_failure():
    whole = zhipu.ChatObject("m")
    assert whole.failure is None
    whole.add(0, [Failure("it broke")])
    assert whole.failure == Failure("it broke")


EVENTS = st.one_of(
    st.text(min_size=1, max_size=3).map(TextDelta),
    st.text(min_size=1, max_size=3).map(ReasoningDelta),
    st.builds(lambda text: LogprobsDelta((TokenLogprob(1, text.encode(), -1.0),)), st.text(max_size=3)),
    st.just(UsageUpdate(USAGE)),
)


@given(
    st.lists(st.tuples(st.integers(0, 1), st.lists(EVENTS, max_size=4)), max_size=6),
    st.booleans(),
)
def test_a_stream_and_the_whole_object_say_the_same(steps, tool_stream):
    """Read back as a client of OpenAI's wire would: the SDKs differ in names only."""
    call = [(0, [piece]) for piece in CALL]
    steps = [*steps, *call, (0, [Finish("tool_calls")]), (1, [UsageUpdate(USAGE), Finish("stop")])]
    whole, read = zhipu.ChatObject("m", 2), zhipu.ChatObject("m", 2)
    encoder, events = zhipu.ChatChunks("m", tool_stream=tool_stream), UpstreamEvents(2, counts_all=True)
    data = b""
    for choice, added in steps:
        whole.add(choice, added)
        data += encoder.encode(choice, added)
    for choice, added in events.feed(data + encoder.end()) + events.done():
        read.add(choice, added)
    ours, theirs = whole.body(), read.body()
    assert theirs["choices"] == ours["choices"]
    assert theirs["usage"] == ours["usage"]


RESETS = 1_790_000_000_000  # 2026-09-21 14:13:20 UTC


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.Unauthorized("no", reason="missing"), 401, "1001"),
        (errors.Unauthorized("no", reason="malformed"), 401, "1002"),
        (errors.Unauthorized("no", reason="expired"), 401, "1003"),
        (errors.Unauthorized("no", reason="rejected"), 401, "1000"),
        (errors.InvalidRequest("no", code="missing_field"), 400, "1213"),
        (errors.InvalidRequest("no", code="invalid_value"), 400, "1214"),
        (errors.InvalidRequest("no", code="unsupported_combination"), 400, "1215"),
        (errors.InvalidRequest("no", code="invalid_json"), 400, "1210"),
        (errors.ModelNotFound("no"), 400, "1211"),
        (errors.PromptTooLong("no"), 400, "1261"),
        (errors.RequestTooLarge("no"), 413, "1210"),
        (errors.Forbidden("no"), 400, "1220"),
        (errors.NotFound("no"), 400, "1233"),
        (errors.NotOffered("no"), 400, "1222"),
        (errors.DuplicateRequest("no"), 400, "1231"),
        (errors.Conflict("no"), 400, "1230"),
        (errors.UnsafeContent("no"), 400, "1301"),
        (errors.PaymentRequired("no"), 429, "1113"),
        (errors.BudgetExhausted("no"), 429, "1113"),
        (errors.PlanRefused("no", reason="5h"), 429, "1308"),
        (errors.PlanRefused("no", reason="week"), 429, "1310"),
        (errors.PlanRefused("no", reason="month"), 429, "1310"),
        (errors.PlanRefused("no", reason="expired"), 429, "1309"),
        (errors.PlanRefused("no", reason="none"), 429, "1113"),
        (errors.PlanRefused("no", reason="model"), 429, "1311"),
        (errors.RateLimited("no", kind="concurrency"), 429, "1302"),
        (errors.RateLimited("no", kind="requests"), 429, "1303"),
        (errors.RateLimited("no", kind="tokens"), 429, "1303"),
        (errors.Overloaded("no"), 429, "1305"),
        (errors.UpstreamFailure("no"), 500, "1234"),
        (errors.EngineFailure("no"), 500, "500"),
        (errors.CheckpointError("no"), 500, "500"),
        (errors.DownloadError("no"), 500, "500"),
        (RuntimeError("secret /home/path"), 500, "500"),
    ],
)
def test_every_error_has_its_published_code(error, status, code):
    wire = zhipu.encode_error(error)
    assert wire.status == status
    assert list(wire.body) == ["error"]
    assert wire.body["error"]["code"] == code
    assert list(wire.body["error"]) == ["code", "message"]
    assert "secret" not in wire.body["error"]["message"]


def test_clients_are_told_not_to_retry_what_only_money_or_time_can_mend():
    stubborn = [
        errors.PaymentRequired("no"),
        errors.BudgetExhausted("no"),
        errors.PlanRefused("no", reason="5h", resets_at_ms=RESETS),
    ]
    assert [zhipu.encode_error(error).headers["x-should-retry"] for error in stubborn] == ["false"] * 3
    waiting = zhipu.encode_error(errors.RateLimited("no", kind="concurrency", retry_after_s=2.5)).headers
    assert waiting == {"retry-after": "3", "retry-after-ms": "2500"}


def test_a_used_up_window_says_when_it_opens_again():
    wire = zhipu.encode_error(errors.PlanRefused("5 hours are used up", reason="5h", resets_at_ms=RESETS))
    assert "2026-09-21 22:13:20 (UTC+8)" in wire.body["error"]["message"]


def test_hints_reach_the_client():
    wire = zhipu.encode_error(errors.InvalidRequest("no", hint="try this"))
    assert "try this" in wire.body["error"]["message"]


def test_knowledge_routes_say_ok_with_the_failure_inside_and_in_a_header():
    wire = zhipu.encode_enveloped_error(errors.NotFound("no such base"))
    assert wire.status == 200
    assert (wire.body["code"], wire.body["message"], wire.body["data"]) == (1233, "no such base", None)
    assert wire.headers["x-openglm-error"] == "1233"
    assert zhipu.encode_enveloped_error(errors.Unauthorized("who?")).status == 401
    good = zhipu.envelope({"id": "kb1"})
    assert (good["code"], good["message"], good["data"]) == (200, "success", {"id": "kb1"})
    assert isinstance(good["timestamp"], int)


def test_tasks_show_their_answer_or_their_error_once_they_have_ended():
    head = {"id": "t1", "request_id": "r1", "model": "m"}
    assert zhipu.encode_task("t1", "r1", "m", "PROCESSING") == {**head, "task_status": "PROCESSING"}
    done = zhipu.encode_task("t1", "r1", "m", "SUCCESS", {"id": "other", "choices": []})
    assert done == {**head, "task_status": "SUCCESS", "choices": []}
    failed = zhipu.encode_task("t1", "r1", "m", "FAIL", {"error": {"code": "1214", "message": "no"}})
    assert failed == {**head, "task_status": "FAIL", "error": {"code": "1214", "message": "no"}}


def test_token_counts_embeddings_and_models_have_their_shapes():
    counted = zhipu.encode_tokenizer(5, request_id="r1", image_tokens=2)
    assert counted["request_id"] == "r1"
    assert counted["usage"] == {"prompt_tokens": 5, "image_tokens": 2, "video_tokens": 0, "total_tokens": 7}
    vectors = zhipu.encode_embeddings([array("f", [1.0, 0.5])], model="m", prompt_tokens=3)
    assert vectors["data"][0]["embedding"] == [1.0, 0.5]
    assert vectors["usage"] == {"prompt_tokens": 3, "total_tokens": 3, "completion_tokens": 0}
    listed = zhipu.encode_models(["a"], created={"a": 7})
    assert listed == {
        "object": "list",
        "data": [{"id": "a", "object": "model", "created": 7, "owned_by": "z-ai"}],
    }
