"""Names and e-mail addresses that people give, checked before they are kept."""

from __future__ import annotations

import re
import unicodedata

from openglm.errors import InvalidRequest

MAX_NAME = 100
MAX_EMAIL = 254  # RFC 5321
_EMAIL = re.compile(r"[^\s@\"<>(),;:\\\[\]]{1,64}@[^\s@\"<>(),;:\\\[\]]+\.[^\s@\"<>(),;:\\\[\].]+")


def clean_name(text: str, param: str = "name") -> str:
    """One visible line in Unicode's composed form."""
    name = unicodedata.normalize("NFC", text).strip() if isinstance(text, str) else ""
    if not 1 <= len(name) <= MAX_NAME:
        raise InvalidRequest(f"{param} must have 1 to {MAX_NAME} characters", param=param)
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
        raise InvalidRequest(f"{param} must not hold control characters", param=param)
    return name


def clean_email(text: str) -> str:
    """The address in the one spelling that we compare: ASCII, lower case.

    Folding letters beyond ASCII makes one address of two mailboxes: straße@ and strasse@ are two people.
    """
    email = text.strip().lower() if isinstance(text, str) and text.isascii() else ""
    if len(email) > MAX_EMAIL or not _EMAIL.fullmatch(email) or not email.isprintable():
        raise InvalidRequest(
            "this is not an e-mail address that can be used here",
            param="email",
            hint="write it like ann@example.org, a domain of other letters as xn--…",
        )
    return email
