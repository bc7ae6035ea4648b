"""A database that takes nothing for a while, for a real reason: locked by another process, or closed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"


@contextmanager
def outage(url: str) -> Iterator[None]:
    """SQLite's BUSY_TIMEOUT_MS must be short, or writers wait for it in peace."""
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")
        return
    with server_of(url) as (server, name):
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        server.execute(CUT.format(name=name))
        yield
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


@contextmanager
def server_of(url: str) -> Iterator[tuple[psycopg.Connection, str]]:
    """A connection beside a test's database, and the database's name."""
    name = url.partition("@/")[2].partition("?")[0]
    with psycopg.connect(url.replace(f"/{name}?", "/postgres?"), autocommit=True) as server:
        yield server, name
