"""POST /abort ends a running answer by its x-request-id; its stream ends in order, with the whole usage."""

import json
from urllib.request import Request, urlopen

import pytest

BODY = {
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 1900,
    "ignore_eos": True,
    "temperature": 0,
    "stream": True,
    "stream_options": {"include_usage": True, "continuous_usage_stats": True},
}


def post(url: str, path: str, body: dict, name: str = ""):
    return urlopen(Request(url + path, json.dumps(body).encode(), {"x-request-id": name or "other"}))


@pytest.mark.parametrize("n", [1, 3])
def test_an_aborted_stream_ends_with_its_usage(url, service, idle, n):
    with post(url, "/v1/chat/completions", {**BODY, "n": n}, "req-7") as stream:
        lines = [stream.readline()]
        while sum(b"content" in line for line in lines) < 4:
            lines.append(stream.readline())
        assert json.load(post(url, "/abort", {"request_id": "req-7"})) == {"aborted": True}
        lines += stream.readlines()
    chunks = [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
    assert lines[-2] == b"data: [DONE]\n"
    assert not any("error" in chunk for chunk in chunks)
    reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
    assert reasons.count("abort") == n
    usage = chunks[-1]["usage"]
    assert usage["prompt_tokens"] > 0
    assert 0 < usage["completion_tokens"] < 1900 * n
    idle()


def test_a_name_that_nothing_has_aborts_nothing(url):
    assert json.load(post(url, "/abort", {"request_id": "nobody"})) == {"aborted": False}
