"""What each route answers to a sound request."""

import base64
import json
import struct
from collections.abc import Callable, Iterator

import httpx
import pytest

from openglm.asgi import Running
from openglm.asgi.page import create_page
from openglm.serve import Service, create_app

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


def post(client: httpx.Client, path: str, **body):
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def stream(client: httpx.Client, path: str, **body) -> list[dict]:
    """The chunks of a streamed answer, which must end as the dialect says."""
    response = client.post(path, json={**body, "stream": True})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    *lines, done = [line for line in response.text.split("\n\n") if line]
    assert done == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines if not line.startswith(":")]


def test_models_say_what_is_served_and_under_which_licence(client):
    (card,) = client.get("/v1/models").json()["data"]
    assert (card["id"], card["object"], card["licence"], card["source"]) == (
        "tiny",
        "model",
        "Apache-2.0",
        "test",
    )
    assert (card["max_model_len"], card["thinks"], card["sees_images"]) == (2048, False, False)
    assert card["owned_by"]
    assert client.get("/v1/models/tiny").json() == card
    missing = client.get("/v1/models/owner/other")
    assert missing.status_code == 404
    assert "tiny" in missing.json()["error"]["message"]


def test_every_answer_carries_a_request_id_the_clients_own_if_it_sent_one(client):
    assert client.post("/tokenize", json={"prompt": "a"}).headers["x-request-id"].startswith("req-")
    named = client.post("/tokenize", json={"prompt": "a"}, headers={"x-request-id": "mine-1"})
    assert named.headers["x-request-id"] == "mine-1"


def test_the_model_may_be_left_out(client):
    assert post(client, "/v1/chat/completions", messages=HELLO, max_tokens=1)["model"] == "tiny"


def joined(chunks: list[dict], index: int, read: Callable[[dict], str]) -> str:
    return "".join(read(c) for chunk in chunks for c in chunk["choices"] if c["index"] == index)


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0},
        {"seed": 11, "temperature": 1.5},
        {"seed": 5, "top_k": 20, "stop": ["a", "e", "zz"]},
        {"seed": 5, "stop_token_ids": list(range(97, 110))},
        {"seed": 3, "n": 3, "logprobs": True, "top_logprobs": 2},
        {"seed": 4, "response_format": {"type": "json_object"}},
        {"seed": 4, "min_tokens": 10, "ignore_eos": True, "repetition_penalty": 1.2, "presence_penalty": 0.5},
    ],
)
def test_a_streamed_chat_answer_equals_the_whole_one(client, fields):
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 40, **fields}
    whole = post(client, "/v1/chat/completions", **body)
    chunks = stream(client, "/v1/chat/completions", **body, stream_options={"include_usage": True})
    for choice in whole["choices"]:
        index = choice["index"]
        assert joined(chunks, index, lambda c: c["delta"].get("content", "")) == choice["message"]["content"]
        parts = [c for chunk in chunks for c in chunk["choices"] if c["index"] == index]
        assert [c["finish_reason"] for c in parts][-1] == choice["finish_reason"]
        if choice["logprobs"]:
            entries = [e for c in parts if c["logprobs"] for e in c["logprobs"]["content"]]
            assert [e["token"] for e in entries] == [e["token"] for e in choice["logprobs"]["content"]]
    counted = ("prompt_tokens", "completion_tokens", "total_tokens")
    assert {k: chunks[-1]["usage"][k] for k in counted} == {k: whole["usage"][k] for k in counted}


def test_the_choices_of_one_request_differ_and_the_first_is_what_n_1_gives(client):
    body = {"messages": HELLO, "max_tokens": 20, "seed": 9, "temperature": 2}
    many = [c["message"]["content"] for c in post(client, "/v1/chat/completions", **body, n=4)["choices"]]
    (one,) = [c["message"]["content"] for c in post(client, "/v1/chat/completions", **body)["choices"]]
    assert many[0] == one
    assert len(set(many)) > 1


