"""How often one may try to sign in or up: GCRA buckets in the database, so that restarts and nodes change
nothing.

A bucket is one moment: when it will be empty again. An attempt pushes it on by its share; one that would push
it past the burst is refused and pushes nothing. An address is an IPv4 address, or the /64 of an IPv6 one, as
one subscriber has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from openglm.errors import RateLimited
from openglm.maas.database import Transaction
from openglm.maas.identity.addresses import subscriber
from openglm.maas.secrets import fingerprint


@dataclass(frozen=True, slots=True)
class Allowance:
    burst: int
    every_ms: int  # one more attempt each


PER_PAIR = Allowance(5, 60_000)  # of one address for one account
PER_ACCOUNT = Allowance(50, 60_000)  # of all addresses for one account
PER_ADDRESS = Allowance(30, 10_000)  # of one address for all accounts
DEPARTURES = Allowance(
    100, 6_000
)  # of one address to an identity provider; each leaves a row for ten minutes
NEW_ACCOUNTS = Allowance(100, 10_000)  # of one address: a whole office may stand behind it


def to_sign_in(tx: Transaction, now: int, email: str, ip: str | None) -> None:
    """Count one attempt in all buckets, or raise; then nothing is counted."""
    buckets = {
        _pair(email, ip): PER_PAIR,
        "account:" + fingerprint(email): PER_ACCOUNT,
        f"ip:{subscriber(ip)}": PER_ADDRESS,
    }
    _count_all(
        tx,
        now,
        buckets,
        "too many attempts to sign in",
        hint="wait, or ask an administrator for a new password",
    )


def to_sign_up(tx: Transaction, now: int, ip: str | None) -> None:
    buckets = {f"sign-up:{subscriber(ip)}": NEW_ACCOUNTS}
    _count_all(tx, now, buckets, "too many accounts are being made from your network", hint="try again later")


def to_depart(tx: Transaction, now: int, ip: str | None) -> None:
    buckets = {f"depart:{subscriber(ip)}": DEPARTURES}
    _count_all(
        tx, now, buckets, "too many sign-ins are being started from your network", hint="try again later"
    )


def forgive(tx: Transaction, email: str, ip: str | None) -> None:
    """A right password empties the bucket of this address and account."""
    tx.run("DELETE FROM login_attempt WHERE bucket = :bucket", bucket=_pair(email, ip))


def _pair(email: str, ip: str | None) -> str:
    return f"pair:{fingerprint(email)}:{subscriber(ip)}"


def _count_all(
    tx: Transaction, now: int, buckets: Mapping[str, Allowance], refusal: str, *, hint: str
) -> None:
    # Sorted: nodes that lock the same rows lock them in the same order.
    for bucket, allowance in sorted(buckets.items()):
        wait_ms = _count(tx, now, bucket, allowance)
        if wait_ms:
            raise RateLimited(refusal, kind="requests", retry_after_s=max(1.0, wait_ms / 1000), hint=hint)
    tx.run("DELETE FROM login_attempt WHERE empty_at < :now", now=now)


def _count(tx: Transaction, now: int, bucket: str, allowance: Allowance) -> int:
    """How long to wait before this attempt counts; 0: it is counted."""
    span = allowance.burst * allowance.every_ms
    tx.run(
        "INSERT INTO login_attempt (bucket, empty_at) VALUES (:bucket, 0) ON CONFLICT (bucket) DO NOTHING",
        bucket=bucket,
    )
    # A moment beyond the span can only come from a clock that was wrong.
    if tx.run(
        "UPDATE login_attempt SET empty_at = CASE WHEN empty_at < :now OR empty_at > :now + :span"
        " THEN :now ELSE empty_at END + :every"
        " WHERE bucket = :bucket AND (empty_at <= :now + :room OR empty_at > :now + :span)",
        bucket=bucket,
        now=now,
        span=span,
        every=allowance.every_ms,
        room=span - allowance.every_ms,
    ):
        return 0
    row = tx.one("SELECT empty_at FROM login_attempt WHERE bucket = :bucket", bucket=bucket)
    return max(1, (row["empty_at"] if row else now) - (now + span - allowance.every_ms))
