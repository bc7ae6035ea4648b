"""The guard of outgoing fetches, one trick per test, against real servers on the loopback."""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
import os
import socket
import threading
import zlib
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from openglm.errors import InvalidRequest, UpstreamFailure
from openglm.maas.outbound import (
    AddressRefused,
    Fetched,
    GuardedSession,
    check_url,
    is_allowed,
    system_resolve,
)

PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "3fff::1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:a00:1::",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "2001:db8::1",
    "100::1",
]


@pytest.mark.parametrize("text", PRIVATE)
def test_addresses_that_are_not_public_are_refused(text):
    assert not is_allowed(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "text", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_public_addresses_are_allowed(text):
    assert is_allowed(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["127.0.0.1", "10.0.0.1", "::1", "fd00::1", "::ffff:192.168.0.1"])
def test_the_operator_may_open_private_networks(text):
    assert is_allowed(ipaddress.ip_address(text), allow_private=True)


@pytest.mark.parametrize(
    "text",
    [
        "169.254.169.254",
        "168.63.129.16",
        "fd00:ec2::254",
        "fe80::1",
        "224.0.0.1",
        "0.0.0.0",
        "0.1.2.3",
        "240.0.0.1",
        "255.255.255.255",
        "192.88.99.1",
        "3fff::1",
        "::ffff:240.0.0.1",
        "::",
        "::ffff:169.254.169.254",
    ],
)
def test_metadata_link_local_and_multicast_stay_closed_to_everybody(text):
    assert not is_allowed(ipaddress.ip_address(text), allow_private=True)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1.",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "127.1",
        "127.0.1",
        "0",
        "0.0.0.0",
        "①②⑦.⓪.⓪.①",
        "１２７.0.0.1",
        "127。0。0。1",
        "%31%32%37.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:169.254.169.254]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[fe80::1%25eth0]",
        "169.254.169.254",
        "localhost",
        "localhost.",
        "LOCALHOST",
    ],
)
def test_every_spelling_of_a_private_host_is_refused(host):
    async def fetch():
        async with GuardedSession() as session:
            await session.fetch(f"http://{host}:9/")

    with pytest.raises(InvalidRequest) as caught:
        asyncio.run(fetch())
    assert caught.value.param == "url"


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "gopher://example.org/",
        "ftp://example.org/",
        "data:text/plain,hello",
        "//example.org/",
        "/etc/passwd",
        "",
        "http://",
        "http:///path",
        "http://user:secret@example.org/",
        "http://user@example.org/",
        "http://:@example.org/",
        "http://example.org:99999/",
        "http://example.org:0/",
        "http://exa mple.org/",
        "http://example.org/\r\nX-Header: 1",
        "http://example.org\\@127.0.0.1/",
        "http://[::1",
        "http://" + "a" * 9000,
        None,
        7,
    ],
)
def test_what_is_no_plain_web_address_is_refused_without_a_look_up(url):
    with pytest.raises(InvalidRequest) as caught:
        check_url(url)
    assert "secret" not in str(caught.value)


def test_a_good_url_keeps_its_path_and_loses_its_fragment():
    assert str(check_url("https://example.org/a%20b?c=d#e")) == "https://example.org/a%20b?c=d"


