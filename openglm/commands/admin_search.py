"""`glm admin search`: what the local web index knows, which the search tools answer from."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from openglm.commands.admin import admin
from openglm.commands.office import Office, moment
from openglm.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from openglm.maas.platform import Platform
    from openglm.maas.search import Document, LocalIndex

search = App("search", "The local web index, which search tools answer from.", help_format="plaintext")
admin.command(search)


@search.command(name="add")
def add_pages(
    *sources: Annotated[str, Parameter(help="web addresses, files, or folders of files")],
    base: Annotated[str, Parameter(help="address that files are reached at; their names are added")] = "",
    office: Office = Office(),
) -> None:
    """Add pages and documents, or replace those of the same address. Links of pages are not followed.

    Files are HTML, Markdown, PDF, Word, Excel, CSV, JSON or text; others in a folder are passed over.
    """
    if not sources:
        raise InvalidRequest("there is nothing to add", hint="name web addresses, files or folders")

    async def work(platform: Platform) -> None:
        index, added = local_index(platform), []
        for source in sources:
            if source.startswith(("http://", "https://")):
                added.append(await fetched(platform, source))
                continue
            for path, name in files_of(Path(source)):
                added.append(await read(path, base + name))
        await index.add(added)
        office.show([{"link": one.link, "title": one.title} for one in added], ("link", "title"))

    office.run(work)


@search.command(name="list")
def list_pages(*, office: Office = Office()) -> None:
    """List what is known: address, title, characters of text, and when it was published."""

    async def work(platform: Platform) -> None:
        rows = [
            {**page, "published": moment(page["published"])} for page in await local_index(platform).pages()
        ]
        office.show(rows, ("link", "title", "chars", "published"))

    office.run(work)


@search.command(name="remove")
def remove_page(link: str, /, *, office: Office = Office()) -> None:
    """Forget a page by its address."""

    async def work(platform: Platform) -> None:
        if not await local_index(platform).remove(link):
            raise NotFound(f"the index has no page {link!r}", hint="glm admin search list shows them")

    office.run(work)


def local_index(platform: Platform) -> LocalIndex:
    from openglm.maas.search import LocalIndex

    if not isinstance(platform.search, LocalIndex):
        raise InvalidRequest(
            "the platform asks another search engine", hint="take search_url out of platform.toml"
        )
    return platform.search


def files_of(source: Path) -> Iterator[tuple[Path, str]]:
    """A file, or those of a folder that can be read, with the names that their addresses end in."""
    from openglm.maas.documents.reading import KINDS

    if not source.is_dir():
        yield source, source.name
        return
    for path in sorted(source.rglob("*")):
        if path.is_file() and path.suffix.lower().removeprefix(".") in KINDS:
            yield path, path.relative_to(source).as_posix()


async def read(path: Path, link: str) -> Document:
    from openglm.maas.documents.reading import Showing, kind_of, show_apart
    from openglm.maas.search import Document

    try:
        content, changed = path.read_bytes(), path.stat().st_mtime
    except OSError as error:
        raise InvalidRequest(f"cannot read {path}: {error.strerror}") from error
    page = await show_apart(content, Showing(kind_of(path.name), link, markdown=False))
    return Document(link, page.title or path.stem, page.content, published_ms=int(changed * 1000))


async def fetched(platform: Platform, url: str) -> Document:
    """A page of the web or of the operator's own network."""
    from openglm.maas.search import Document, Reader

    address, page = await Reader(platform.fetch_named).read(url, tenant="", markdown=False)
    return Document(address, page.title or address, page.content, published_ms=as_time(page.published))


def as_time(text: str) -> int | None:
    """A page's own word on when it was published, if it is a date as ISO 8601 spells it."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)