def test_n_choices_count_their_prompt_once(client):
    body = {"messages": HELLO, "max_tokens": 5, "ignore_eos": True}
    one = post(client, "/v1/chat/completions", **body)["usage"]
    three = post(client, "/v1/chat/completions", **body, n=3)["usage"]
    assert three["prompt_tokens"] == one["prompt_tokens"]
    assert (one["completion_tokens"], three["completion_tokens"]) == (5, 15)


def test_continuous_usage_grows_chunk_by_chunk_to_the_final_one(client):
    chunks = stream(
        client,
        "/v1/chat/completions",
        messages=HELLO,
        max_tokens=12,
        temperature=0,
        ignore_eos=True,
        stream_options={"include_usage": True, "continuous_usage_stats": True},
    )
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts)
    assert counts[-1] == 12
    assert chunks[0]["usage"]["prompt_tokens"] == chunks[-1]["usage"]["prompt_tokens"] > 0


def test_a_second_request_reads_its_prompt_from_the_cache(client):
    body = {"messages": [{"role": "user", "content": "a long enough prompt " * 10}], "max_tokens": 1}
    post(client, "/v1/chat/completions", **body)
    usage = post(client, "/v1/chat/completions", **body)["usage"]
    assert 0 < usage["prompt_tokens_details"]["cached_tokens"] < usage["prompt_tokens"]
    salted = post(client, "/v1/chat/completions", **body, cache_salt="other")["usage"]
    assert salted["prompt_tokens_details"]["cached_tokens"] == 0


