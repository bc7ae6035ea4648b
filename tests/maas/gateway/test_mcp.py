"""Tools of MCP servers in answers: called by the platform, every turn billed, shown in each dialect."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator

import httpx
import openai
import pytest

from openglm.dialects.mcp import McpServer
from openglm.maas.gateway import loop
from openglm.maas.limits import Rule, Slot
from openglm.maas.mcp import client, servers
from openglm.maas.outbound import GuardedSession
from tests.maas.fake_mcp import INJECTION, FakeMcp, tool
from tests.maas.gateway.conftest import PICO_IN, PICO_OUT, YUAN, House

CHAT = "/api/paas/v4/chat/completions"
RESPONSES = "/v1/responses"


@pytest.fixture
def server() -> Iterator[FakeMcp]:
    with FakeMcp() as running:
        yield running


@pytest.fixture
def house(house: House) -> House:
    house.platform.mcp.strangers_web = GuardedSession(
        allow_private=True, connections=None
    )  # where tests' servers are
    return house


def calls(*names: str, **given) -> dict:
    """A turn of the model that calls tools."""
    made = [
        {"id": f"call_{number}", "name": name, "arguments": json.dumps(given)}
        for number, name in enumerate(names)
    ]
    return {"calls": made, "finish": "tool_calls", "tokens": 2, "prompt": 10}


def answers(tokens: int = 3, **more) -> dict:
    return {"tokens": tokens, "prompt": 30, **more}


def chat(server: FakeMcp, *turns: dict, **more) -> dict:
    mcp = {"server_label": "test", "server_url": server.url, "transport_type": "streamable-http"}
    return {
        "model": "glm",
        "messages": [{"role": "user", "content": json.dumps({"turns": turns})}],
        "tools": [{"type": "mcp", "mcp": mcp}],
        **more,
    }


def response(server: FakeMcp, *turns: dict, **more) -> dict:
    mcp = {
        "type": "mcp",
        "server_label": "test",
        "server_url": server.url,
        "require_approval": "never",
        "headers": {"x-secret": "hush"},
    }
    return {"model": "glm", "input": json.dumps({"turns": turns}), "tools": [mcp], **more}


def chunks_of(text: str) -> list[dict]:
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def price(prompt: int, output: int) -> int:
    return (prompt * PICO_IN + output * PICO_OUT) // 1000


def test_the_platform_calls_what_the_model_asks_for_and_bills_each_turn(
    house: House, server: FakeMcp, wait_until
):
    answer = house.post(CHAT, chat(server, calls("add", a=2, b=3), answers(4))).json()
    (choice,) = answer["choices"]
    listed, called = choice["message"]["tool_calls"]
    assert (listed["type"], listed["mcp"]["type"]) == ("mcp", "mcp_list_tools")
    assert listed["mcp"]["server_label"] == "test"
    assert [one["name"] for one in listed["mcp"]["tools"]] == [one["name"] for one in server.tools]
    assert called["mcp"]["output"] == "5"
    assert (called["mcp"]["name"], json.loads(called["mcp"]["arguments"])) == ("add", {"a": 2, "b": 3})
    assert (choice["finish_reason"], choice["message"]["content"]) == ("stop", "w0 w1 w0 w1 w2 w3 ")
    usage = answer["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (40, 6)
    asked = house.upstream.bodies[-1]["messages"]
    assert [turn["role"] for turn in asked] == ["user", "assistant", "tool"]
    assert (asked[2]["content"], asked[2]["tool_call_id"]) == ("5", asked[1]["tool_calls"][0]["id"])
    house.settled(wait_until)
    rows = house.usage()
    assert [row["cost_nano"] for row in rows] == [price(10, 2), price(30, 4)]
    assert rows[1]["request_id"] == rows[0]["request_id"] + "-2"
    assert house.balance() == 10 * YUAN - price(10, 2) - price(30, 4)
    wait_until(lambda: not server.sessions)


def test_a_stream_shows_lists_and_calls_between_the_words(house: House, server: FakeMcp):
    body = chat(server, calls("add", "echo", a=1, b=1), answers(), stream=True)
    chunks = chunks_of(house.post(CHAT, body).text)
    entries = [one for chunk in chunks for one in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert [(one["index"], one["mcp"]["type"]) for one in entries] == [
        (0, "mcp_list_tools"),
        (1, "mcp_call"),
        (2, "mcp_call"),
    ]
    assert [one["mcp"]["output"] for one in entries[1:]] == ["2", '{"a": 1, "b": 1}']
    reasons = [chunk["choices"][0].get("finish_reason") for chunk in chunks]
    assert [reason for reason in reasons if reason] == ["stop"]
    assert chunks[-1]["usage"]["completion_tokens"] == 5


def test_responses_show_items_and_events_and_the_official_client_reads_them(house: House, server: FakeMcp):
    official = openai.OpenAI(base_url=f"{house.url}/v1", api_key=house.key, max_retries=0)
    body = response(server, calls("add", "fail", a=2, b=2), answers(2))
    whole = official.responses.create(**body)
    kinds = [item.type for item in whole.output]
    assert kinds == ["mcp_list_tools", "message", "mcp_call", "mcp_call", "message"]
    added, failed = whole.output[2], whole.output[3]
    assert (added.name, added.output, added.status, added.error) == ("add", "4", "completed", None)
    assert (failed.output, failed.status) == (None, "failed")
    assert failed.error.content == [{"type": "text", "text": "it is broken"}]
    assert whole.usage.output_tokens == 4
    events = list(official.responses.create(**body, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    said = [event.type.removeprefix("response.") for event in events if "mcp" in event.type]
    assert said == [
        "mcp_list_tools.in_progress",
        "mcp_list_tools.completed",
        "mcp_call.in_progress",
        "mcp_call_arguments.delta",
        "mcp_call_arguments.done",
        "mcp_call.completed",
        "mcp_call.in_progress",
        "mcp_call_arguments.delta",
        "mcp_call_arguments.done",
        "mcp_call.failed",
    ]
    assert [item.type for item in events[-1].response.output] == kinds
    kept = official.responses.retrieve(whole.id)
    assert "hush" not in kept.to_json()
    assert server.headers[-1]["x-secret"] == "hush"


def test_a_response_that_is_continued_brings_its_calls_along(house: House, server: FakeMcp):
    first = house.post(RESPONSES, response(server, calls("add", a=1, b=2), answers(1))).json()
    house.post(RESPONSES, {"model": "glm", "input": "and now?", "previous_response_id": first["id"]})
    said = house.upstream.bodies[-1]["messages"]
    assert [turn["role"] for turn in said] == ["user", "assistant", "tool", "assistant", "user"]
    assert said[1]["tool_calls"][0]["function"]["name"] == "add"
    assert said[2]["content"] == "3"


def test_an_answer_that_is_sent_back_with_its_calls_is_understood(house: House, server: FakeMcp):
    message = house.post(CHAT, chat(server, calls("add", a=1, b=2), answers(1))).json()["choices"][0][
        "message"
    ]
    body = chat(server, answers()) | {"tools": []}
    body["messages"] = [*body["messages"], message, {"role": "user", "content": "and now?"}]
    assert house.post(CHAT, body).status_code == 200
    assert "tool_calls" not in house.upstream.bodies[-1]["messages"][1]


WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_of_the_clients_own_function_ends_the_loop(house: House, server: FakeMcp, stream):
    body = chat(
        server, calls("echo"), calls("weather", "add", city="Wuhan"), stream=stream, tool_stream=stream
    )
    body["tools"].append(WEATHER)
    answer = house.post(CHAT, body)
    assert [name for name, _ in server.called] == ["echo"]  # nobody could bring add's result back
    if stream:
        chunks = chunks_of(answer.text)
        entries = [one for chunk in chunks for one in chunk["choices"][0]["delta"].get("tool_calls", ())]
        reason = chunks[-1]["choices"][0]["finish_reason"]
    else:
        entries = answer.json()["choices"][0]["message"]["tool_calls"]
        reason = answer.json()["choices"][0]["finish_reason"]
    assert reason == "tool_calls"
    assert {one["index"]: one["type"] for one in entries if "type" in one} == {
        0: "mcp",
        1: "mcp",
        2: "function",
    }
    (function,) = [one for one in entries if one.get("type") == "function"]
    assert function["function"]["name"] == "weather"


def test_a_loop_ends_though_the_model_would_never(house: House, server: FakeMcp, wait_until, monkeypatch):
    monkeypatch.setattr(loop, "MAX_TURNS", 4)
    answer = house.post(CHAT, chat(server, calls("echo"))).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert len(server.called) == 3
    assert [body.get("tool_choice") for body in house.upstream.bodies][1:] == ["auto", "auto", "none"]
    house.settled(wait_until)
    assert len(house.usage()) == 4


def test_too_many_calls_are_not_made_and_the_model_is_told(house: House, server: FakeMcp, monkeypatch):
    monkeypatch.setattr(loop, "MAX_CALLS", 2)
    answer = house.post(CHAT, chat(server, calls("echo", "echo", "echo"), answers())).json()
    outcomes = [one["mcp"] for one in answer["choices"][0]["message"]["tool_calls"][1:]]
    assert [("error" in outcome) for outcome in outcomes] == [False, False, True]
    assert "at most 2 tools" in house.upstream.bodies[-1]["messages"][-1]["content"]


def test_max_tokens_holds_for_all_turns_together(house: House, server: FakeMcp):
    answer = house.post(CHAT, chat(server, calls("echo"), answers(), max_tokens=5)).json()
    assert [body["max_tokens"] for body in house.upstream.bodies] == [5, 3]
    assert answer["choices"][0]["finish_reason"] == "stop"
    cut = house.post(CHAT, chat(server, calls("echo"), answers(), max_tokens=2)).json()
    assert cut["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_dies_in_a_later_turn_is_paid_for_what_it_said(
    house: House, server: FakeMcp, wait_until, stream
):
    answer = house.post(CHAT, chat(server, calls("echo"), answers(9, dies=4), stream=stream))
    assert answer.json()["error"]["code"] == "1234" if not stream else '"error"' in answer.text
    house.settled(wait_until)
    rows = house.usage()
    assert [row["status"] for row in rows] == ["ok", "partial"]
    assert rows[1]["output_text"] <= 4
    assert house.balance() == 10 * YUAN - sum(row["cost_nano"] for row in rows)
    wait_until(lambda: not house.platform.limits._in_flight and not server.sessions)


@pytest.mark.parametrize("when", ["tool", "words"])
def test_who_leaves_pays_for_the_turns_that_were_and_no_tool_goes_on(
    house: House, server: FakeMcp, wait_until, when, monkeypatch
):
    leave, left = Slot.leave, []
    monkeypatch.setattr(Slot, "leave", lambda slot, used=None: (left.append(used), leave(slot, used))[1])
    asyncio.run(house.platform.limits.rules.put(Rule(concurrency=1)))
    asyncio.run(house.platform.limits.reload())
    slow = answers(2000, pace_s=0.002)
    turns = [calls("hang"), slow] if when == "tool" else [calls("echo"), slow]
    headers = {"authorization": f"Bearer {house.key}"}
    body = chat(server, *turns, stream=True)
    with (
        httpx.Client(timeout=60) as client_,
        client_.stream("POST", house.url + CHAT, json=body, headers=headers) as answer,
    ):
        lines = answer.iter_lines()
        next(lines)
        if when == "tool":
            wait_until(lambda: server.hanging == 1)
        else:
            while "mcp_call" not in next(lines):
                pass
            wait_until(lambda: len(house.upstream.bodies) == 2)
            next(lines)
    wait_until(lambda: server.hanging == 0 and not server.sessions)
    house.settled(wait_until)
    wait_until(lambda: not house.platform.limits._in_flight)
    rows = house.usage()
    told = house.upstream.billed
    assert {row["request_id"]: row["output_text"] for row in rows} == {
        request_id: counted["completion"] for request_id, counted in told.items()
    }
    assert [row["status"] for row in rows] == (["ok"] if when == "tool" else ["ok", "partial"])
    assert house.balance() == 10 * YUAN - sum(row["cost_nano"] for row in rows)
    # Each turn counts once for the limits too.
    assert left == [sum(row["input_uncached"] + row["output_text"] for row in rows)]


@pytest.mark.parametrize("stream", [False, True])
def test_a_wallet_that_does_not_cover_a_later_turn_ends_the_answer(house: House, server, wait_until, stream):
    """The tool's result doubles the prompt, and there is money for one and a half."""
    words = 20_000
    left = words * PICO_IN // 1000 * 3 // 2 - house.balance()
    adjust = house.platform.wallet.adjust(house.org_id, left, idempotency_key="little", reason="test")
    asyncio.run(adjust)
    before = house.balance()
    body = chat(server, calls("echo", text="a " * words), answers(), max_tokens=4, stream=stream)
    answer = house.post(CHAT, body)
    assert '"1113"' in answer.text
    house.settled(wait_until)
    assert [row["cost_nano"] for row in house.usage()] == [price(10, 2)]
    assert house.balance() == before - price(10, 2)


