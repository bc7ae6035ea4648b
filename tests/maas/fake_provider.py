"""An OIDC provider that tests run on the loopback: a real server, real keys, and screws to turn."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey

KEYS = [RSAKey.generate_key(2048, {"kid": f"k{number}", "use": "sig"}) for number in range(2)]


class FakeProvider:
    def __init__(self, clock) -> None:
        self.clock = clock
        self.port = 0
        self.key = KEYS[0]
        self.published = KEYS[0]
        self.claims: dict = {}
        self.header = {"alg": "RS256", "kid": "k0"}
        self.metadata: dict = {}
        self.codes: dict[str, dict] = {}
        self.reads = 0
        self.token_answer: web.Response | None = None

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __call__(self, request) -> web.Response:
        if request.path == "/.well-known/openid-configuration":
            self.reads += 1
            places = {
                name: f"{self.issuer}/{name}"
                for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")
            }
            return web.json_response({"issuer": self.issuer, **places, **self.metadata})
        if request.path == "/jwks_uri":
            return web.json_response({"keys": [self.published.as_dict(private=False)]})
        form = await request.post()
        asked = self.codes.pop(str(form["code"]), None)
        challenge = base64.urlsafe_b64encode(
            hashlib.sha256(str(form["code_verifier"]).encode()).digest()
        ).rstrip(b"=")
        if (
            asked is None
            or challenge.decode() != asked["code_challenge"]
            or form["redirect_uri"] != asked["redirect_uri"]
            or form["client_secret"] != "hush"
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        return self.token_answer or web.json_response({"id_token": self.token(asked["nonce"])})

    def token(self, nonce: str) -> str:
        now = self.clock() // 1000
        claims = {
            "iss": self.issuer,
            "aud": "client",
            "sub": "subject-1",
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            "email": "ann@example.org",
            "email_verified": True,
            "name": "Ann",
            **self.claims,
        }
        return jwt.encode(self.header, {k: v for k, v in claims.items() if v is not None}, self.key)

    def visit(self, url: str) -> dict[str, str]:
        """The browser at the provider's door: what its redirect brings back."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert asked["code_challenge_method"] == "S256"
        assert asked["scope"].split()[0] == "openid"
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        return {"code": code, "state": asked["state"]}


@asynccontextmanager
async def running_provider(clock) -> AsyncIterator[FakeProvider]:
    fake = FakeProvider(clock)
    runner = web.ServerRunner(web.Server(fake))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.port = runner.addresses[0][1]
    try:
        yield fake
    finally:
        await runner.cleanup()
