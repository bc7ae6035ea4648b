"""Hostile input and secrets, over the whole platform. Guards have tests of their own beside their code."""

from __future__ import annotations

import asyncio
import io
import logging
import zipfile

import httpx
import pytest
from pypdf import PdfWriter

from openglm.maas.documents.html import MAX_OPEN
from openglm.maas.documents.reading import Bounds, Manner, digest_apart, read
from openglm.maas.documents.source import DocumentRefused
from openglm.maas.upstreams import Channel
from tests.maas.gateway.conftest import House, house

__all__ = ["house"]
TURN = [{"role": "user", "content": "hello"}]


def zipped(**parts: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name.replace("__", "/"), content)
    return out.getvalue()


def many_parts() -> bytes:
    return zipped(**{f"word__part{number}": b"" for number in range(6_000)})


def locked_pdf() -> bytes:
    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    writer.encrypt("hush")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


LAUGHS = b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><l>&b;</l>'
OUTSIDE = b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]><l>&a;</l>'


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("docx", zipped(**{"word__document.xml": b"\0" * (64 << 20)})),
        ("xlsx", zipped(**{"xl__workbook.xml": b" " * (64 << 20)})),
        ("docx", many_parts()),
        ("docx", zipped(**{"word__document.xml": LAUGHS})),
        ("xlsx", zipped(**{"xl__workbook.xml": OUTSIDE})),
        ("docx", zipped(**{"elsewhere__document.xml": b"<a/>"})),
        ("docx", b"\xd0\xcf\x11\xe0" + b"\0" * 600),
        ("docx", b"PK\x03\x04 and nothing more"),
        ("pdf", locked_pdf()),
        ("pdf", b"%PDF-1.7\n" + b"1 0 obj <</A 1 0 R>> endobj\n" * 1000),
        ("html", b"<div>" * (MAX_OPEN + 100_000)),
        ("json", b"[" * 200_000),
        ("text", b"word " * 1_100_000),
    ],
)
def test_a_document_that_is_a_trap_is_refused_with_a_reason(kind, content):
    with pytest.raises((DocumentRefused, RecursionError)) as raised:
        read(content, kind)
    if isinstance(raised.value, DocumentRefused):
        assert raised.value.message
        assert b"root:" not in str(raised.value).encode()


def test_a_document_that_breaks_or_stalls_its_reader_is_refused_and_the_reader_ends():
    manner = Manner("json", 1, 300, ("\n",), "a.json")
    with pytest.raises(DocumentRefused):
        asyncio.run(digest_apart(b"[" * 3_000_000, manner))
    with pytest.raises(DocumentRefused):
        asyncio.run(digest_apart(b"{}", manner, Bounds(0.001, 10, 1 << 30)))


@pytest.mark.parametrize(
    "name",
    ["../../evil.jsonl", "/etc/passwd", "..\\evil", "a\r\nset-cookie: x=1", "a\x00b", "", "é" * 400, "."],
)
def test_a_file_name_leaves_no_folder_and_adds_no_header(house: House, name, tmp_path):
    headers = {"authorization": f"Bearer {house.key}"}
    made = httpx.post(
        f"{house.url}/v1/files",
        data={"purpose": "user_data"},
        files={"file": (name, b"content")},
        headers=headers,
    )
    assert made.status_code in (200, 400)
    assert not list(tmp_path.parent.glob("evil*"))
    if made.status_code == 200:
        content = httpx.get(f"{house.url}/v1/files/{made.json()['id']}/content", headers=headers)
        assert content.content == b"content"
        assert "set-cookie" not in content.headers


@pytest.mark.parametrize(
    "name", ["x-request-id", "idempotency-key", "x-session-affinity", "openai-organization"]
)
def test_a_strange_header_is_not_given_back(house: House, name):
    value = "a" * 300 + "<script>\tb"
    answer = house.post("/v1/chat/completions", {"model": "glm", "messages": TURN}, headers={name: value})
    assert answer.status_code in (200, 400)
    assert "<script>" not in str(answer.headers) + answer.text


def test_bodies_beyond_the_limits_are_refused_and_cost_nothing(house: House):
    headers = {"authorization": f"Bearer {house.key}", "content-type": "application/json"}
    huge = httpx.post(
        f"{house.url}/v1/chat/completions", content=b" " * (65 << 20), headers=headers, timeout=60
    )
    assert huge.status_code == 413
    assert house.usage() == []


def test_no_secret_is_in_the_database_or_in_a_log_in_clear(house: House, wait_until, caplog):
    caplog.set_level(logging.DEBUG)
    platform = house.platform
    console = f"{house.url}/api/console"
    password, channel_key = "ann's very own passphrase", "sk-channel-0123456789abcdef0123456789"

    async def work() -> list[str]:
        person = await platform.accounts.sign_up("zoe@example.com", password, "Zoe")
        setup = platform.installation.setup_token
        session = await platform.sessions.open(person.user.id)
        by = (await platform.accounts.members(house.org_id))[0]
        from openglm.maas.identity import Actor

        invited = await platform.accounts.invite(
            house.org_id, "new@example.com", "viewer", by=Actor(by.user_id)
        )
        (code,) = await platform.wallet.create_codes(1, 10**9)
        await platform.channels.put(Channel("far", house.upstream.url, {"far": "x"}, api_key=channel_key))
        return [session.cookie, session.csrf, invited.token, code, setup]

    secrets = [*asyncio.run(work()), password, channel_key, house.key.partition(".")[2]]
    secrets.append((platform.settings.data / "secret.key").read_text().strip())
    good = {"model": "glm", "messages": TURN}
    for path, body in (
        ("/v1/chat/completions", good),
        ("/v1/chat/completions", {**good, "model": "far"}),
        ("/v1/chat/completions", {**good, "model": "none"}),
        ("/v1/messages", {**good, "max_tokens": 5}),
        ("/api/paas/v4/chat/completions", {**good, "stream": True}),
    ):
        house.post(path, body)
        house.post(path, body, headers={"authorization": f"Bearer {house.key}x"})
    httpx.post(f"{console}/login", json={"email": "zoe@example.com", "password": password})
    httpx.post(f"{console}/login", json={"email": "zoe@example.com", "password": password + "x"})
    httpx.get(f"{console}/session", headers={"cookie": f"glm_session={secrets[0]}"})
    house.settled(wait_until)
    assert not [secret for secret in secrets if secret in caplog.text]
    if platform.settings.database.startswith("sqlite"):
        tables = house.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
    else:
        tables = house.rows(
            "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public'"
        )
    assert len(tables) > 20
    for table in tables:
        for row in house.rows(f"SELECT * FROM {table['name']}"):
            kept = b"\n".join(
                bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
                for value in row.values()
            )
            assert not [secret for secret in secrets if secret.encode() in kept], table["name"]
