"""Serving an app with uvicorn: TCP or a Unix socket, port 0, and a stop that lets running answers finish.

`run` blocks and obeys SIGINT and SIGTERM; `Running` serves on a thread of its own, for tests and notebooks.
An app says in `app.state.stop` how to end what still runs when the grace is over; `app.state.started` and
`app.state.stopped`, coroutine functions, run on the loop before the first request and after the last.
`app.state.ending` runs while the last requests end: it lets go of streams that would never end by themselves,
and returns when nothing goes on that deserves the grace.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from openglm.errors import OpenGLMError

GRACE_S = 20.0  # how long running answers may go on after the signal to stop
LINGER_S = 1.0  # how long connections without a request stay open once the port has closed
# Longer than nginx (60 s) and clients keep theirs: who sends closes, so nothing is sent into a closing one.
KEEP_ALIVE_S = 75
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(
    app: Starlette,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    uds: Path | None = None,
    grace_s: float = GRACE_S,
    linger_s: float = LINGER_S,
    on_ready: Callable[[str], None] | None = None,
    access_log: bool = False,
) -> None:
    """Serve until a signal. `on_ready` gets the address as a client types it, with the real port."""
    listener = open_socket(host, port, uds)
    try:
        server = _Server(app, grace_s=grace_s, linger_s=linger_s, access_log=access_log, on_ready=on_ready)
        server.run(sockets=[listener])
    finally:
        listener.close()
        if uds:
            uds.unlink(missing_ok=True)


class Running:
    """`with Running(app) as url:` serves on a free local port until the block ends."""

    def __init__(self, app: Starlette, *, host: str = "127.0.0.1", port: int = 0, grace_s: float = 1.0):
        self._listener = open_socket(host, port, None)
        self._ready = threading.Event()
        self._server = _Server(app, grace_s=grace_s, on_ready=lambda _: self._ready.set())
        self._thread = threading.Thread(target=self._serve, name="openglm-serve", daemon=True)
        self.url = address(self._listener)

    def __enter__(self) -> str:
        self._thread.start()
        self._ready.wait()
        if not self._server.started:
            raise OpenGLMError("the server did not start")
        return self.url

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """What has begun may end within the grace. Stopping twice is once."""
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        finally:
            self._ready.set()


class _Server(uvicorn.Server):
    """uvicorn that reports when it listens, and ends cleanly on a signal, streams with an error chunk."""

    def __init__(
        self,
        app: Starlette,
        *,
        grace_s: float,
        linger_s: float = 0.0,
        access_log: bool = False,
        on_ready: Callable[[str], None] | None = None,
    ):
        config = uvicorn.Config(
            app,
            log_config=None,  # loggers are the program's: see openglm.logs
            access_log=access_log,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(grace_s) + 5,  # after our own deadline
        )
        super().__init__(config)
        self._app = app
        self._grace_s = grace_s
        self._linger_s = linger_s
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if started := getattr(self._app.state, "started", None):
            await started()
        await super().startup(sockets)
        if self._on_ready and sockets:
            self._on_ready(address(sockets[0]))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        deadline = asyncio.get_running_loop().call_later(self._grace_s, self._app.state.stop)
        ending = getattr(self._app.state, "ending", None)
        letting_go = asyncio.create_task(ending()) if ending else None
        try:
            await self._linger(sockets or [])
            await super().shutdown(sockets)
            if letting_go:
                await letting_go
        finally:
            deadline.cancel()
            self._app.state.stop()
            if stopped := getattr(self._app.state, "stopped", None):
                await stopped()

    async def _linger(self, sockets: list[socket.socket]) -> None:
        """Close the port, let answers end, and answer what still comes on connections that are open.

        A proxy that keeps connections sends no request twice, and may be sending on one just now: each is
        closed with an answer that says so, or when nothing has come on it for a while.
        """
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0.01)  # who has connected already is let in
        for server in self.servers:
            server.close()
        for listener in sockets:
            listener.close()
        self.server_state.default_headers.append((b"connection", b"close"))
        for connection in self.server_state.connections:
            cycle = getattr(connection, "cycle", None)
            if cycle and not cycle.response_started:
                cycle.keep_alive = False
        quiet: dict[Any, float] = {}  # since when a connection has had no request
        end = loop.time() + self._grace_s + self._linger_s
        while self.server_state.connections and not self.force_exit and loop.time() < end:
            await asyncio.sleep(0.02)
            now = loop.time()
            quiet = {one: quiet.get(one, now) for one in self.server_state.connections if _is_idle(one)}
            await asyncio.sleep(0.001)  # what lies in a socket is read before it is closed
            for connection, since in quiet.items():
                if now - since >= self._linger_s and _is_idle(connection):
                    connection.shutdown()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but a signal that was obeyed is not raised again: the process ends with status 0."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[int, Any] = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal stops gently, the second at once."""
        if self.should_exit:
            self.force_exit = True
            self._app.state.stop()
        self.should_exit = True


def _is_idle(connection: Any) -> bool:
    cycle = getattr(connection, "cycle", None)
    return cycle is None or cycle.response_complete


def open_socket(host: str, port: int, uds: Path | None) -> socket.socket:
    """A listening-ready socket; says in words why an address cannot be had."""
    if uds is not None:
        return _open_unix(uds)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        hint = "another program listens there; choose another --port, or 0 for a free one"
        taken = error.errno == errno.EADDRINUSE
        raise OpenGLMError(
            f"cannot listen on {host}:{port}: {error.strerror}", hint=hint if taken else None
        ) from error
    return listener


def _open_unix(path: Path) -> socket.socket:
    """A Unix socket that only this user may open. One that a killed server left behind is replaced."""
    if path.exists():
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise OpenGLMError(f"cannot listen on {path}: a file that is no socket is in the way")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise OpenGLMError(f"cannot listen on {path}: another server does")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise OpenGLMError(f"cannot listen on {path}: {error.strerror or error}") from error
    path.chmod(0o600)
    return listener


def address(listener: socket.socket) -> str:
    """The URL of a bound socket."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
