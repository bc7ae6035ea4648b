"""Fetch a URL that a stranger named, without becoming their way into our network (SSRF).

Every connection is judged by the address that it really goes to, at the moment it is made, so neither odd
spellings, DNS tricks nor redirects help. Only http and https, no credentials in URLs, five redirects, a limit
on time and on bytes both before and after decompression. Proxies of the environment are not used.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from openglm.errors import InvalidRequest, UpstreamFailure

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.abc import AbstractResolver
    from yarl import URL

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]  # a host's addresses

MAX_REDIRECTS = 5
MAX_URL = 8192  # characters
MAX_BYTES = 10 * 2**20
TIMEOUT_S = 20.0
CONNECTIONS = 50
USER_AGENT = "OpenGLM"
# A name that nobody answers for keeps its thread longer than its fetch waits, so these serve nothing else.
# They are more than one tenant's MCP servers (16 answers with 8 each) ask for at once.
_resolvers = ThreadPoolExecutor(256, thread_name_prefix="openglm-names")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_METADATA = frozenset(  # of clouds, where link-local and shared ranges do not cover it
    ipaddress.ip_address(text)
    for text in ("168.63.129.16", "100.100.100.200", "fd00:ec2::254", "fd20:ce::254", "192.0.0.192")
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_EMBEDS = tuple(  # prefixes that carry other addresses, or that no public host has
    ipaddress.ip_network(text) for text in ("64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96", "5f00::/16")
)
_RESERVED = tuple(  # where Python's table says nothing, or calls them private: no host is there
    ipaddress.ip_network(text) for text in ("0.0.0.0/8", "192.88.99.0/24", "240.0.0.0/4", "3fff::/20")
)
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*", re.I)


class AddressRefused(InvalidRequest, OSError):
    """The URL leads to an address that we do not fetch from. An OSError too, for the connector."""

    def __init__(self, host: str):
        super().__init__(
            f"{host!r} is not a public address", param="url", code="url_refused", hint="use a public URL"
        )


class TooLarge(UpstreamFailure):
    """The answer is larger than it may be; asking again cannot help."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer, whatever its status. `url` is where the last redirect led."""

    url: str
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


def is_allowed(address: Address, *, allow_private: bool = False) -> bool:
    """May we connect there? What an IPv6 address carries inside is judged, not its clothes.

    `allow_private` opens private networks and this machine, for addresses that the operator wrote down. Cloud
    metadata, link-local and multicast stay closed to everybody.
    """
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_allowed(inner, allow_private=allow_private)
        if address.teredo is not None or address.is_site_local or address.scope_id:
            return False
        if any(address in network for network in _EMBEDS) and not address.is_loopback:
            return False
    closed = address in _METADATA or any(address in network for network in _RESERVED)
    if closed or address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    if allow_private and (address.is_private or address.is_loopback):
        return True
    return address.is_global and not address.is_reserved


def check_url(url: str, *, allow_private: bool = False) -> URL:
    """The parsed URL, or a refusal that needs no look-up. Use it also when a URL is stored for later."""
    from yarl import URL

    if not isinstance(url, str) or len(url) > MAX_URL:
        raise _bad(f"a URL must be text of at most {MAX_URL} characters")
    if any(ord(letter) <= 32 or ord(letter) == 127 for letter in url) or "\\" in url:
        raise _bad("a URL must not hold spaces, control characters or backslashes")
    try:
        parsed = URL(url)
        host, port = (parsed.raw_host or "").rstrip(".").lower(), parsed.port
    except (ValueError, UnicodeError):
        raise _bad("this is not a URL") from None
    if parsed.scheme not in ("http", "https"):
        raise _bad(f"only http and https are fetched, got {parsed.scheme[:20]!r}")
    if parsed.raw_user is not None or parsed.raw_password is not None:
        raise _bad("a URL must not hold a user name or a password")
    if not host or not port:
        raise _bad("the URL names no host")
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        # As browsers read it: a host that ends in a number is an IPv4 address, here in a disguise.
        if _NUMBER.fullmatch(host.rpartition(".")[2]) or "%" in host or ":" in host:
            raise AddressRefused(host) from None
        if not allow_private and host.rpartition(".")[2] == "localhost":
            raise AddressRefused(host) from None
    else:
        if not is_allowed(literal, allow_private=allow_private):
            raise AddressRefused(host)
    return parsed.with_fragment(None)