@asynccontextmanager
async def serving(handler):
    """A server on the loopback; its address, and the requests it saw."""
    seen: list[web.Request] = []

    async def remember(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        return await handler(request)

    runner = web.ServerRunner(web.Server(remember), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1], seen
    finally:
        await runner.cleanup()


def guarded(handler, url: str = "http://127.0.0.1:{port}/", **options) -> tuple[Fetched, list[web.Request]]:
    async def scenario():
        async with serving(handler) as (port, seen), GuardedSession(allow_private=True) as session:
            return await session.fetch(url.format(port=port), **options), seen

    return asyncio.run(scenario())


async def hello(_request):
    return web.Response(text="hello")


def test_an_answer_comes_with_status_headers_and_body():
    answer, seen = guarded(hello, headers={"x-a": "b"})
    assert (answer.status, answer.body) == (200, b"hello")
    assert answer.headers["content-type"].startswith("text/plain")
    assert seen[0].headers["x-a"] == "b"


def test_a_name_that_resolves_to_a_private_address_is_refused_and_nothing_is_sent():
    async def scenario():
        async def resolve(_host, _port):
            return ["93.184.216.34", "127.0.0.1"]

        async with serving(hello) as (port, seen), GuardedSession(resolve=resolve) as session:
            with pytest.raises(AddressRefused):
                await session.fetch(f"http://example.org:{port}/")
            return seen

    assert asyncio.run(scenario()) == []


def test_a_name_that_changes_its_address_between_look_ups_is_judged_at_each_connection():
    answers = iter([["10.0.0.1"], ["169.254.169.254"]])

    async def scenario():
        async def resolve(_host, _port):
            return next(answers, ["127.0.0.1"])

        async with serving(hello) as (port, seen), GuardedSession(resolve=resolve) as session:
            for _ in range(3):
                with pytest.raises(AddressRefused):
                    await session.fetch(f"http://rebind.example.org:{port}/")
            return seen

    assert asyncio.run(scenario()) == []


def test_the_socket_itself_refuses_even_if_a_resolver_let_an_address_through(monkeypatch):
    from aiohttp.resolver import ThreadedResolver

    monkeypatch.setattr("openglm.maas.outbound._guarded_resolver", lambda *_: ThreadedResolver())

    async def scenario():
        async with serving(hello) as (port, seen), GuardedSession() as session:
            with pytest.raises(AddressRefused):
                await session.fetch(f"http://localhost:{port}/")
            return seen

    assert asyncio.run(scenario()) == []


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "//169.254.169.254/",
        "http://2852039166/",
        "file:///etc/passwd",
        "http://user:pass@127.0.0.1/",
        "http://127.0.0.1:0/",
    ],
)
def test_a_redirect_is_judged_like_a_first_url(target):
    async def away(_request):
        return web.Response(status=302, headers={"location": target})

    with pytest.raises(InvalidRequest):
        guarded(away)


def test_a_public_page_cannot_redirect_to_this_machine():
    """The first hop is opened by hand; the second is judged by the strict rules."""

    async def scenario():
        async def away(_request):
            return web.Response(status=302, headers={"location": f"http://127.0.0.1:{port}/secret"})

        async with serving(away) as (port, seen):
            session = GuardedSession(allow_private=True)
            await session.fetch(f"http://127.0.0.1:{port}/", method="POST", data=b"")
            session._allow_private = False  # as it would be for a stranger
            with pytest.raises(AddressRefused):
                session._follow(
                    check_url("http://example.org/"),
                    Fetched("", 302, {"location": f"http://127.0.0.1:{port}/"}, b""),
                )
            await session.close()
            return [request.path for request in seen]

    assert asyncio.run(scenario()) == ["/"]


def test_redirects_are_followed_five_times_and_no_more():
    async def count(request):
        left = int(request.path[1:])
        return web.Response(status=302, headers={"location": f"/{left - 1}"}) if left else web.Response()

    answer, seen = guarded(count, "http://127.0.0.1:{port}/5")
    assert answer.status == 200
    assert answer.url.endswith("/0")
    assert len(seen) == 6
    with pytest.raises(UpstreamFailure, match="redirects more than"):
        guarded(count, "http://127.0.0.1:{port}/6")


def test_headers_do_not_follow_a_redirect_to_another_host():
    async def away(request):
        if request.path == "/":
            port = request.url.port
            return web.Response(status=302, headers={"location": f"http://localhost:{port}/there"})
        return web.Response()

    _, seen = guarded(away, headers={"authorization": "Bearer x"})
    assert [request.headers.get("authorization") for request in seen] == ["Bearer x", None]


