"""What the programs write to stderr, as processes: lines for requests and errors, and no secret in any."""

from __future__ import annotations

import subprocess
import sys

import httpx
import pytest

CODE = "the-code-that-opens-a-session"
LOG_AN_ERROR = """
import logging
from openglm.logs import to_stderr
to_stderr()
to_stderr()
try:
    raise ValueError("password=hush-hush")
except ValueError:
    logging.getLogger("openglm.maas").error("key sk-0123456789abcdef0123 failed", exc_info=True)
logging.getLogger("aiohttp.server").warning("Authorization: Bearer hush-hush")
logging.getLogger("aiohttp.server").info("a library's chatter")
"""


@pytest.mark.slow
@pytest.mark.parametrize("flag", [["--access-log"], []])
def test_a_line_for_each_request_if_asked_for_and_no_secret_in_it(tmp_path, flag):
    command = [*(sys.executable, "-m", "openglm.cli", "up", "--no-model", "--port", "0"), *flag]
    with subprocess.Popen(
        [*command, "--data", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        url = program.stdout.readline().removeprefix("ready ").strip()
        path = f"/api/console/oidc/callback?code={CODE}&state={CODE}&iss=x"
        httpx.get(url + path, headers={"authorization": f"Bearer {CODE}"})
        program.terminate()
        _, errors = program.communicate(timeout=60)
    assert CODE not in errors
    assert ("/api/console/oidc/callback?code=***" in errors) == bool(flag)


def test_errors_of_any_library_are_written_once_and_without_secrets():
    done = subprocess.run([sys.executable, "-c", LOG_AN_ERROR], capture_output=True, text=True, check=True)
    assert done.stderr.count("failed") == 1
    assert "ValueError: password=***" in done.stderr
    assert "WARNING aiohttp.server: Authorization: " in done.stderr
    for hidden in ("hush", "0123456789abcdef", "chatter"):
        assert hidden not in done.stderr