def test_one_request_is_one_for_the_limits(house: House, server: FakeMcp):
    asyncio.run(house.platform.limits.rules.put(Rule(rpm=1)))
    asyncio.run(house.platform.limits.reload())
    assert house.post(CHAT, chat(server, calls("echo"), calls("echo"), answers())).status_code == 200
    assert house.post(CHAT, chat(server, answers())).json()["error"]["code"] == "1303"


def test_an_idempotency_key_covers_all_turns(house: House, server: FakeMcp):
    headers = {"idempotency-key": "once"}
    body = chat(server, calls("echo"), answers())
    assert house.post(CHAT, body, headers=headers).status_code == 200
    assert house.post(CHAT, body, headers=headers).json()["error"]["code"] == "1231"
    assert len(server.called) == 1


def test_whom_the_door_refuses_knocks_at_nobodys_server(house: House, server: FakeMcp):
    async def newcomer() -> str:
        person = await house.platform.accounts.add("bob@example.com", "a long and odd passphrase", "Bob")
        made = await house.platform.keys.create(person.org_id, person.project_id, "no money")
        return made.key

    body = chat(server, calls("echo"), answers())
    assert house.post(CHAT, body, key=asyncio.run(newcomer())).json()["error"]["code"] == "1113"
    assert not server.headers
    assert house.post(CHAT, {**body, "request_id": "only-once"}).status_code == 200
    knocked = len(server.headers)
    assert house.post(CHAT, {**body, "request_id": "only-once"}).json()["error"]["code"] == "1231"
    assert len(server.headers) == knocked


