"""Responses as the official client and Codex use them: strict events, tools, conversations, background."""

from __future__ import annotations

import asyncio
import base64
import json
import threading

import httpx
import openai
import pytest

from openglm.maas.quotas.quotas import Limit
from tests.maas.gateway.conftest import House

TOOL = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}}
CALL = {"id": "call_1", "name": "add", "arguments": '{"a": 1}'}


@pytest.fixture
def client(house: House) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{house.url}/v1", api_key=house.key, max_retries=0)


def test_a_whole_response_has_reasoning_words_and_usage(client):
    answer = client.responses.create(model="glm", input='{"tokens": 4, "reasoning": 2, "prompt": 9}')
    assert answer.output_text == "w2 w3 "
    assert [item.type for item in answer.output] == ["reasoning", "message"]
    assert answer.output[0].summary[0].text == "w0 w1 "
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (9, 4)
    assert answer.usage.output_tokens_details.reasoning_tokens == 2
    assert answer.status == "completed"


def test_a_stream_comes_in_the_strict_order_and_ends_with_the_whole_response(client):
    script = json.dumps({"tokens": 2, "reasoning": 1, "calls": [CALL]})
    events = list(client.responses.create(model="glm", input=script, tools=[TOOL], stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = []
    for event in events:
        if not kinds or kinds[-1] != event.type:
            kinds.append(event.type)
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert events[-1].response.output == done
    assert done[-1].arguments == '{"a": 1}'


def test_the_clients_stream_helper_gathers_the_answer(client):
    with client.responses.stream(model="glm", input='{"tokens": 3}') as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_text == "w0 w1 w2 "


def test_a_conversation_goes_on_from_a_kept_response(client, house: House):
    first = client.responses.create(
        model="glm", instructions="Be brief.", input=json.dumps({"calls": [CALL], "tokens": 1}), tools=[TOOL]
    )
    output = {"type": "function_call_output", "call_id": "call_1", "output": "2"}
    second = client.responses.create(
        model="glm", input=[output, {"role": "user", "content": "go on"}], previous_response_id=first.id
    )
    turns = house.upstream.bodies[-1]["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "tool", "user"]
    assert turns[1]["tool_calls"][0]["id"] == "call_1"
    assert turns[2]["content"] == "2"
    assert client.responses.retrieve(second.id).output_text == second.output_text
    assert len(client.responses.input_items.list(second.id).data) == 5
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="glm", input="more", previous_response_id=second.id)


@pytest.mark.parametrize("script", ['{"tokens": 2}', '{"tokens": 0, "usage": "never"}'])
def test_who_goes_on_as_soon_as_a_stream_says_it_is_completed_finds_it(client, house: House, script):
    with httpx.Client(timeout=60, headers={"authorization": f"Bearer {house.key}"}) as other:
        other.get(f"{house.url}/health")  # its connection is open
        for _ in range(20):
            for event in client.responses.create(model="glm", input=script, stream=True):
                if event.type != "response.completed":
                    continue
                again = {"model": "glm", "input": "go on", "previous_response_id": event.response.id}
                assert other.post(f"{house.url}/v1/responses", json=again).status_code == 200
                kept = other.get(f"{house.url}/v1/responses/{event.response.id}").json()
                assert kept == event.response.to_dict(mode="json")


def test_an_agent_that_keeps_nothing_here_brings_its_reasoning_back(client, house: House):
    asked = {"type": "message", "role": "user", "content": '{"tokens": 2, "reasoning": 1}'}
    first = client.responses.create(
        model="glm", input=[asked], store=False, include=["reasoning.encrypted_content"]
    )
    token = first.output[0].encrypted_content
    assert b"w0 " not in base64.urlsafe_b64decode(token)
    told = [item.model_dump(exclude_none=True) for item in first.output]
    told[0]["summary"] = []
    client.responses.create(model="glm", input=[asked, *told, {"role": "user", "content": "hi"}], store=False)
    assert house.upstream.bodies[-1]["messages"][1]["reasoning_content"] == "w0 "
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_codex_tools_work_and_what_is_hosted_elsewhere_is_named_in_a_header(client, house: House):
    patch = {"type": "custom", "name": "apply_patch", "format": {"type": "text"}}
    call = {"id": "call_9", "name": "apply_patch", "arguments": json.dumps({"input": "*** Begin"})}
    answer = client.responses.with_raw_response.create(
        model="glm", input=json.dumps({"calls": [call], "tokens": 0}), tools=[patch, {"type": "web_search"}]
    )
    assert answer.headers["x-openglm-ignored-tools"] == "web_search"
    (item,) = answer.parse().output
    assert (item.type, item.name, item.input) == ("custom_tool_call", "apply_patch", "*** Begin")
    result = {"type": "custom_tool_call_output", "call_id": "call_9", "output": "done"}
    asked = {"role": "user", "content": "go"}
    client.responses.create(model="glm", input=[asked, item.model_dump(), result, asked], tools=[patch])
    turns = house.upstream.bodies[-1]["messages"]
    assert json.loads(turns[1]["tool_calls"][0]["function"]["arguments"]) == {"input": "*** Begin"}


def test_tools_in_namespaces_are_single_names_to_the_model_and_two_words_to_the_client(client, house: House):
    patch = {"type": "custom", "name": "patch", "description": "Patches."}
    space = {"type": "namespace", "name": "mail", "description": "Letters.", "tools": [TOOL, patch]}
    calls = [
        {"id": "call_1", "name": "mail__add", "arguments": "{}"},
        {"id": "call_2", "name": "mail__patch", "arguments": '{"input": "x"}'},
    ]
    script = json.dumps({"calls": calls, "tokens": 0})
    answer = client.responses.with_raw_response.create(model="glm", input=script, tools=[space])
    assert "x-openglm-ignored-tools" not in answer.headers
    items = answer.parse().output
    assert [(item.type, item.namespace, item.name) for item in items] == [
        ("function_call", "mail", "add"),
        ("custom_tool_call", "mail", "patch"),
    ]
    told = [(tool["function"]["name"], tool["function"]["description"]) for tool in _sent_tools(house)]
    assert told == [("mail__add", "Letters."), ("mail__patch", "Patches.")]
    streamed = client.responses.create(model="glm", input=script, tools=[space], stream=True)
    kept = {"id", "status"}
    done = [event.item for event in streamed if event.type == "response.output_item.done"]
    assert [item.to_dict().keys() - kept for item in done] == [item.to_dict().keys() - kept for item in items]
    results = [
        {"type": "function_call_output", "call_id": "call_1", "output": "1"},
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "2"},
    ]
    asked = {"role": "user", "content": "go"}
    client.responses.create(
        model="glm",
        input=[asked, *(item.to_dict() for item in items), *results],
        tools=[space],
        tool_choice={"type": "function", "namespace": "mail", "name": "add"},
    )
    sent = house.upstream.bodies[-1]
    assert [call["function"]["name"] for call in sent["messages"][1]["tool_calls"]] == [
        "mail__add",
        "mail__patch",
    ]
    assert sent["tool_choice"]["function"]["name"] == "mail__add"


def test_items_may_bring_tools_along(client, house: House):
    brought = {"type": "additional_tools", "role": "developer", "tools": [TOOL]}
    client.responses.create(model="glm", input=[brought, {"role": "user", "content": "go"}])
    assert [tool["function"]["name"] for tool in _sent_tools(house)] == ["add"]


def test_a_client_that_tries_a_socket_is_sent_to_http(house: House):
    socket = {
        "authorization": f"Bearer {house.key}",
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    answer = httpx.get(f"{house.url}/v1/responses", headers=socket)
    assert answer.status_code == 426
    assert "POST /v1/responses" in answer.json()["error"]["message"]


def _sent_tools(house: House) -> list[dict]:
    return house.upstream.bodies[-1]["tools"]


def test_an_answer_in_the_background_is_fetched_or_cancelled(client, wait_until):
    quick = client.responses.create(model="glm", input='{"tokens": 3}', background=True)
    assert quick.status == "in_progress"
    wait_until(lambda: client.responses.retrieve(quick.id).status == "completed")
    assert client.responses.retrieve(quick.id).output_text == "w0 w1 w2 "
    slow = client.responses.create(
        model="glm", input='{"tokens": 10000, "pace_s": 0.01}', background=True, max_output_tokens=20000
    )
    assert client.responses.cancel(slow.id).status == "cancelled"
    wait_until(lambda: client.responses.retrieve(slow.id).status == "cancelled")


def test_who_leaves_before_a_response_in_the_background_is_kept_leaves_none_that_never_ends(
    house: House, wait_until, monkeypatch
):
    responses, saving, free = house.platform.responses, threading.Event(), threading.Event()
    save = responses.save

    async def slow(*words):
        house.platform.database.submit(lambda tx: free.wait(60))
        saving.set()
        await save(*words)

    monkeypatch.setattr(responses, "save", slow)
    with house.left("/v1/responses", {"model": "glm", "input": '{"tokens": 2}', "background": True}):
        assert saving.wait(60)
    house.get("/v1/models")  # by then the server knows that the other has left
    free.set()
    wait_until(lambda: house.rows("SELECT status FROM response") == [{"status": "completed"}])
    house.settled(wait_until)


def test_a_response_whose_server_died_says_why_it_failed(house: House, client):
    responses, body = house.platform.responses, {"id": "resp_1", "status": "in_progress", "error": None}
    asyncio.run(responses.save(house.org_id, body, [], None))
    house.platform.database.write_now(lambda tx: tx.run("UPDATE response SET node_id = 'gone'"))
    asyncio.run(responses.fail_orphans())
    kept = house.get("/v1/responses/resp_1").json()
    assert (kept["status"], kept["error"]["code"]) == ("failed", "server_error")


def test_of_many_responses_those_are_given_up_that_were_cancelled_or_deleted(house: House):
    responses = house.platform.responses

    async def scenario():
        for number, status in enumerate(("in_progress", "in_progress", "completed")):
            await responses.save(house.org_id, {"id": f"resp_{number}", "status": status}, [], None)
        await responses.finish(house.org_id, {"id": "resp_1", "status": "cancelled"})
        found = await responses.given_up(["resp_0", "resp_1", "resp_2", "resp_deleted"])
        assert sorted(found) == ["resp_1", "resp_deleted"]
        assert await responses.given_up([]) == []

    asyncio.run(scenario())


def test_a_length_limit_makes_it_incomplete(client):
    answer = client.responses.create(model="glm", input='{"tokens": 2, "finish": "length"}')
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_an_upstream_that_dies_fails_the_response_in_its_stream(client, house: House, wait_until):
    events = list(client.responses.create(model="glm", input='{"dies": 2, "tokens": 5}', stream=True))
    assert events[-1].type == "response.failed"
    assert events[-1].response.error.message
    house.settled(wait_until)
    assert house.usage()[0]["status"] == "partial"


def test_a_reader_that_leaves_is_billed_what_was_made_and_the_response_says_cancelled(
    client, house: House, wait_until
):
    stream = client.responses.create(
        model="glm", input='{"tokens": 500, "pace_s": 0.01}', stream=True, max_output_tokens=1000
    )
    response_id = next(iter(stream)).response.id
    for _, event in zip(range(8), stream, strict=False):
        assert event
    stream.close()
    house.settled(wait_until)
    (row,) = house.usage()
    billed = house.upstream.billed[row["request_id"]]
    assert row["output_text"] == billed["completion"]
    wait_until(lambda: house.rows("SELECT 1 FROM response"))
    assert client.responses.retrieve(response_id).status == "cancelled"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "hi"}, "model"),
        ({"model": "glm"}, "input"),
        ({"model": "glm", "input": [{"type": "novel"}]}, "input[0].type"),
        ({"model": "glm", "input": [{"type": "item_reference", "id": "x"}]}, "input[0].id"),
        ({"model": "glm", "input": "hi", "tools": [{"type": "function"}]}, "tools[0].name"),
        (
            {
                "model": "glm",
                "input": "hi",
                "tools": [{"type": "namespace", "name": "s" * 100, "tools": [{**TOOL, "name": "n" * 100}]}],
            },
            "tools[0].tools[0].name",
        ),
        ({"model": "glm", "input": "hi", "background": True, "store": False}, "background"),
        ({"model": "glm", "input": "hi", "tool_choice": "required"}, "tool_choice"),
        ({"model": "glm", "input": "hi", "text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"model": "glm", "input": "hi", "metadata": {"a": 1}}, "metadata"),
    ],
)
def test_bad_bodies_are_refused_by_field_and_cost_nothing(house: House, body, param):
    answer = house.post("/v1/responses", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert house.usage() == []


def test_others_do_not_find_it(client, house: House):
    import asyncio

    from openglm.maas.identity import Keys

    mine = client.responses.create(model="glm", input='{"tokens": 1}')
    accounts = house.platform.accounts
    other = asyncio.run(accounts.sign_up("bob@example.com", "another odd passphrase", "Bob"))
    keys = Keys(house.platform.database, house.platform.secrets)
    key = asyncio.run(keys.create(other.org_id, other.project_id, "theirs")).key
    headers = {"authorization": f"Bearer {key}"}
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
        answer = httpx.request(method, f"{house.url}/v1/responses/{mine.id}{path}", headers=headers)
        assert answer.status_code == 404


@pytest.mark.parametrize("stream", [True, False])
def test_tools_of_a_kind_that_no_header_can_spell_are_named_all_the_same(house: House, wait_until, stream):
    body = {"model": "glm", "input": '{"tokens": 2}', "stream": stream, "tools": [{"type": "工具"}]}
    answer = house.post("/v1/responses", body)
    assert answer.status_code == 200
    assert answer.headers["x-openglm-ignored-tools"] == "\\u5de5\\u5177"
    house.settled(wait_until)


def test_where_no_response_can_be_kept_one_that_need_not_be_is_answered(house: House, client, wait_until):
    asyncio.run(house.platform.quotas.set(Limit("*", "response_bytes", 0)))
    with pytest.raises(openai.BadRequestError, match="ask with store false"):
        client.responses.create(model="glm", input="hi")
    assert client.responses.create(model="glm", input="hi", store=False).status == "completed"
    house.settled(wait_until)
    assert len(house.usage()) == 1  # the refused one cost nothing