async def system_resolve(host: str, port: int) -> Sequence[str]:
    ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_resolvers, ask)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedSession:
    """Connections for fetching. Use it as an async context manager, or `close` it.

    `allow_private` is for addresses that the operator wrote down, never for a stranger's. Fetches beyond
    `connections` wait; None is for streams that stay open, whose number somebody else bounds.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        resolve: Resolve = system_resolve,
        connections: int | None = CONNECTIONS,
    ):
        self._connections = connections
        self._allow_private = allow_private
        self._resolve = resolve
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> GuardedSession:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        max_bytes: int = MAX_BYTES,
        timeout_s: float = TIMEOUT_S,
    ) -> Fetched:
        """The whole answer, decoded. What is wrong with the URL is InvalidRequest; with the far end,
        UpstreamFailure. Only GET and HEAD follow redirects; headers given here do not go to another host.
        """
        target, sent = check_url(url, allow_private=self._allow_private), dict(headers or {})
        try:
            async with asyncio.timeout(timeout_s):
                for _ in range(MAX_REDIRECTS + 1):
                    answer = await self._once(method, target, sent, data, max_bytes)
                    if answer.status not in _REDIRECTS or method not in ("GET", "HEAD"):
                        return answer
                    following = self._follow(target, answer)
                    if following.origin() != target.origin():
                        sent = {}
                    target = following
        except TimeoutError:
            raise UpstreamFailure(f"{target.host} did not answer within {timeout_s:g} s") from None
        raise UpstreamFailure(f"{target.host} redirects more than {MAX_REDIRECTS} times")

    def _follow(self, here: URL, answer: Fetched) -> URL:
        location = answer.headers.get("location", "")
        try:
            following = here.join(type(here)(location))
        except (ValueError, UnicodeError):
            raise UpstreamFailure(f"{here.host} redirects to what is no URL") from None
        if not location:
            raise UpstreamFailure(f"{here.host} redirects nowhere")
        if here.scheme == "https" and following.scheme != "https":
            raise UpstreamFailure(f"{here.host} redirects from https to {following.scheme[:20]!r}")
        return check_url(str(following), allow_private=self._allow_private)

    @asynccontextmanager
    async def streamed(
        self, method: str, url: str, *, headers: Mapping[str, str], data: bytes | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One answer as it comes, whatever its status, for protocols that stream. Redirects are not followed;
        limits on time and size are the reader's."""
        import aiohttp

        target = check_url(url, allow_private=self._allow_private)
        sent = {"user-agent": USER_AGENT, "accept-encoding": "identity", **headers}
        no_end = aiohttp.ClientTimeout(total=None)
        with _explained(target.host):
            async with self._open().request(
                method, target, headers=sent, data=data, allow_redirects=False, timeout=no_end
            ) as answer:
                if answer.headers.get("content-encoding", "identity").lower() != "identity":
                    raise UpstreamFailure(f"{target.host} compressed its answer, which was not asked for")
                yield answer

    async def _once(
        self, method: str, url: URL, headers: Mapping[str, str], data: bytes | None, max_bytes: int
    ) -> Fetched:
        sent = {"user-agent": USER_AGENT, "accept-encoding": "gzip, deflate", **headers}
        with _explained(url.host):
            async with self._open().request(
                method, url, headers=sent, data=data, allow_redirects=False
            ) as answer:
                found = {name.lower(): value for name, value in answer.headers.items()}
                body = b""
                if answer.status not in _REDIRECTS and method != "HEAD":
                    body = await _read(answer, found.get("content-encoding", ""), max_bytes)
                return Fetched(str(url), answer.status, found, body)

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=_guarded_resolver(self._resolve, self._allow_private),
                use_dns_cache=False,
                force_close=True,  # a connection judged for one fetch serves no other
                limit=self._connections or 0,
                socket_factory=self._socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                max_line_size=16_384,
                max_field_size=16_384,
            )
        return self._session

    def _socket(self, address_info: Any) -> socket.socket:
        """The last gate: whatever names and resolvers said, this is the address we connect to."""
        family, kind, protocol, _, target = address_info
        if not is_allowed(ipaddress.ip_address(target[0]), allow_private=self._allow_private):
            raise AddressRefused(str(target[0]))
        return socket.socket(family, kind, protocol)


@contextmanager
def _explained(host: str | None) -> Iterator[None]:
    """What goes wrong on the way, as an error of ours."""
    import aiohttp

    try:
        yield
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, AddressRefused):
            raise error.os_error from None
        raise UpstreamFailure(f"{host} could not be reached") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        if isinstance(error, InvalidRequest):
            raise
        raise UpstreamFailure(f"{host} could not be fetched: {type(error).__name__}") from error


def _guarded_resolver(resolve: Resolve, allow_private: bool) -> AbstractResolver:
    from aiohttp.abc import AbstractResolver, ResolveResult

    class GuardedResolver(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            addresses = [ipaddress.ip_address(text) for text in await resolve(host, port)]
            # One bad address spoils the name: a mixed answer is how rebinding begins.
            if not addresses or not all(
                is_allowed(entry, allow_private=allow_private) for entry in addresses
            ):
                raise AddressRefused(host)
            return [
                ResolveResult(
                    hostname=host,
                    host=str(address),
                    port=port,
                    family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                    proto=0,
                    flags=socket.AI_NUMERICHOST,
                )
                for address in addresses
            ]

        async def close(self) -> None: ...

    return GuardedResolver()


async def _read(answer: aiohttp.ClientResponse, encoding: str, max_bytes: int) -> bytes:
    """The body, decoded step by step, so that neither a long one nor a bomb is ever held whole."""
    decoder = _decoder(encoding)
    body = bytearray()
    received = 0
    async for chunk in answer.content.iter_chunked(65_536):
        received += len(chunk)
        try:
            body += decoder.decompress(chunk, max_bytes + 1 - len(body)) if decoder else chunk
        except zlib.error:
            raise UpstreamFailure("the answer's compression is garbled") from None
        if len(body) > max_bytes or received > max_bytes:
            raise TooLarge(f"the answer is larger than {max_bytes} bytes")
    if decoder and received and not decoder.eof:
        raise UpstreamFailure("the answer's compression is cut short")
    return bytes(body)


def _decoder(encoding: str) -> Any:
    word = encoding.strip().lower()
    if word in ("", "identity"):
        return None
    if word in ("gzip", "x-gzip"):
        return zlib.decompressobj(16 + zlib.MAX_WBITS)
    if word == "deflate":
        return zlib.decompressobj()
    raise UpstreamFailure(f"the answer is encoded as {word[:40]!r}, which was not asked for")


def _bad(message: str) -> InvalidRequest:
    return InvalidRequest(message, param="url", code="url_refused")