def test_one_tenants_open_servers_do_not_keep_another_waiting(house: House, server: FakeMcp, wait_until):
    async def neighbour() -> str:
        person = await house.platform.accounts.add("bob@example.com", "a long and odd passphrase", "Bob")
        made = await house.platform.keys.create(person.org_id, person.project_id, "neighbour")
        await house.platform.wallet.top_up(person.org_id, YUAN, idempotency_key="bob")
        return made.key

    def greedy() -> None:
        body = chat(server, calls("s0__hang"), answers())
        entry = {"server_url": server.sse_url, "transport_type": "sse", "allowed_tools": ["hang"]}
        body["tools"] = [{"type": "mcp", "mcp": {"server_label": f"s{at}", **entry}} for at in range(8)]
        with contextlib.suppress(httpx.HTTPError):
            house.post(CHAT, body)

    many = servers.OF_ONE + 2
    threads = [threading.Thread(target=greedy) for _ in range(many)]
    for thread in threads:
        thread.start()
    wait_until(lambda: server.hanging == servers.OF_ONE)  # each with eight streams; the others wait
    with FakeMcp() as another:
        answer = house.post(CHAT, chat(another, calls("echo"), answers()), key=asyncio.run(neighbour()))
    assert answer.status_code == 200
    assert server.hanging == servers.OF_ONE  # nobody had to end for it
    server.let_go()
    wait_until(lambda: server.hanging == 2)
    server.let_go()
    for thread in threads:
        thread.join()
    wait_until(lambda: house.platform.mcp.places.taken == 0)


