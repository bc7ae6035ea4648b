"""Bring a repository of Hugging Face or ModelScope into the cache, whole and checked, or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from openglm.hub.catalogue import Source
from openglm.hub.progress import Progress
from openglm.hub.remote import INDEX, choose, list_files, listed_shards, open_session
from openglm.hub.storage import Checked, Manifest, only_one, put_in_place, require_space, sha256_of, size_of
from openglm.hub.transfer import Patience, RemoteFile, fetch


def repository_folder(source: Source, models: Path) -> Path:
    """`KIND/owner/name/revision`; `main` or `master` stands for what the branch held when it was fetched."""
    revision = source.revision or ("main" if source.kind == "hf" else "master")
    name = revision.replace("/", "--") + (f"--{source.file}".replace("/", "--") if source.file else "")
    return models / source.kind / source.name / name


def pull_repository(source: Source, final: Path, progress: Progress, patience: Patience) -> Manifest:
    """Make `final` the newest state of `source`. Files that are here already and unchanged are kept."""
    with only_one(final, progress), open_session(source.kind) as session:
        listing = list_files(session, source, patience)
        small, weights = choose(listing, source)
        old = Manifest.read(final)
        staging = final.with_name(final.name + ".partial")
        staging.mkdir(parents=True, exist_ok=True)
        checked: dict[str, Checked] = {}

        def bring(files: list[RemoteFile]) -> None:
            for file in files:
                if sha256 := kept(file, final, staging, old):
                    progress.have(file.size)
                else:
                    sha256 = fetch(session, file, staging, progress, patience)
                checked[file.path] = Checked(file.size, sha256)

        bring(small)
        index = staging / INDEX
        if INDEX in checked:
            weights = listed_shards(index.read_text(encoding="utf-8"), weights, source)
        if old and old.commit == listing.commit and old.holds(final) and is_same(old, small + weights):
            shutil.rmtree(staging)
            return old
        progress.expect(sum(file.size for file in small + weights))
        require_space(staging, sum(missing_bytes(file, staging, final, old) for file in weights))
        bring(weights)
        for stray in set(staging.iterdir()) - {staging / name for name in checked}:
            stray.unlink()
        manifest = Manifest(str(source), listing.commit, checked)
        manifest.write(staging)
        put_in_place(staging, final)
        return manifest


def is_same(old: Manifest, files: list[RemoteFile]) -> bool:
    return {file.path: file.size for file in files} == {
        name: row.size for name, row in old.files.items()
    } and all(file.sha256 in (None, old.files[file.path].sha256) for file in files)


def kept(file: RemoteFile, final: Path, staging: Path, old: Manifest | None) -> str | None:
    """The sha256 of a file that need not come again: done by an interrupted pull, or in the last version."""
    here = staging / file.path
    if file.sha256 and size_of(here) == file.size and sha256_of(here) == file.sha256:
        return file.sha256
    known = old.files.get(file.path) if old else None
    if known and file.sha256 == known.sha256 and size_of(final / file.path) == file.size:
        here.unlink(missing_ok=True)
        os.link(final / file.path, here)
        return known.sha256
    return None


def missing_bytes(file: RemoteFile, staging: Path, final: Path, old: Manifest | None) -> int:
    known = old.files.get(file.path) if old else None
    if known and known.sha256 == file.sha256 and size_of(final / file.path) == file.size:
        return 0
    here = [staging / file.path, *staging.glob(f"{file.path}.*.part")]
    return max(0, file.size - max((size_of(path) or 0 for path in here), default=0))
