"""Clients that hear every byte of a stream, so that a slow model is exactly as slow as a test needs it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx


class Patience(httpx.HTTPTransport):
    """Lets the model's server write these words only when a keep-alive has come before each of them.

    `gates` is for the script of its answer.
    """

    def __init__(self, folder: Path, keep_alive: bytes, words: Sequence[int]):
        super().__init__()
        self.gates = {str(word): str(folder / f"word-{word}") for word in words}
        self._closed = [Path(gate) for gate in self.gates.values()]
        self._keep_alive = keep_alive
        self._unread = b""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=_Overheard(response.stream, self.hear),
            extensions=response.extensions,
        )

    def hear(self, chunk: bytes) -> None:
        *_, self._unread = parts = (self._unread + chunk).split(self._keep_alive)
        for _ in parts[1:]:
            if self._closed:
                self._closed.pop(0).touch()


class _Overheard(httpx.SyncByteStream):
    def __init__(self, stream, hear):
        self._stream, self._hear = stream, hear

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self._hear(chunk)
            yield chunk

    def close(self) -> None:
        self._stream.close()


@contextmanager
def patient(keep_alive: bytes, words: Sequence[int]) -> Iterator[tuple[httpx.Client, dict[str, str]]]:
    """A client for an SDK, and the gates that it opens."""
    with tempfile.TemporaryDirectory() as folder:
        transport = Patience(Path(folder), keep_alive, words)
        with httpx.Client(transport=transport, timeout=60) as client:
            yield client, transport.gates