def test_an_asynchronous_chat_is_paid_for_as_one_or_not_at_all(house: House, server: FakeMcp, wait_until):
    headers = {"authorization": f"Bearer {house.key}"}
    begun = house.post("/api/paas/v4/async/chat/completions", chat(server, calls("add", a=1, b=1), answers()))
    result = f"{house.url}/api/paas/v4/async-result/{begun.json()['id']}"
    wait_until(lambda: httpx.get(result, headers=headers).json()["task_status"] == "SUCCESS")
    answer = httpx.get(result, headers=headers).json()
    assert answer["choices"][0]["message"]["tool_calls"][1]["mcp"]["output"] == "2"
    house.settled(wait_until)
    rows = house.usage()
    assert [row["cost_nano"] for row in sorted(rows, key=lambda row: row["request_id"])] == [
        price(10, 2),
        price(30, 3),
    ]

    failing = house.post(
        "/api/paas/v4/async/chat/completions",
        chat(server, calls("echo"), {"status": 400, "message": "too odd"}),
    )
    result = f"{house.url}/api/paas/v4/async-result/{failing.json()['id']}"
    wait_until(lambda: httpx.get(result, headers=headers).json()["task_status"] == "FAIL")
    house.settled(wait_until)
    assert [row["cost_nano"] for row in house.usage() if row["status"] == "void"] == [0, 0]
    assert house.balance() == 10 * YUAN - price(10, 2) - price(30, 3)


