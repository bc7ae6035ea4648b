"""Every kind of failure as the class of exception that the OpenAI client has for it."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.sdk.openai_sdk import Sdk, ask, raises, table

CREATE = "chat.completions.create"


def chat(client: openai.OpenAI, messages: Any = None, **more: Any) -> Any:
    turns = ask(tokens=1) if messages is None else messages
    return client.chat.completions.create(**{"model": "glm", "messages": turns, **more})


@table.works(CREATE)
def who_is_not_known_may_not_or_asks_for_nothing_known(sdk: Sdk) -> None:
    with raises(openai.AuthenticationError, "invalid_api_key"):
        chat(sdk.open("nonsense"))
    with raises(openai.AuthenticationError, "invalid_api_key"):
        chat(sdk.open(sdk.world.key[:-1] + ("a" if sdk.world.key[-1] != "a" else "b")))
    with raises(openai.PermissionDeniedError, "forbidden"):
        chat(sdk.open(sdk.world.narrow_key))
    with raises(openai.NotFoundError, "model_not_found"):
        chat(sdk.client, model="nobody")
    with raises(openai.NotFoundError, "model_not_found"):
        sdk.client.models.retrieve("nobody")


@table.works(CREATE)
def what_is_wrong_with_a_request_names_its_field(sdk: Sdk) -> None:
    too_long = ask(status=400, message="the maximum context length is 9")
    for body, code, param in (
        ({"temperature": 9}, "invalid_value", "temperature"),
        ({"messages": []}, "invalid_value", "messages"),
        ({"messages": [{"role": "bird", "content": "x"}]}, "invalid_value", "messages[0].role"),
        ({"tool_choice": "required"}, "invalid_value", "tool_choice"),
        ({"extra_body": {"functions": [{"name": "f"}]}}, "unsupported_field", "functions"),
        ({"messages": too_long}, "context_length_exceeded", None),
    ):
        with raises(openai.BadRequestError, code) as caught:
            chat(sdk.client, **body)
        assert caught.value.param == param
        assert caught.value.request_id.startswith("req_")


@table.works(CREATE)
def no_money_is_said_once_and_a_duplicate_too(sdk: Sdk) -> None:
    for key, code, error, more in (
        (sdk.world.poor_key, "insufficient_quota", openai.RateLimitError, {}),
        (
            sdk.world.key,
            "duplicate_request",
            openai.ConflictError,
            {"extra_headers": {"Idempotency-Key": "1"}},
        ),
    ):
        client = sdk.open(key, max_retries=3)
        sent = []
        client._client.event_hooks["request"].append(sent.append)
        with raises(error, code) as caught:
            chat(client, **more)
            chat(client, **more)
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert len(sent) == (1 if not more else 2)


@table.works(CREATE)
def a_limit_says_when_to_come_again(sdk: Sdk) -> None:
    client = sdk.open(sdk.world.limited_key)
    chat(client)
    with raises(openai.RateLimitError, "rate_limit_exceeded") as caught:
        chat(client)
    headers = caught.value.response.headers
    assert 0 < int(headers["retry-after-ms"]) <= 1000 * int(headers["retry-after"]) <= 60_000


@table.works(CREATE)
def a_model_server_that_fails_is_tried_again_and_then_told(sdk: Sdk) -> None:
    for script, code, status in (
        ({"status": 500}, "upstream_failure", 502),
        ({"dies": 0}, "upstream_failure", 502),
        ({"status": 503}, "overloaded", 503),
        ({"tokens": 9, "dies": 3}, "upstream_failure", 502),
    ):
        with raises(openai.InternalServerError, code) as caught:
            chat(sdk.client, ask(**script))
        assert caught.value.status_code == status


@table.works(CREATE, "responses.create")
def an_answer_that_breaks_off_is_an_error_in_its_stream(sdk: Sdk) -> None:
    broken = ask(tokens=9, dies=3)
    with (
        pytest.raises(openai.APIError, match="connection") as caught,
        chat(sdk.client, broken, stream=True) as stream,
    ):
        list(stream)
    assert caught.value.code == "upstream_failure"
    events = list(sdk.client.responses.create(model="glm", input='{"tokens": 9, "dies": 3}', stream=True))
    assert events[-1].type == "response.failed"
    assert events[-1].response.error.message
