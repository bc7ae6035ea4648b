"""Compile native.cpp with the system's C++ compiler, once per machine and source, and load it.

The library lies in the cache folder under a name that hashes everything that shaped it, beside its own
sha256: a file that is stale has another name, and one that is damaged is built again, never loaded. Without a
compiler, on another system than Linux, or with OPENGLM_NATIVE=0 in the environment, `native()` is None, the
plain torch path serves, and `status()` says why.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from openglm import runtime

logger = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("native.cpp")  # includes its neighbours
# No -ffast-math and no contraction: sums keep their order and their rounding, and NaN stays NaN.
FLAGS = ("-O3", "-march=native", "-std=c++17", "-ffp-contract=off", "-fPIC", "-shared", "-pthread", "-w")
COMPILE_TIMEOUT_S = 300  # a build takes a few seconds; this is for a machine that is very busy


@dataclass(frozen=True, slots=True)
class Status:
    """What `glm doctor` shows: is native code in use, and which kind, or why not."""

    available: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Native:
    """The loaded library; its functions take raw addresses and release the GIL."""

    functions: ctypes.CDLL
    isa: str
    path: Path


class Unavailable(Exception):
    """Why there is no native code; the message goes into status()."""


def native() -> Native | None:
    """The native kernels, compiled if need be (seconds, once), or None."""
    return _load_once()[0]


def status() -> Status:
    found, reason = _load_once()
    if found is None:
        return Status(False, f"plain torch is used: {reason}")
    return Status(
        True, f"{found.isa}, {torch.get_num_threads()} threads, {found.path} (OPENGLM_NATIVE=0: off)"
    )


@functools.cache
def _load_once() -> tuple[Native | None, str]:
    try:
        return build(runtime.cache_folder() / "kernels"), ""
    except Unavailable as reason:
        logger.warning("native kernels are off, plain torch is used (much slower on a CPU): %s", reason)
        return None, str(reason)


def build(folder: Path, flags: tuple[str, ...] = FLAGS) -> Native:
    """Load the library from folder, compiling it there first if it is missing or damaged."""
    if os.environ.get("OPENGLM_NATIVE") == "0":
        raise Unavailable("OPENGLM_NATIVE=0 is set")
    if sys.platform != "linux":
        raise Unavailable(f"they are built for Linux only, this is {sys.platform}")
    compiler = find_compiler()
    if compiler is None:
        raise Unavailable("no C++ compiler found (g++, clang++ or c++). hint: install g++, or set CXX")
    path = folder / f"native-{_fingerprint(compiler, flags)}.so"
    if not _is_whole(path):
        _compile(compiler, flags, path)
    try:
        library = ctypes.CDLL(str(path))
        isa = _declare(library)
    except (OSError, AttributeError) as error:
        raise Unavailable(f"{path} was built but does not load: {error}") from error
    return Native(library, isa, path)


def find_compiler() -> str | None:
    names = (os.environ.get("CXX"), "g++", "clang++", "c++")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def _fingerprint(compiler: str, flags: tuple[str, ...]) -> str:
    """Of everything that shapes the library: source, flags, compiler and the CPU's instruction sets."""
    real = Path(compiler).resolve()
    sources = [file.read_text() for file in sorted(SOURCE.parent.glob("*.cpp"))]
    parts = [*sources, *flags, str(real), str(real.stat().st_mtime_ns), _cpu()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    described = ("vendor_id", "cpu family", "model", "flags", "Features", "CPU part")
    first_cpu = dict.fromkeys(line for line in lines if line.split("\t")[0].strip(" :") in described)
    return platform.machine() + "\n".join(first_cpu)


def _is_whole(path: Path) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == path.with_suffix(".sha256").read_text()
    except OSError:  # missing or unreadable: building will show
        return False


def _compile(compiler: str, flags: tuple[str, ...], path: Path) -> None:
    logger.info("compiling the native kernels with %s (once, some seconds)", compiler)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            built = Path(scratch) / path.name
            command = [compiler, *flags, "-o", str(built), str(SOURCE)]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=False
            )
            if done.returncode:
                raise Unavailable(f"{compiler} failed on {SOURCE.name}: {done.stderr.strip()[:500]}")
            digest = built.with_suffix(".sha256")
            digest.write_text(hashlib.sha256(built.read_bytes()).hexdigest())
            built.replace(path)
            digest.replace(path.with_suffix(".sha256"))
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"building in {path.parent} failed: {error}") from error


ERRORS = {  # what a non-zero result means
    1: "a slot lies outside of the cache",
    2: "a sequence's query rows lie outside of q",
    3: "a sequence's context is shorter than its query or longer than its row of the block table",
    4: "a block table names a block that the cache does not have",
    5: "a row lies outside of the table",
    6: "a row lies outside of the batch",
}


def check(code: int) -> None:
    if code:
        raise IndexError(ERRORS[code])


_P, _I, _N, _F = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_float  # pointer, int, count, float
_SIGNATURES = {
    "openglm_linear": [_P, _I, _N, _I, _P, _P, _P, _I, _N, _P, _P, _N, _I],
    "openglm_add_low_rank": [_P, _N, _N, _P, _I, _N, _P, _N, _P, _P, _N, _P, _N, _I],
    "openglm_rms_norm": [_P, _I, _N, _N, _N, _P, _F, _P, _I],
    "openglm_rope": [_P, _I, _N, _N, _N, _N, _P, _P, _N, _I, _I],
    "openglm_silu_and_mul": [_P, _P, _I, _N, _N, _N, _N, _P, _I],
    "openglm_add": [_P, _P, _I, _N, _P, _I],
    "openglm_dequantize_rows": [_P, _N, _N, _I, _P, _P, _P, _I, _N, _P, _I],
    "openglm_write_cache": [_P, _N, _N, _N, _I, _I, *[_P, _N, _N, _N, _P], *[_P, _N, _N, _N, _P]],
    "openglm_paged_attention": [
        *[_P, _I, _N, _N, _N, _N],
        *[_P, _P, _I, _N, _N, _N, _N, _N],
        *[_P, _N, _N, _P, _P, _P, _F, _P, _I],
    ],
}
_RESULTS = dict.fromkeys(
    (
        "openglm_add_low_rank",
        "openglm_write_cache",
        "openglm_paged_attention",
        "openglm_dequantize_rows",
    ),
    _I,
)


def _declare(library: ctypes.CDLL) -> str:
    for name, arguments in _SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, _RESULTS.get(name)
    library.openglm_isa.restype = ctypes.c_char_p
    return library.openglm_isa().decode()