def test_an_agent_may_have_tools_of_servers_that_the_operator_has_set_up(house: House, server: FakeMcp):
    platform = house.platform
    server.secret = "Bearer of the operator"
    ours = McpServer(
        "wiki", server.url, allowed_tools=("add", "echo"), headers=(("authorization", server.secret),)
    )
    platform.mcp.named = (ours,)
    (platform.settings.data / "agents.toml").write_text(
        '[agents.clerk]\ninstructions = "Count."\n'
        'tools = [{ type = "mcp", mcp = { server_label = "wiki", allowed_tools = ["add", "huge"] } }]\n'
    )
    platform.agents.load()
    script = json.dumps({"turns": [calls("add", a=4, b=4), answers(1)]})
    asked = {"agent_id": "clerk", "messages": [{"role": "user", "content": script}]}
    messages = house.post("/api/v1/agents", asked).json()["choices"][0]["messages"]
    assert [one["phase"] for one in messages] == ["answer", "tool", "answer"]
    assert messages[1]["content"]["object"] == {
        "tool_name": "add",
        "input": '{"a": 4, "b": 4}',
        "output": "8",
    }
    assert [one["function"]["name"] for one in house.upstream.bodies[-1]["tools"]] == ["add"]
    chunks = chunks_of(house.post("/api/v1/agents", {**asked, "stream": True}).text)
    phases = [one["phase"] for chunk in chunks for one in chunk["choices"][0]["messages"]]
    assert phases == ["answer", "answer", "tool", "answer"]
    named = chat(server, answers(1))
    for label, given, status in (("wiki", {}, 200), ("wiki", {"x-a": "b"}, 400), ("no", {}, 400)):
        named["tools"] = [{"type": "mcp", "mcp": {"server_label": label, "headers": given}}]
        assert house.post(CHAT, named).status_code == status


