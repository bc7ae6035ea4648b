"""A data folder is served once at a time."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from openglm.errors import OpenGLMError
from openglm.maas import folder_lock


def test_a_folder_is_served_by_one_process_and_the_next_one_is_told_which(tmp_path):
    held = folder_lock.take(tmp_path)
    with pytest.raises(OpenGLMError, match=f"number {os.getpid()}"):
        folder_lock.take(tmp_path)
    os.close(held)
    os.close(folder_lock.take(tmp_path))


@pytest.mark.slow
def test_a_second_glm_up_says_what_is_wrong_and_a_killed_one_leaves_no_lock(tmp_path):
    command = [
        sys.executable,
        "-m",
        "openglm.cli",
        "up",
        "--no-model",
        "--port",
        "0",
        "--data",
        str(tmp_path),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as first:
        assert first.stdout.readline().startswith("ready ")
        second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert second.returncode == 1
        assert f"number {first.pid}" in second.stderr
        assert "--data" in second.stderr
        first.kill()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as third:
        assert third.stdout.readline().startswith("ready ")
        third.terminate()
