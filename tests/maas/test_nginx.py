"""deploy/nginx.conf as it is, but for names and ports, in front of a gateway."""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from openglm.asgi import Running
from openglm.maas.gateway import create_app
from openglm.maas.platform import Platform
from openglm.maas.settings import Settings
from openglm.maas.upstreams import Channel
from tests.maas.fake_upstream import FakeUpstream

CONF = Path(__file__).parents[2] / "deploy" / "nginx.conf"
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
MAIN = """
daemon off; pid {folder}/pid; error_log {folder}/log; user {user};
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    include {folder}/site.conf;
}}
"""
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed; setup/packages.sh does it")


@dataclass
class Site:
    url: str
    platform: Platform
    upstream: FakeUpstream
    key: str

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, verify=False, timeout=60)


@pytest.fixture
def site(tmp_path: Path, wait_until) -> Iterator[Site]:
    platform = Platform(Settings(data=tmp_path / "data"), serves=False)

    async def furnish() -> str:
        await platform.prices.set_if_none("glm")
        person = await platform.accounts.add("ann@example.com", "a long and odd passphrase", "Ann")
        return (await platform.keys.create(person.org_id, person.project_id, "x", cidrs=["127.0.0.1"])).key

    key = asyncio.run(furnish())
    with FakeUpstream() as upstream:
        platform.router.add(Channel("fake", upstream.url, {"glm": "wire"}))
        with Running(create_app(platform)) as gateway:
            port = write_conf(tmp_path, gateway.removeprefix("http://"))
            command = [str(NGINX), "-c", str(tmp_path / "main.conf"), "-p", str(tmp_path)]
            checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
            assert checked.returncode == 0, checked.stderr
            with subprocess.Popen(command) as nginx:
                try:
                    wait_until(lambda: listens(port))
                    yield Site(f"https://127.0.0.1:{port}", platform, upstream, key)
                finally:
                    nginx.terminate()


def write_conf(folder: Path, gateway: str) -> int:
    """The site with free ports, the gateway's address and a certificate of its own; returns the TLS port."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "glm.example.org")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(pem))
    private = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(pem, private, serialization.NoEncryption()))
    plain, secure = free_port(), free_port()
    text = CONF.read_text(encoding="utf-8")
    for old, new in (
        ("/etc/nginx/tls/", f"{folder}/"),
        ("server openglm:8000 ", f"server {gateway} "),
        ("listen 80;", f"listen 127.0.0.1:{plain};"),
        ("listen 443 ", f"listen 127.0.0.1:{secure} "),
    ):
        assert text.count(old) >= 1, old
        text = text.replace(old, new)
    (folder / "site.conf").write_text(text)
    user = "root" if os.geteuid() == 0 else "nobody"
    (folder / "main.conf").write_text(MAIN.format(folder=folder, user=user))
    return secure


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def chat(**script: object) -> dict:
    message = {"role": "user", "content": json.dumps(script)}
    return {"model": "glm", "messages": [message], "stream": True}


def test_tokens_go_out_through_the_proxy_as_they_come(site: Site):
    headers = {"authorization": f"Bearer {site.key}"}
    asked = chat(tokens=5, pace_s=0.2)
    with (
        site.client() as client,
        client.stream("POST", "/v1/chat/completions", json=asked, headers=headers) as answer,
    ):
        lines = answer.iter_lines()
        first = next(line for line in lines if "w0" in line)
        assert site.upstream.open == 1, "the first word came before the last was written"
        rest = list(lines)
    assert first.startswith("data: ")
    assert "data: [DONE]" in rest


def test_nobody_says_for_themselves_where_they_come_from(site: Site):
    forged = {"x-forwarded-for": "203.0.113.9", "authorization": f"Bearer {site.key}"}
    with site.client() as client:
        assert client.get("/v1/models", headers=forged).status_code == 200  # the key is tied to 127.0.0.1


def test_who_comes_through_the_proxy_is_not_on_this_machine(site: Site):
    with site.client() as client:
        assert client.post("/v1/chat/completions", json=chat()).status_code == 401
        assert client.get("/metrics").status_code == 404
        assert client.get("/health").status_code == 200


def test_a_large_file_goes_through(site: Site):
    headers = {"authorization": f"Bearer {site.key}"}
    with site.client() as client:
        sent = client.post(
            "/v1/files",
            data={"purpose": "user_data"},
            files={"file": ("a.bin", b"x" * (24 << 20))},
            headers=headers,
        )
    assert sent.json()["bytes"] == 24 << 20


def test_the_simplest_proxy_makes_nobody_a_program_of_this_machine(tmp_path: Path, wait_until):
    """`proxy_pass` and nothing more, before there is an account: no header tells, and Host is ours."""
    platform = Platform(Settings(data=tmp_path / "data"), serves=False)
    asyncio.run(platform.prices.set_if_none("glm"))
    with FakeUpstream() as upstream, Running(create_app(platform)) as gateway:
        platform.router.add(Channel("fake", upstream.url, {"glm": "wire"}))
        port = free_port()
        site = f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {gateway}; }} }}"
        (tmp_path / "site.conf").write_text(site)
        user = "root" if os.geteuid() == 0 else "nobody"
        (tmp_path / "main.conf").write_text(MAIN.format(folder=tmp_path, user=user))
        with subprocess.Popen([str(NGINX), "-c", str(tmp_path / "main.conf"), "-p", str(tmp_path)]) as nginx:
            try:
                wait_until(lambda: listens(port))
                url = f"http://127.0.0.1:{port}"
                assert httpx.post(f"{url}/v1/chat/completions", json=chat()).status_code == 401
                assert httpx.get(f"{url}/metrics").status_code == 401
                eve = {"email": "eve@example.com", "password": "a long and odd passphrase", "name": "Eve"}
                assert httpx.post(f"{url}/api/console/sign-up", json=eve).status_code == 403
                assert httpx.post(f"{gateway}/v1/chat/completions", json=chat()).status_code == 200
                assert asyncio.run(platform.accounts.is_empty())
            finally:
                nginx.terminate()