def test_what_a_tool_says_is_text_and_nothing_else(house: House, server: FakeMcp):
    answer = house.post(CHAT, chat(server, calls("inject"), answers())).json()
    assert answer["choices"][0]["message"]["tool_calls"][1]["mcp"]["output"] == INJECTION
    said = house.upstream.bodies[-1]["messages"][-1]
    assert (said["role"], said["content"]) == ("tool", INJECTION)
    assert [name for name, _ in server.called] == ["inject"]


def test_a_tool_that_hangs_does_not_hold_the_answer_up(house: House, server: FakeMcp, monkeypatch):
    monkeypatch.setattr(client, "CALL_S", 0.2)
    answer = house.post(CHAT, chat(server, calls("hang", "echo"), answers())).json()
    hung, echoed = [one["mcp"] for one in answer["choices"][0]["message"]["tool_calls"][1:]]
    assert "more than 0.2 s" in hung["error"]
    assert echoed["output"] == "{}"


def test_two_servers_with_tools_of_one_name_are_told_apart(house: House):
    with FakeMcp(tools=[tool("echo")]) as one, FakeMcp(tools=[tool("echo")]) as two:
        body = chat(one, calls("b__echo"), answers())
        body["tools"] = [
            {"type": "mcp", "mcp": {"server_label": label, "server_url": server.url}}
            for label, server in (("a", one), ("b", two))
        ]
        called = house.post(CHAT, body).json()["choices"][0]["message"]["tool_calls"][2]["mcp"]
        assert (called["server_label"], called["name"]) == ("b", "echo")
        assert (len(one.called), len(two.called)) == (0, 1)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"server_url": "http://10.0.0.1/mcp"}, "1210"),
        ({"server_url": "http://169.254.169.254/mcp"}, "1210"),
        ({"headers": {"host": "a"}}, "1214"),
        ({"headers": {"x-a": "b\r\nx-c: d"}}, "1214"),
        ({"server_label": "a b"}, "1214"),
        ({"transport_type": "stdio"}, "1214"),
    ],
)
def test_servers_that_cannot_be_named_are_refused_and_nothing_is_charged(
    house: House, server: FakeMcp, change, code
):
    house.platform.mcp.strangers_web = GuardedSession()  # as it is without tests
    body = chat(server, answers())
    body["tools"][0]["mcp"] |= change
    error = house.post(CHAT, body).json()["error"]
    assert error["code"] == code, error
    assert not house.upstream.bodies
    assert house.balance() == 10 * YUAN


@pytest.mark.parametrize(
    "change",
    [
        {"require_approval": "always"},
        {"require_approval": None},
        {"connector_id": "connector_gmail", "server_url": None},
        {"server_label": None},
    ],
)
def test_responses_refuse_what_nobody_here_can_do(house: House, server: FakeMcp, change):
    body = response(server, answers())
    body["tools"][0] |= change
    answer = house.post(RESPONSES, body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith("tools[0].")


@pytest.mark.parametrize("fault", ["redirect", "garbage", "no_tools"])
def test_a_server_that_is_none_fails_the_request_before_anything_is_charged(
    house: House, server: FakeMcp, fault
):
    server.faults = {fault}
    answer = house.post(CHAT, chat(server, answers()))
    assert answer.json()["error"]["code"] == "1234"
    assert not house.upstream.bodies
    assert house.balance() == 10 * YUAN


def test_a_key_without_tools_calls_none(house: House, server: FakeMcp):
    async def narrow() -> str:
        (owner,) = house.rows("SELECT org_id, project_id FROM api_key")
        scopes = ("chat", "responses")
        made = await house.platform.keys.create(
            owner["org_id"], owner["project_id"], "talks", endpoints=scopes
        )
        return made.key

    key = asyncio.run(narrow())
    assert house.post(CHAT, chat(server, answers()), key=key).json()["error"]["code"] == "1220"
    assert house.post(RESPONSES, response(server, answers()), key=key).status_code == 403
    assert not server.headers