def test_logprobs_hold_one_entry_per_token_with_its_bytes(client):
    body = post(
        client,
        "/v1/chat/completions",
        messages=HELLO,
        max_tokens=8,
        temperature=0,
        logprobs=True,
        top_logprobs=3,
        ignore_eos=True,
    )
    entries = body["choices"][0]["logprobs"]["content"]
    assert len(entries) == body["usage"]["completion_tokens"] == 8
    for entry in entries:
        assert len(entry["top_logprobs"]) == 3
        assert entry["logprob"] == pytest.approx(entry["top_logprobs"][0]["logprob"])


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"n": {"enum": [1, 2]}},
                "required": ["n"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("count", "weigh")
]


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", {"count", "weigh"}),
        ({"type": "function", "function": {"name": "weigh"}}, {"weigh"}),
    ],
)
def test_a_required_call_comes_out_of_any_model_whole_and_streamed(client, choice, names):
    body = {
        "messages": HELLO,
        "tools": TOOLS,
        "tool_choice": choice,
        "parallel_tool_calls": False,
        "max_tokens": 500,
        "seed": 1,
    }
    whole = post(client, "/v1/chat/completions", **body)["choices"][0]
    assert whole["finish_reason"] == "tool_calls"
    (call,) = whole["message"]["tool_calls"]
    assert call["function"]["name"] in names
    assert json.loads(call["function"]["arguments"])["n"] in (1, 2)
    chunks = stream(client, "/v1/chat/completions", **body)
    deltas = [d for c in chunks for choice in c["choices"] for d in choice["delta"].get("tool_calls", [])]
    assert [d["function"]["name"] for d in deltas if "name" in d["function"]] == [call["function"]["name"]]
    arguments = "".join(d["function"]["arguments"] for d in deltas)
    assert arguments == call["function"]["arguments"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_tool_choice_none_hides_the_tools(client):
    plain = post(client, "/v1/chat/completions", messages=HELLO, max_tokens=1)["usage"]
    hidden = post(
        client, "/v1/chat/completions", messages=HELLO, max_tokens=1, tools=TOOLS, tool_choice="none"
    )["usage"]
    assert hidden["prompt_tokens"] == plain["prompt_tokens"]


SCHEMA = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "blue"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["colour", "count"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("fields", "check"),
    [
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
            lambda text: set(json.loads(text)) == {"colour", "count"},
        ),
        ({"guided_regex": "[ab]{5}"}, lambda text: len(text) == 5 and set(text) <= {"a", "b"}),
        ({"guided_choice": ["yes", 'n"o']}, lambda text: text in ("yes", 'n"o')),
        ({"structured_outputs": {"grammar": 'start: "x" "y"+ "z"'}}, lambda text: text.strip("xyz") == ""),
        (
            {"response_format": {"type": "regex", "regex": "(one|two)!"}},
            lambda text: text in ("one!", "two!"),
        ),
    ],
)
def test_a_constrained_answer_follows_its_constraint(client, fields, check):
    body = {"messages": HELLO, "max_tokens": 300, "seed": 2}
    choice = post(client, "/v1/chat/completions", **body, **fields)["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert check(choice["message"]["content"])


def test_completions_take_text_ids_and_lists_of_either(client):
    body = {"max_tokens": 6, "temperature": 0, "ignore_eos": True}
    text = post(client, "/v1/completions", prompt="ab", **body)["choices"][0]["text"]
    ids = post(client, "/v1/completions", prompt=[97, 98], **body)["choices"][0]["text"]
    many = post(client, "/v1/completions", prompt=["ab", "cd"], n=2, **body)
    assert text == ids == many["choices"][0]["text"]
    assert [choice["index"] for choice in many["choices"]] == [0, 1, 2, 3]
    assert many["usage"]["prompt_tokens"] == 4
    assert many["usage"]["completion_tokens"] == 24


def test_a_streamed_completion_equals_the_whole_one(client):
    body = {"prompt": ["ab", [97]], "max_tokens": 30, "seed": 6, "n": 2, "logprobs": 2, "stop": "e"}
    whole = post(client, "/v1/completions", **body)
    chunks = stream(client, "/v1/completions", **body, stream_options={"include_usage": True})
    for choice in whole["choices"]:
        index = choice["index"]
        assert joined(chunks, index, lambda c: c["text"]) == choice["text"]
        parts = [c for chunk in chunks for c in chunk["choices"] if c["index"] == index]
        offsets = [o for c in parts if c["logprobs"] for o in c["logprobs"]["text_offset"]]
        assert offsets == choice["logprobs"]["text_offset"]
        assert parts[-1]["finish_reason"] == choice["finish_reason"]
    assert chunks[-1]["usage"] == whole["usage"]


def test_echo_with_logprobs_scores_the_prompt(client):
    choice = post(client, "/v1/completions", prompt="hello", max_tokens=0, echo=True, logprobs=1)["choices"][
        0
    ]
    assert choice["text"] == "hello"
    assert choice["logprobs"]["tokens"] == list("hello")
    assert choice["logprobs"]["token_logprobs"][0] is None
    assert all(logprob < 0 for logprob in choice["logprobs"]["token_logprobs"][1:])
    assert choice["logprobs"]["text_offset"] == [0, 1, 2, 3, 4]
    more = post(
        client, "/v1/completions", prompt="hello", max_tokens=3, echo=True, logprobs=1, ignore_eos=True
    )
    assert more["choices"][0]["text"].startswith("hello")
    assert len(more["choices"][0]["logprobs"]["tokens"]) == 8


def test_suffix_fills_in_the_middle(client):
    body = {"max_tokens": 5, "temperature": 0, "ignore_eos": True}
    filled = post(client, "/v1/completions", prompt="ab", suffix="cd", **body)
    by_hand = post(client, "/v1/completions", prompt=[263, 97, 98, 265, 99, 100, 264], **body)
    assert filled["choices"][0]["text"] == by_hand["choices"][0]["text"]


def test_embeddings_have_length_one_in_both_encodings(client):
    body = {"model": "tiny", "input": ["hello", "a much longer text", [97, 98]]}
    floats = post(client, "/v1/embeddings", **body)
    packed = post(client, "/v1/embeddings", **body, encoding_format="base64")
    assert floats["usage"]["prompt_tokens"] == 5 + 18 + 2
    for plain, coded in zip(floats["data"], packed["data"], strict=True):
        vector = plain["embedding"]
        assert len(vector) == 32
        assert sum(x * x for x in vector) == pytest.approx(1, abs=1e-5)
        assert list(struct.unpack("<32f", base64.b64decode(coded["embedding"]))) == pytest.approx(
            vector, abs=1e-5
        )


def test_shortened_embeddings_are_rescaled(client):
    whole = post(client, "/v1/embeddings", input="hello")["data"][0]["embedding"][:4]
    short = post(client, "/v1/embeddings", input="hello", dimensions=4)["data"][0]["embedding"]
    length = sum(x * x for x in whole) ** 0.5
    assert short == pytest.approx([x / length for x in whole], abs=1e-5)


def test_tokenize_and_detokenize_are_inverse(client):
    body = post(client, "/tokenize", prompt="hé 中", return_token_strs=True)
    assert body["count"] == len(body["tokens"]) == 7
    assert body["max_model_len"] == 2048
    assert body["token_strs"][0] == "h"
    assert post(client, "/detokenize", tokens=body["tokens"]) == {"prompt": "hé 中"}


def test_tokenize_of_messages_counts_what_chat_would(client):
    count = post(client, "/tokenize", messages=HELLO)["count"]
    usage = post(client, "/v1/chat/completions", messages=HELLO, max_tokens=1)["usage"]
    assert count == usage["prompt_tokens"]
    closed = post(client, "/tokenize", messages=HELLO, add_generation_prompt=False)["count"]
    assert closed < count


def test_metrics_count_requests_and_tokens(client):
    def value(name: str) -> float:
        lines = client.get("/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith(name + " ")).split()[-1])

    before = value("openglm_output_tokens_total")
    post(client, "/v1/chat/completions", messages=HELLO, max_tokens=7, ignore_eos=True)
    assert value("openglm_output_tokens_total") - before == 7
    assert value("openglm_engine_running") == 0
    assert value("openglm_first_token_seconds_count") > 0
    assert value("openglm_engine_blocks_total") > 0


def test_cors_is_off_unless_asked_for(client, service: Service):
    preflight = {"origin": "https://a.example", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in client.get("/health", headers=preflight).headers
    with Running(create_app(service, cors_origins=("https://a.example",))) as open_url:
        answer = httpx.options(open_url + "/v1/chat/completions", headers=preflight)
        assert answer.headers["access-control-allow-origin"] == "https://a.example"


def test_the_page_comes_with_a_strict_policy_and_cached_assets(service: Service, tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>x</title>")
    (tmp_path / "assets" / "a-1234.js").write_text("1")
    with Running(create_app(service, page=True, static=tmp_path)) as page_url:
        page = httpx.get(page_url)
        script = httpx.get(page_url + "/assets/a-1234.js")
        lost = httpx.get(page_url + "/assets/none.js")
        assert httpx.get(page_url + "/v1/models").status_code == 200
        assert httpx.get(page_url + "/../../etc/passwd").status_code == 404
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["cache-control"] == "no-cache"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "immutable" in script.headers["cache-control"]
    assert lost.status_code == 404
    assert lost.json()["error"]["code"] == "unknown_route"


def test_a_page_that_is_not_built_says_how_to_build_it(service: Service, tmp_path):
    assert create_page(tmp_path)
    with Running(create_app(service, page=True, static=tmp_path)) as page_url:
        answer = httpx.get(page_url)
    assert answer.status_code == 404
    assert "web/build.sh" in answer.text


def test_health_says_when_the_engine_has_stopped(open_service):
    service = open_service(max_context=64, cache_tokens=64)
    with Running(create_app(service)) as url:
        assert httpx.get(url + "/health").status_code == 200
        service.engine.close()
        response = httpx.get(url + "/health")
    assert (response.status_code, response.json()) == (503, {"status": "failed"})
