"""Environments for the SDKs that cannot live in ours: zai-sdk and zhipuai ask for different PyJWTs.

`sdks.py` makes those that are missing and prints the interpreter of each that it is asked for. An environment
lies in the cache folder under a name that says what it was made from, and gets that name only when it is
whole: a second run does nothing, and what was interrupted is made anew.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from openglm.runtime import cache_folder

PINS = Path(__file__).parent / "sdks"


def interpreter(name: str) -> Path:
    """The interpreter that has the SDK, made if it is not there."""
    pins = PINS / f"{name}.txt"
    made_from = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = cache_folder() / "sdks" / f"{name}-{made_from}"
    if not folder.exists():
        print(f"setup: installing {name} for the tests", file=sys.stderr)
        install(pins, folder)
    return folder / "bin" / "python"


def install(pins: Path, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=".making-", dir=folder.parent))
    try:
        venv.create(making, symlinks=True)
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--python",
            making / "bin" / "python",
        ]
        subprocess.run([*pip, "install", "--quiet", "-r", pins], check=True, stdout=sys.stderr)
        try:
            making.rename(folder)
        except OSError:
            if not folder.exists():  # else somebody else was faster, and theirs is as good
                raise
    finally:
        shutil.rmtree(making, ignore_errors=True)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or sorted(path.stem for path in PINS.glob("*.txt")):
        print(interpreter(wanted))
