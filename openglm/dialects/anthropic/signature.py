"""The signature of a thinking block: a short token by which reasoning that comes back is known to be ours.

`glm1.` and, in base64url, four bytes that name the key and sixteen of an HMAC-SHA256 over the text. A token
of another maker or of another key says nothing about the text, so it is no proof of a forgery: that reasoning
is left out, as is unsigned reasoning. Under our own key a text that does not fit was edited: an error.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Literal

KEY_PURPOSE = "thinking signatures"  # what a platform derives the key for
_MARK = "glm1."
_NAME_BYTES = 4
_MAC_BYTES = 16

Verdict = Literal["ours", "edited", "foreign"]


def sign(key: bytes, thinking: str) -> str:
    token = _name(key) + _mac(key, thinking)
    return _MARK + base64.urlsafe_b64encode(token).decode().rstrip("=")


def judge(key: bytes, thinking: str, signature: str | None) -> Verdict:
    """Whether we signed this text, or one that was changed since, or none at all."""
    if not signature or not signature.startswith(_MARK):
        return "foreign"
    text = signature.removeprefix(_MARK)
    try:
        token = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return "edited"
    if token[:_NAME_BYTES] != _name(key):
        return "foreign"
    return "ours" if hmac.compare_digest(token[_NAME_BYTES:], _mac(key, thinking)) else "edited"


def _name(key: bytes) -> bytes:
    return hashlib.sha256(b"thinking key\0" + key).digest()[:_NAME_BYTES]


def _mac(key: bytes, thinking: str) -> bytes:
    return hmac.digest(key, thinking.encode(), "sha256")[:_MAC_BYTES]
