"""`glm doctor`: what this machine has, what will be used, and what to fix."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from openglm.errors import OpenGLMError
from openglm.runtime import cache_folder

USEFUL_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_bf16", "amx_int8", "asimd")
LOW_DISK_BYTES = 2_000_000_000  # the default model, the built kernels, and some air
LOW_MEMORY_BYTES = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Check:
    """`note`: it works, less well than it could; `bad`: something will fail. `fix` says what to do."""

    name: str
    level: Literal["ok", "note", "bad"]
    value: str
    fix: str | None = None


def doctor(
    *, json_: Annotated[bool, Parameter(name="--json", negative=(), help="print JSON")] = False
) -> int:
    """Look at this machine. Exit code 1 if something must be fixed first."""
    checks = [
        check_python(),
        *check_processor(),
        check_memory(),
        *check_torch(),
        check_native(),
        *check_cache(),
        check_model(),
        check_browser(),
    ]
    if json_:
        print(json.dumps({"checks": [asdict(check) for check in checks]}, ensure_ascii=False, indent=1))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            print(f"{check.level:4}  {check.name:{width}}  {check.value}")
            if check.fix:
                print(f"{'':6}{'':{width}}  -> {check.fix}")
    return int(any(check.level == "bad" for check in checks))


def check_python() -> Check:
    value = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {sys.executable}"
    return Check("python", "ok", value)


def check_processor() -> Iterator[Check]:
    model, flags = "unknown", set[str]()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                model = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags = set(value.split())
    useful = " ".join(flag for flag in USEFUL_FLAGS if flag in flags)
    yield Check(
        "processor", "ok", f"{model}; {usable_cores()} cores for us; {useful or 'no vector flags seen'}"
    )


def usable_cores() -> int:
    """Cores that this process may run on, which a container can make fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_memory() -> Check:
    import psutil

    memory = psutil.virtual_memory()
    value = f"{memory.total / 1e9:.1f} GB, {memory.available / 1e9:.1f} GB free"
    if memory.available < LOW_MEMORY_BYTES:
        return Check("memory", "note", value, "close something: the default model wants about 1 GB")
    return Check("memory", "ok", value)


def check_torch() -> Iterator[Check]:
    try:
        import torch
    except ImportError as error:
        yield Check("torch", "bad", f"cannot be imported: {error}", "run: make setup")
        return
    yield Check("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")
    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = f"torch is built for CUDA {built} but sees no device" if built else "torch is built for the CPU"
        yield Check("device", "ok", f"cpu will be used ({why})")
        return
    for number in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(number)
        capability = f"{card.major}.{card.minor}"
        size = f"{card.total_memory / 1e9:.0f} GB"
        use = ", will be used" if number == 0 else ""
        yield Check(
            "device", "ok", f"cuda:{number} {card.name}, {size}, compute capability {capability}{use}"
        )


def check_native() -> Check:
    try:
        from openglm import kernels

        status = kernels.status()
    except (ImportError, OSError) as error:
        return Check("kernels", "bad", f"cannot be loaded: {error}", "run: make setup")
    if status.available:
        return Check("kernels", "ok", f"native: {status.detail}")
    fix = (
        None if shutil.which("c++") or shutil.which("g++") else "install a C++ compiler: apt-get install g++"
    )
    return Check("kernels", "note", f"plain torch, several times slower: {status.detail}", fix)


def check_cache() -> Iterator[Check]:
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        yield Check(
            "cache", "bad", f"{folder}: {error}", "point OPENGLM_CACHE at a folder that can be written"
        )
        return
    yield Check("cache", "ok", str(folder))
    free = shutil.disk_usage(folder).free
    fix = "free some space, or point OPENGLM_CACHE at a larger disk" if free < LOW_DISK_BYTES else None
    yield Check("disk", "note" if fix else "ok", f"{free / 1e9:.1f} GB free for the cache", fix)


def check_model() -> Check:
    from openglm.commands.models import models_here

    try:
        found = models_here()
    except OpenGLMError as error:
        return Check("models", "bad", error.message, error.hint)
    if not found:
        return Check("models", "note", "none is here yet", "run: glm pull smollm2 (93 MB), or glm models")
    return Check("models", "ok", f"{len(found)} here: {', '.join(row.source for row in found)}")


def check_browser() -> Check:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found:
        return Check("chromium", "ok", f"{found} (for the browser tests)")
    fix = "run: setup/packages.sh (only the project's own tests need it)"
    return Check("chromium", "note", "missing; the browser tests will not run", fix)
