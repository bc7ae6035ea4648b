"""Uploads over a real connection: those that break off, and those whose form is not what it says."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import httpx
import pytest

from tests.maas.gateway.conftest import House

BODY = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
PLACES = ("/v1/files", "/api/paas/v4/files")


def form(purpose: bytes = b"user_data") -> bytes:
    named = BODY % (b"purpose", b"", purpose)
    return named + BODY % (b"file", b'; filename="a.txt"', b"content") + b"--x--\r\n"


@pytest.mark.parametrize("path", PLACES)
def test_a_client_that_leaves_in_the_middle_of_an_upload_is_no_error_of_ours(
    house: House, wait_until, caplog, path
):
    address = urlsplit(house.url)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {house.key}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 100000\r\n\r\n"
    )
    for _ in range(3):
        with socket.create_connection((address.hostname, address.port)) as client:
            client.sendall(head.encode() + form()[:60])
    headers = {"authorization": f"Bearer {house.key}"}
    assert httpx.get(f"{house.url}/v1/files", headers=headers).json()["data"] == []
    house.settled(wait_until)
    assert "Traceback" not in caplog.text
    assert "failed" not in caplog.text


@pytest.mark.parametrize("charset", ["punycode", "idna", "hex", "none-such", "utf-16", "\"a'", "=", "utf-8"])
@pytest.mark.parametrize("path", PLACES)
def test_the_charset_of_a_form_is_not_the_clients_to_choose(house: House, path, charset):
    headers = {
        "authorization": f"Bearer {house.key}",
        "content-type": f"multipart/form-data; boundary=x; charset={charset}",
    }
    sent = httpx.post(house.url + path, content=form(), headers=headers)
    assert sent.status_code == 200, sent.text
    assert sent.json()["filename"] == "a.txt"
    refused = httpx.post(house.url + path, content=form(b"\xff\xfe\x80"), headers=headers)
    assert refused.status_code == 400, refused.text