@pytest.mark.parametrize("location", [None, "http://[", "http://exa mple/"])
def test_a_redirect_to_nowhere_is_the_far_ends_failure_or_a_refusal(location):
    async def away(_request):
        return web.Response(status=301, headers={"location": location} if location else {})

    with pytest.raises((UpstreamFailure, InvalidRequest)):
        guarded(away)


def test_an_answer_larger_than_the_limit_is_cut_off():
    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65_536)
        except ConnectionError:
            return response

    with pytest.raises(UpstreamFailure, match="larger than"):
        guarded(endless, max_bytes=200_000)


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_answers_are_decoded_and_bombs_are_not(encoding, pack):
    def packed(text: bytes):
        async def handler(_request):
            return web.Response(body=pack(text), headers={"content-encoding": encoding})

        return handler

    assert guarded(packed(b"a" * 1000), max_bytes=1000)[0].body == b"a" * 1000
    with pytest.raises(UpstreamFailure, match="larger than"):
        guarded(packed(b"a" * 1001), max_bytes=1000)
    with pytest.raises(UpstreamFailure, match="larger than"):
        guarded(packed(b"\0" * 50_000_000), max_bytes=100_000)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress"])
def test_encodings_that_were_not_asked_for_are_refused(encoding):
    async def handler(_request):
        return web.Response(body=b"xx", headers={"content-encoding": encoding})

    with pytest.raises(UpstreamFailure, match="encoded"):
        guarded(handler)


@pytest.mark.parametrize(
    "body", [b"no gzip at all", gzip.compress(b"a" * 1000)[:-9]], ids=["no gzip", "cut short"]
)
def test_garbled_compression_is_the_far_ends_failure(body):
    async def handler(_request):
        return web.Response(body=body, headers={"content-encoding": "gzip"})

    with pytest.raises(UpstreamFailure, match="compression"):
        guarded(handler)


def test_a_far_end_that_says_nothing_is_left_in_time():
    async def silent(_request):
        await asyncio.Event().wait()

    with pytest.raises(UpstreamFailure, match="did not answer"):
        guarded(silent, timeout_s=0.2)


def test_a_far_end_that_is_not_there_or_speaks_no_http_is_its_own_failure():
    async def scenario():
        async def rubbish(_reader, writer):
            writer.write(b"SSH-2.0-rubbish\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(rubbish, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with GuardedSession(allow_private=True) as session:
            with pytest.raises(UpstreamFailure):
                await session.fetch(f"http://127.0.0.1:{port}/")
            server.close()
            await server.wait_closed()
            with pytest.raises(UpstreamFailure, match="could not be reached"):
                await session.fetch(f"http://127.0.0.1:{port}/")

    asyncio.run(scenario())


def test_proxies_of_the_environment_and_cookies_of_strangers_are_not_used(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

    async def baking(request):
        assert "cookie" not in request.headers
        if request.path == "/":
            return web.Response(status=302, headers={"location": "/again", "set-cookie": "a=b"})
        return web.Response()

    assert guarded(baking)[0].status == 200


def test_a_post_is_sent_once_and_its_redirect_is_not_followed():
    async def away(request):
        return web.Response(status=307, headers={"location": "/there"})

    answer, seen = guarded(away, method="POST", data=b"a=b")
    assert answer.status == 307
    assert len(seen) == 1


def test_names_that_nobody_answers_for_hold_up_no_other_work(monkeypatch):
    asked, gate = threading.Semaphore(0), threading.Event()

    def unanswered(*_: object, **__: object) -> list:
        asked.release()
        gate.wait()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", unanswered)  # what a resolver does whose server says nothing
    many = min(32, (os.cpu_count() or 1) + 4)  # as many as threads that serve everything else

    async def go() -> None:
        names = [asyncio.create_task(system_resolve(f"h{at}.example", 80)) for at in range(many)]
        try:
            async with asyncio.timeout(10):
                for _ in names:
                    while not asked.acquire(blocking=False):
                        await asyncio.sleep(0)
                assert await asyncio.to_thread(lambda: "done") == "done"
        finally:
            gate.set()
            await asyncio.gather(*names)

    asyncio.run(go())
