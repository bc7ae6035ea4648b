"""A job's folder in the data folder: what the trainer reads and writes, and what is left of it at the end.

finetuning/JOB/training.jsonl, validation.jsonl, recipe.toml, plan.json    written before it is queued
finetuning/JOB/output/                                                     the trainer's, with adapter/
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from openglm.errors import Overloaded
from openglm.maas.servers.servers import ADAPTER_FILES

ROOM = "finetuning"


class Folder:
    def __init__(self, data: Path, job_id: str):
        self.adapter = f"{ROOM}/{job_id}/output/adapter"  # seen from the data folder, as models keep it
        self.path = data / ROOM / job_id
        self.training = self.path / "training.jsonl"
        self.validation = self.path / "validation.jsonl"
        self.draft = self.path / "draft.toml"
        self.recipe = self.path / "recipe.toml"
        self.plan = self.path / "plan.json"
        self.output = self.path / "output"

    @property
    def has_adapter(self) -> bool:
        return all((self.output / "adapter" / name).is_file() for name in ADAPTER_FILES)

    def lock(self) -> int:
        """An open file that locks the folder until it is closed here and in every child that inherited it.

        Raises Overloaded while somebody else has it: a trainer that outlives its platform, for a moment.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise Overloaded("an earlier trainer of this job has not ended yet") from None
        return lock

    async def write(self, target: Path, chunks: AsyncIterator[bytes]) -> None:
        """A file, whole or not at all."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = target.with_name(target.name + ".partial")
        with draft.open("wb") as file:
            async for chunk in chunks:
                await asyncio.to_thread(file.write, chunk)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(target)

    def rows(self) -> list[dict[str, Any]]:
        """The rows that the trainer logged, also those that we did not live to hear."""
        path = self.output / "metrics.jsonl"
        found = []
        for line in path.read_bytes().splitlines() if path.exists() else ():
            try:
                row = msgspec.json.decode(line)
            except (msgspec.MsgspecError, ValueError):
                continue  # the last line, cut off by a kill
            if isinstance(row, dict) and "step" in row:
                found.append(row)
        return found

    def tidy(self, *, keep_adapter: bool) -> None:
        """Delete what is no longer needed: all of it, or all but the adapter."""
        if not keep_adapter:
            shutil.rmtree(self.path, ignore_errors=True)
            return
        kept = {self.output, self.output / "adapter"}
        for folder in (self.path, self.output):
            for entry in folder.iterdir() if folder.exists() else ():
                if entry in kept:
                    continue
                if entry.is_dir():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()


async def once(content: bytes) -> AsyncIterator[bytes]:
    """Content that is here already, as stores take it."""
    yield content
