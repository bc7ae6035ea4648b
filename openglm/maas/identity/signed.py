"""Zhipu's signed tokens: a JWT (HS256, `sign_type: SIGN`) that a client makes from its API key.

Claims are `api_key` (the key's id), `exp` and `timestamp`, both in MILLISECONDS, which is why no JWT library
may judge them. Any other algorithm, `none` first of all, is refused.
"""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass

import msgspec

from openglm.errors import Unauthorized

SKEW_MS = 30_000  # a client's clock may be this far behind ours
MAX_MS = 2**53


@dataclass(frozen=True, slots=True)
class Claims:
    key_id: str
    expires_ms: int

    def check(self, now_ms: int) -> None:
        if self.expires_ms + SKEW_MS <= now_ms:
            raise Unauthorized(
                "the signed token has expired",
                reason="expired",
                hint="exp is in milliseconds; check the clock",
            )


def read_signed(text: str) -> Claims:
    """What a token claims. Nothing is proven yet."""
    try:
        head, body, _ = (_part(part) for part in text.split("."))
        header, claims = msgspec.json.decode(head), msgspec.json.decode(body)
    except (ValueError, binascii.Error, RecursionError):
        raise Unauthorized("the signed token is garbled", reason="malformed") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise Unauthorized("the signed token is garbled", reason="malformed")
    if header.get("alg") != "HS256" or header.get("sign_type", "SIGN") != "SIGN":
        raise Unauthorized("the signed token must be HS256 with sign_type SIGN", reason="malformed")
    key_id, expires = claims.get("api_key"), claims.get("exp")
    if not isinstance(key_id, str) or not key_id or len(key_id) > 100:
        raise Unauthorized("the signed token names no api_key", reason="malformed")
    if isinstance(expires, bool) or not isinstance(expires, int | float) or not _in_range(expires):
        raise Unauthorized("exp of the signed token must be a time in milliseconds", reason="malformed")
    return Claims(key_id, int(expires))


def verify_signed(text: str, secret: bytes) -> None:
    """Was it signed with this secret?"""
    import jwt

    try:
        jwt.PyJWS().decode(text, secret, algorithms=["HS256"])
    except jwt.InvalidTokenError:
        raise Unauthorized("the signed token's signature is wrong", reason="rejected") from None


def _part(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _in_range(value: float) -> bool:
    return math.isfinite(value) and 0 <= value <= MAX_MS
