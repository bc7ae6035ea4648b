"""IP addresses and networks as keys are tied to them. An IPv4 address in IPv6 clothes counts as IPv4."""

from __future__ import annotations

import ipaddress

from openglm.errors import InvalidRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def as_address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    return (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped) or address


def subscriber(text: str | None) -> str:
    """What one subscriber has: an IPv4 address, or the 64 bits before an IPv6 host's own part."""
    address = as_address(text) if text else None
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return str(address) if address else text or ""


def as_network(text: str, param: str) -> Network:
    """A network such as 10.0.0.0/8 or a single address. Bits beyond the prefix are an error, not a guess."""
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError as error:
        raise InvalidRequest(
            f"{param}: {text!r} is not a network: {error}", param=param, hint="write it like 10.0.0.0/8"
        ) from None
