"""A hub on this machine that speaks both listings and misbehaves on demand."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

HELD = re.compile("/zai-org/glm-edge-1.5b-chat/")  # the same as owner/tiny
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server holds and how it behaves; tests change it while it runs."""

    files: dict[str, bytes] = field(default_factory=dict)
    promised: dict[str, bytes] = field(default_factory=dict)  # listed instead of what is really sent
    commit: str = COMMIT
    drop_after: list[int] = field(default_factory=list)  # cut the next weight answers after so many bytes
    refuse: list[tuple[int, dict[str, str]]] = field(
        default_factory=list
    )  # the next answers: status, headers
    ignore_range: bool = False
    hold_after: int | None = None  # send so many bytes of a weight file, then wait for `release`
    release: threading.Event = field(default_factory=threading.Event)
    held: threading.Event = field(default_factory=threading.Event)
    requests: list[tuple[str, str | None]] = field(default_factory=list)  # path, range
    page_size: int = 1000
    address: str = ""
    seen_tokens: set[str | None] = field(default_factory=set)

    def listed(self, path: str) -> bytes:
        return self.promised.get(path, self.files[path])

    def asked_for(self, path: str) -> list[str | None]:
        """The ranges of all requests for a file."""
        return [ranged for url, ranged in self.requests if unquote(url).endswith(path)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        """Tests have nothing to read here."""

    def do_GET(self) -> None:
        hub = self.hub
        url = urlsplit(self.path)
        hub.requests.append((self.path, self.headers.get("Range")))
        hub.seen_tokens.add(self.headers.get("Authorization"))
        if hub.refuse:
            status, headers = hub.refuse.pop(0)
            return self.answer(status, b"", headers)
        path, query = HELD.sub("/owner/tiny/", url.path), parse_qs(url.query)
        if path.startswith("/api/models/owner/tiny/revision/"):
            return self.json({"sha": hub.commit})
        if path == f"/api/models/owner/tiny/tree/{hub.commit}":
            return self.tree(int(query.get("cursor", ["0"])[0]))
        if path == "/api/v1/models/owner/tiny/repo/files":
            return self.modelscope()
        if path == "/api/v1/models/owner/tiny/repo":
            return self.file(query["FilePath"][0])
        return self.file(unquote(path.removeprefix(f"/owner/tiny/resolve/{hub.commit}/")))

    def tree(self, cursor: int) -> None:
        rows = []
        for path in list(self.hub.files)[cursor : cursor + self.hub.page_size]:
            data = self.hub.listed(path)
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            row: dict[str, object] = {"type": "file", "path": path, "size": len(data), "oid": blob}
            if path.endswith((".safetensors", ".gguf", ".bin", "tokenizer.json")):
                row |= {"lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}, "oid": "0" * 40}
            rows.append(row)
        headers = {}
        if cursor + self.hub.page_size < len(self.hub.files):
            following = cursor + self.hub.page_size
            headers["Link"] = f'<{self.hub.address}{urlsplit(self.path).path}?cursor={following}>; rel="next"'
        self.answer(200, json.dumps(rows).encode(), headers)

    def modelscope(self) -> None:
        rows: list[dict[str, object]] = [{"Path": "figures", "Type": "tree", "Size": 0, "Sha256": ""}]
        for path in self.hub.files:
            data = self.hub.listed(path)
            digest = hashlib.sha256(data).hexdigest()
            rows.append({"Path": path, "Type": "blob", "Size": len(data), "Sha256": digest})
        self.json({"Code": 200, "Data": {"Files": rows}, "Success": True})

    def file(self, path: str) -> None:
        hub = self.hub
        if path not in hub.files:
            return self.answer(404, b"")
        data = hub.files[path]
        ranged = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(ranged[1]) if ranged and not hub.ignore_range else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        body = data[start:]
        if path.endswith((".safetensors", ".gguf")):
            if hub.hold_after is not None:
                self.wfile.write(body[: hub.hold_after])
                self.wfile.flush()
                body = body[hub.hold_after :]
                hub.held.set()
                hub.release.wait(60)
            elif hub.drop_after:
                self.wfile.write(body[: hub.drop_after.pop(0)])
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return None
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        return None

    def json(self, value: object) -> None:
        self.answer(200, json.dumps(value).encode())

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A killed client is what some tests are about."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A small two-shard checkpoint, by the names of `HELD`, at HF_ENDPOINT and MODELSCOPE_ENDPOINT."""
    state = Hub()
    server = QuietServer(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": state}))
    state.address = f"http://127.0.0.1:{server.server_port}"
    shards = {f"model-0000{n}-of-00002.safetensors": bytes([n]) * 3_000_000 for n in (1, 2)}
    index = {"metadata": {}, "weight_map": {f"layer.{n}": name for n, name in enumerate(shards)}}
    state.files = {
        "config.json": b'{"model_type": "glm"}',
        "tokenizer.json": b'{"model": {}}',
        "README.md": b"# not needed",
        "modeling_tiny.py": b"raise SystemExit('never run this')",
        "pytorch_model.bin": b"a pickle",
        "consolidated.safetensors": b"the same weights once more",
        "original/config.json": b"{}",
        "model.safetensors.index.json": json.dumps(index).encode(),
        **shards,
    }
    monkeypatch.setenv("HF_ENDPOINT", state.address)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", state.address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for token in ("HF_TOKEN", "MODELSCOPE_API_TOKEN"):
        monkeypatch.delenv(token, raising=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield state
    state.release.set()
    server.shutdown()
    server.server_close()
