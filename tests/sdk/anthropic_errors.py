"""Every kind of failure as the class of exception that the Anthropic client has for it."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

from tests.sdk.anthropic_sdk import Sdk, ask, raises, table

CREATE = "messages.create"


def create(client: anthropic.Anthropic, messages: Any = None, **more: Any) -> Any:
    body = {"model": "glm", "max_tokens": 9, "messages": messages or ask(tokens=1), **more}
    return client.messages.create(**body)


@table.works(CREATE)
def who_is_not_known_may_not_or_asks_for_nothing_known(sdk: Sdk) -> None:
    with raises(anthropic.AuthenticationError, "authentication_error"):
        create(sdk.open("nonsense"))
    with raises(anthropic.PermissionDeniedError, "permission_error"):
        create(sdk.open(sdk.world.narrow_key))
    with raises(anthropic.NotFoundError, "not_found_error") as caught:
        create(sdk.client, model="nobody")
    assert caught.value.request_id == caught.value.body["request_id"]
    with raises(anthropic.NotFoundError, "not_found_error"):
        sdk.client.models.retrieve("nobody")


@table.works(CREATE)
def what_is_wrong_with_a_request_is_a_bad_request(sdk: Sdk) -> None:
    too_long = ask(status=400, message="the maximum context length is 9")
    for body, words in (
        ({"extra_body": {"temperature": 9}}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": [{"role": "bird", "content": "x"}]}, r"messages\[0\].role"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, r"tools\[0\].type"),
        ({"messages": too_long}, "prompt is too long"),  # the words that agents wait for
    ):
        with raises(anthropic.BadRequestError, "invalid_request_error") as caught:
            create(sdk.client, **body)
        assert caught.match(words)


@table.works(CREATE)
def no_money_is_said_once_and_not_tried_again(sdk: Sdk) -> None:
    client = sdk.open(sdk.world.poor_key, max_retries=3)
    sent: list[Any] = []
    client._client.event_hooks["request"].append(sent.append)
    with raises(anthropic.PaymentRequiredError, "billing_error") as caught:
        create(client)
    assert caught.value.status_code == 402
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert len(sent) == 1


@table.works(CREATE)
def a_limit_says_when_to_come_again(sdk: Sdk) -> None:
    client = sdk.open(sdk.world.limited_key)
    create(client)
    with raises(anthropic.RateLimitError, "rate_limit_error") as caught:
        create(client)
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60


@table.works(CREATE)
def a_model_server_that_fails_or_is_busy_is_told_apart(sdk: Sdk) -> None:
    for script in ({"status": 500}, {"dies": 0}, {"tokens": 9, "dies": 3}):
        with raises(anthropic.InternalServerError, "api_error"):
            create(sdk.client, ask(**script))
    with raises(anthropic.OverloadedError, "overloaded_error"):
        create(sdk.client, ask(status=503))


@table.works(CREATE, "messages.stream")
def an_answer_that_breaks_off_is_an_error_in_its_stream(sdk: Sdk) -> None:
    with (
        pytest.raises(anthropic.APIStatusError) as caught,
        sdk.client.messages.stream(model="glm", max_tokens=64, messages=ask(tokens=9, dies=4)) as stream,
    ):
        stream.until_done()
    assert caught.value.type == "api_error"
