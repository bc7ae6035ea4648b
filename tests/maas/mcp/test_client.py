"""Our MCP client against a real small server, well and badly behaved, over both transports."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from openglm.dialects.mcp import McpServer
from openglm.errors import InvalidRequest, UpstreamFailure
from openglm.maas.mcp import McpClient, Outcome, client, open_toolbox, wire
from openglm.maas.mcp.toolbox import RESULT_CHARS
from openglm.maas.outbound import GuardedSession
from openglm.messages import ToolCall, ToolSpec
from tests.maas.fake_mcp import FakeMcp, tool


@pytest.fixture
def server() -> Iterator[FakeMcp]:
    with FakeMcp() as running:
        yield running


def at(url: str, **more: Any) -> McpServer:
    return McpServer("test", url, **more)


def using(server: McpServer, work: Callable[[McpClient], Awaitable[Any]], *, private: bool = True) -> Any:
    async def scenario() -> Any:
        async with GuardedSession(allow_private=private) as session:
            mcp = McpClient(session, server)
            try:
                await mcp.open()
                return await work(mcp)
            finally:
                await mcp.close()

    return asyncio.run(scenario())


async def names(mcp: McpClient) -> list[str]:
    return [one.name for one in await mcp.tools()]


@pytest.mark.parametrize("transport", ["streamable-http", "sse", None])
@pytest.mark.parametrize("streams", [False, True])
def test_tools_are_listed_and_called_over_both_transports(server: FakeMcp, transport, streams):
    server.streams, server.page = streams, 2

    async def work(mcp: McpClient) -> None:
        assert await names(mcp) == [one["name"] for one in server.tools]
        sums = await asyncio.gather(*(mcp.call("add", {"a": number, "b": 1}) for number in range(5)))
        assert sums == [Outcome(str(number + 1)) for number in range(5)]
        assert await mcp.call("picture", {}) == Outcome("[image image/png]")

    using(at(server.sse_url if transport == "sse" else server.url, transport=transport), work)
    assert not server.sessions  # it was told that we have left
    if transport != "sse":
        assert server.headers[-1]["mcp-protocol-version"] == "2025-06-18"


def test_a_server_that_knows_the_older_transport_alone_is_found_out(server: FakeMcp):
    server.faults = {"old"}
    server.url = server.sse_url
    assert "add" in using(at(server.sse_url), names)


def test_headers_of_the_caller_open_a_server_and_are_not_shown(server: FakeMcp):
    server.secret = "Bearer letmein"
    given = at(server.url, headers=(("Authorization", "Bearer letmein"),))
    assert "letmein" not in repr(given)
    assert "add" in using(given, names)
    with pytest.raises(UpstreamFailure, match="status 401"):
        using(at(server.url), names)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("redirect", "status 307"),
        ("garbage", "no JSON"),
        ("no_tools", "lists no tools"),
        ("bad_tool", "no tool"),
    ],
)
def test_what_is_no_mcp_server_is_said(server: FakeMcp, fault, words):
    server.faults = {fault}
    with pytest.raises(UpstreamFailure, match=words):
        using(at(server.url), names)


def test_messages_of_the_older_transport_stay_with_their_server(server: FakeMcp):
    server.faults = {"other_origin"}
    with pytest.raises(UpstreamFailure, match="another server"):
        using(at(server.sse_url, transport="sse"), names)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/mcp", "http://[::1]/mcp", "http://169.254.169.254/mcp"])
def test_a_strangers_url_leads_to_public_addresses_alone(url):
    with pytest.raises(InvalidRequest, match="not a public address"):
        using(at(url), names, private=False)


@pytest.mark.parametrize("transport", ["streamable-http", "sse"])
def test_a_tool_that_hangs_is_an_outcome_and_is_let_go(server: FakeMcp, monkeypatch, transport):
    monkeypatch.setattr(client, "CALL_S", 0.2)

    async def work(mcp: McpClient) -> None:
        outcome = await mcp.call("hang", {})
        assert outcome.failed
        assert "more than 0.2 s" in outcome.text
        assert await mcp.call("add", {"a": 1, "b": 1}) == Outcome("2")

    using(at(server.sse_url if transport == "sse" else server.url, transport=transport), work)


@pytest.mark.parametrize(
    "result",
    [
        {"content": 5},
        {"content": True},
        {"content": {"type": "text"}},
        {"content": [5, None, {"type": 7}, {}]},
    ],
)
def test_a_result_that_no_server_should_give_is_an_outcome(server: FakeMcp, result):
    def call(mcp: McpClient) -> Awaitable[Outcome]:
        return mcp.call("odd", result)

    assert using(at(server.url), call) == Outcome("[7]" if isinstance(result["content"], list) else "")


@pytest.mark.parametrize("streams", [False, True])
def test_a_result_beyond_the_limit_is_not_read_to_its_end(server: FakeMcp, streams):
    server.streams = streams

    async def work(mcp: McpClient) -> Outcome:
        return await mcp.call("huge", {"size": 2 * wire.MAX_ANSWER})

    assert using(at(server.url), work) == Outcome(
        f"the MCP server sent more than {wire.MAX_ANSWER} bytes", failed=True
    )


def test_a_tool_that_fails_is_told_as_its_server_tells_it(server: FakeMcp):
    async def work(mcp: McpClient) -> list[Outcome]:
        return [await mcp.call("fail", {}), await mcp.call("nowhere", {})]

    assert using(at(server.url), work) == [
        Outcome("it is broken", failed=True),
        Outcome("the MCP server says: no tool of that name", failed=True),
    ]


def boxed(servers: list[McpServer], work: Callable[[Any], Awaitable[Any]], *taken: str) -> Any:
    async def scenario() -> Any:
        async with GuardedSession(allow_private=True) as session:
            specs = [ToolSpec(name) for name in taken]
            box = await open_toolbox(servers, specs, lambda one: McpClient(session, one))
            try:
                return await work(box)
            finally:
                await box.close()

    return asyncio.run(scenario())


def test_names_that_clash_get_their_servers_label():
    with (
        FakeMcp(tools=[tool("search"), tool("a b")]) as one,
        FakeMcp(tools=[tool("search"), tool("run")]) as two,
    ):
        servers = [McpServer("wiki", one.url), McpServer("web", two.url)]

        async def work(box: Any) -> list[str]:
            await box.call(ToolCall("1", "web__search", '{"q": 1}'))
            return [spec.name for spec in box.specs]

        assert boxed(servers, work, "run") == ["wiki__search", "a_b", "web__search", "web__run"]
        assert two.called == [("search", {"q": 1})]
        assert not one.called
        assert not one.sessions | two.sessions


def test_only_allowed_tools_are_offered(server: FakeMcp):
    async def work(box: Any) -> tuple[list[str], Any]:
        return [spec.name for spec in box.specs], box.listed

    offered, listed = boxed([at(server.url, allowed_tools=("add", "other"))], work)
    assert offered == ["add"]
    assert [spec.name for spec in listed[0][1]] == ["add"]


def test_a_long_result_is_cut_where_everybody_sees_it(server: FakeMcp):
    async def work(box: Any) -> Outcome:
        return await box.call(ToolCall("1", "huge", "{}"))

    text = boxed([at(server.url)], work).text
    assert text.startswith("x" * RESULT_CHARS + "\n[50000 more characters")


@pytest.mark.parametrize("arguments", ["{broken", "[1]", "7"])
def test_arguments_that_are_no_object_never_reach_the_server(server: FakeMcp, arguments):
    async def work(box: Any) -> Outcome:
        return await box.call(ToolCall("1", "add", arguments))

    assert boxed([at(server.url)], work).failed
    assert not server.called


def test_one_server_that_cannot_be_asked_fails_the_request(server: FakeMcp):
    async def work(box: Any) -> None:
        raise AssertionError("there is no box")

    with pytest.raises(UpstreamFailure, match="could not be reached"):
        boxed([at(server.url), McpServer("gone", "http://127.0.0.1:1/mcp")], work)
