"""Passwords: argon2id hashes, made in threads, so few at once that they cannot eat the machine.

A sign-in with an unknown address costs the same hash as one with a wrong password, so time tells nobody who
has an account.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from openglm.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from argon2 import PasswordHasher

T = TypeVar("T")
MIN_LENGTH = 10
MAX_LENGTH = 256
AT_ONCE = 2  # each takes the memory below
MEMORY_KIB = 19_456  # OWASP's first choice for argon2id: 19 MiB, 2 passes, 1 lane
PASSES = 2
_COMMON = frozenset({"password", "passwort", "qwertyuiop", "1234567890", "letmein", "openglm"})


class Passwords:
    """Hash and check. One object for one event loop."""

    def __init__(self, *, memory_kib: int = MEMORY_KIB):
        self._memory_kib = memory_kib
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def hash(self, password: str, *, email: str) -> str:
        check_password(password, email)
        return await self._in_thread(lambda: _hasher(self._memory_kib).hash(password))

    async def matches(self, password: str, known: str | None) -> bool:
        """Does it match? Without a known hash the answer is no, after as long."""
        if not isinstance(password, str) or len(password) > MAX_LENGTH:
            password = ""
        return await self._in_thread(lambda: _verify(_hasher(self._memory_kib), known, password))

    def outdated(self, known: str) -> bool:
        """Was it hashed with other settings than today's?"""
        return _hasher(self._memory_kib).check_needs_rehash(known)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        async with self._turn:
            return await asyncio.to_thread(work)


def check_password(password: str, email: str) -> None:
    """Long enough, and neither the address nor a word that everybody tries."""
    if not isinstance(password, str) or not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise InvalidRequest(
            f"the password must have {MIN_LENGTH} to {MAX_LENGTH} characters",
            param="password",
            hint="three or four words make a good one",
        )
    plain = password.casefold()
    if plain == email or plain.rstrip("0123456789!.") in _COMMON or len(set(plain)) < 4:
        raise InvalidRequest("the password is too easy to guess", param="password")


def _verify(hasher: PasswordHasher, known: str | None, password: str) -> bool:
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        hasher.verify(known or _decoy(hasher.memory_cost), password)
    except (VerificationError, InvalidHashError):
        return False
    return known is not None


@lru_cache(maxsize=4)
def _hasher(memory_kib: int) -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=PASSES, memory_cost=memory_kib, parallelism=1)


@lru_cache(maxsize=4)
def _decoy(memory_kib: int) -> str:
    return _hasher(memory_kib).hash("nobody's password")
