"""Every kind of failure as the class of exception that Zhipu's SDKs have for it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import httpx

from tests.sdk.zhipu import CODING, Sdk, ask, both

CHAT = "chat.completions.create"


def token(key: str, *, age_s: float = 0) -> str:
    """A signed token as the SDKs make them, of an earlier time."""
    key_id, secret = key.split(".")
    now = int((time.time() - age_s) * 1000)
    claims = {"api_key": key_id, "exp": now + 210_000, "timestamp": now}
    head = {"alg": "HS256", "sign_type": "SIGN"}
    signed = b".".join(encoded(json.dumps(part).encode()) for part in (head, claims))
    signature = hmac.digest(secret.encode(), signed, hashlib.sha256)
    return b".".join((signed, encoded(signature))).decode()


def encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def chat(client: Any, messages: list[dict[str, Any]] | None = None, **more: Any) -> Any:
    body = {"model": "glm", "messages": messages or ask(tokens=1), **more}
    return client.chat.completions.create(**body)


@both.works(CHAT)
def who_is_not_known_gets_an_authentication_error(sdk: Sdk) -> None:
    key_id, secret = sdk.world.key.split(".")
    chat(sdk.open(token(sdk.world.key)))
    for key, code in (
        (f"{key_id}.{'x' * len(secret)}", "1000"),
        (f"key_{'0' * 26}.{secret}", "1000"),
        ("nonsense", "1002"),
        ("a.b.c", "1002"),
        (token(sdk.world.key, age_s=600), "1003"),
        (token(f"{key_id}.another"), "1000"),
    ):
        with sdk.raises("APIAuthenticationError", code):
            chat(sdk.open(key))


@both.works(CHAT)
def what_is_wrong_with_a_request_is_a_failed_request(sdk: Sdk) -> None:
    for body, code in (
        ({"model": "nobody"}, "1211"),
        ({"extra_body": {"temperature": "hot"}}, "1214"),
        ({"extra_body": {"max_tokens": -1}}, "1214"),
        ({"messages": None}, "1213"),
        ({"messages": [{"role": "bird", "content": "x"}]}, "1214"),
        ({"tools": [{"type": "magic"}]}, "1214"),
        ({"messages": ask(status=400, message="the maximum context length is 9")}, "1261"),
        ({"tools": [{"type": "retrieval", "retrieval": {"knowledge_id": "kb_nobody"}}]}, "1233"),
    ):
        with sdk.raises("APIRequestFailedError", code):
            sdk.client.chat.completions.create(**{"model": "glm", "messages": ask(), **body})


@both.works(CHAT)
def a_request_id_that_was_used_is_refused_and_not_tried_again(sdk: Sdk) -> None:
    chat(sdk.client, request_id="twice-1")
    with counted() as sent, sdk.raises("APIRequestFailedError", "1231"):
        chat(sdk.open(http_client=sent.client, max_retries=3), request_id="twice-1")
    assert sent.number == 1


@both.works(CHAT)
def a_key_for_other_models_may_not(sdk: Sdk) -> None:
    with sdk.raises("APIRequestFailedError", "1220"):
        chat(sdk.open(sdk.world.narrow_key))


@both.works(CHAT)
def no_money_is_said_once_and_not_tried_again(sdk: Sdk) -> None:
    for key, base in ((sdk.world.poor_key, "/api/paas/v4"), (sdk.world.poor_key, CODING)):
        with counted() as sent, sdk.raises("APIReachLimitError", "1113") as caught:
            chat(sdk.open(key, base, http_client=sent.client, max_retries=3))
        assert sent.number == 1
        assert caught[0].response.headers["x-should-retry"] == "false"


@both.works(CHAT)
def too_many_requests_are_tried_again_and_say_when(sdk: Sdk) -> None:
    chat(sdk.open(sdk.world.limited_key))
    with counted() as sent, sdk.raises("APIReachLimitError", "1303") as caught:
        chat(sdk.open(sdk.world.limited_key, http_client=sent.client, max_retries=1))
    assert sent.number == 2
    assert 1 <= int(caught[0].response.headers["retry-after"]) <= 60


@both.works(CHAT)
def a_model_server_that_fails_or_is_busy_is_told_apart(sdk: Sdk) -> None:
    with sdk.raises("APIInternalError", "1234"):
        chat(sdk.client, ask(status=500))
    with sdk.raises("APIInternalError", "1234"):
        chat(sdk.client, ask(dies=0))
    with sdk.raises("APIReachLimitError", "1305"):
        chat(sdk.client, ask(status=503))


@both.works(CHAT)
def an_answer_that_breaks_off_is_an_error_in_its_stream_and_a_failed_whole_one(sdk: Sdk) -> None:
    stream = chat(sdk.lenient, ask(tokens=9, dies=3), stream=True)
    seen: list[str] = []
    with sdk.raises("APIResponseError", "1234"):
        seen.extend(chunk.choices[0].delta.content for chunk in stream)
    stream.response.close()  # left to the garbage collector, it can block the pool of connections for good
    assert "".join(seen) in ("", "w0 ", "w0 w1 ", "w0 w1 w2 ")
    with sdk.raises("APIInternalError", "1234"):
        chat(sdk.client, ask(tokens=9, dies=3))


@both.works(CHAT)
def a_base_url_that_is_wrong_is_told_what_is_not_there(sdk: Sdk) -> None:
    with sdk.raises("APIStatusError", "1222"):
        chat(sdk.open(base="/api/paas/v5"))


@contextmanager
def counted() -> Iterator[SimpleNamespace]:
    """An http client for the SDK, and the number of requests that went through it."""
    sent = SimpleNamespace(number=0)

    def count(request: httpx.Request) -> None:
        sent.number += 1

    with httpx.Client(event_hooks={"request": [count]}, timeout=60) as sent.client:
        yield sent
