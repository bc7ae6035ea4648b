"""Real programs of others in front of a real platform: agents of the command line, SDKs on Node.

They are about 1.2 GB from npm, so no run has these tests that does not ask for them: `make clis` installs the
pinned versions into the cache folder and runs `pytest tests/clis -m clis`.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from openglm.runtime import cache_folder
from tests.clis.agents import Agent
from tests.maas.conftest import wait_until
from tests.maas.gateway.conftest import House, house

__all__ = ["House", "house", "wait_until"]

PLAN = """
[plans.p]
windows = { 5h = 10_000_000, week = 50_000_000 }
[models."glm"]
uncached = 4
cached = 1
output = 12
"""
ONE_RUN_S = 120  # a program starts in a second; two busy cores


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "clis" in config.option.markexpr:
        return
    ours = [item for item in items if item.get_closest_marker("clis")]
    if ours:
        config.hook.pytest_deselected(items=ours)
        items[:] = [item for item in items if item not in ours]


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder of the installed packages."""
    folder = cache_folder() / "clis" / "node_modules"
    if not (folder / ".bin").is_dir():
        pytest.skip(f"the programs are not installed in {folder}; `make clis` installs them")
    if not shutil.which("node"):
        pytest.skip("node is not installed; the programs need Node 20 or newer")
    return folder


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """One database is enough here: the gateway's tests run on both."""
    return f"sqlite:///{tmp_path / 'openglm.db'}"


@dataclass
class Outside:
    """A proxy to nowhere: it hangs up on whoever wants to leave this machine, and remembers the request."""

    url: str = ""
    asked: list[str] = field(default_factory=list)

    def __enter__(self) -> Outside:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._refuse, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _refuse(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            with connection:
                self.asked.append(connection.recv(4096).split(b"\r\n")[0].decode("latin-1"))


@pytest.fixture
def outside() -> Iterator[Outside]:
    """Nothing may be asked of it: looked at when the test is over."""
    with Outside() as proxy:
        yield proxy
    assert proxy.asked == []


@dataclass
class Desk:
    """A folder to work in, with what the job is about, and a home that holds nothing but settings."""

    folder: Path
    home: Path
    environment: dict[str, str]

    def start(self, command: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, command: list[str]) -> tuple[int, str]:
        """The exit status, and everything that was printed."""
        with self.start(command) as process:
            try:
                output, errors = process.communicate(timeout=ONE_RUN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            return process.returncode, f"{output}\n--- stderr\n{errors}"

    def settle(self, agent: Agent, house: House) -> None:
        """Settings of an agent for this platform."""
        self.environment |= agent.settings(self.home, house.url, house.key)

    def text(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")


@pytest.fixture
def desk(tmp_path: Path, programs: Path, outside: Outside) -> Desk:
    folder, home = tmp_path / "work", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    (folder / "notes.txt").write_text("apples\nplums\n", encoding="utf-8")
    (folder / "dot.png").write_bytes(_red_dot())
    environment = {  # nothing of the caller's own: neither keys nor settings
        "PATH": os.pathsep.join((str(programs / ".bin"), os.environ["PATH"])),
        "HOME": str(home),
        "TMPDIR": str(tmp_path),
        "LANG": "C.UTF-8",
        "HTTP_PROXY": outside.url,
        "HTTPS_PROXY": outside.url,
        "NO_PROXY": "127.0.0.1,localhost",
    }
    return Desk(folder, home, environment)


def _red_dot() -> bytes:
    """A PNG of 8 by 8 red pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    rows = b"".join(b"\0" + b"\xff\0\0" * 8 for _ in range(8))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(kind, data) for kind, data in ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )
