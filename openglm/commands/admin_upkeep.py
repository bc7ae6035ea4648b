"""`glm admin` over the data folder: backup, restore, check, retention."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from openglm.commands.admin import admin
from openglm.commands.office import Office
from openglm.errors import OpenGLMError

if TYPE_CHECKING:
    from openglm.maas.platform import Platform


@admin.command(name="backup")
def back_up(archive: Path, /, *, office: Office = Office()) -> None:
    """Write the whole data folder into one archive, also while the platform runs."""
    from openglm.maas.operate.backup import backup

    settings = office.settings()
    made = backup(settings.database, settings.data, archive)
    office.say({"archive": archive, "files": len(made.files), "master key": made.has_key})


@admin.command(name="restore")
def bring_back(archive: Path, /, *, office: Office = Office()) -> None:
    """Unpack an archive into an empty data folder; all is checked before anything is put in place.

    An archive of a PostgreSQL database comes back into the empty one that $OPENGLM_DATABASE_URL names.
    """
    import os

    from openglm.maas.operate.backup import restore
    from openglm.maas.settings import default_data_folder

    made = restore(archive, office.data or default_data_folder(), os.environ.get("OPENGLM_DATABASE_URL"))
    office.say({"files": len(made.files), "made by": made.openglm})


@admin.command(name="accept-key")
def accept_key(*, office: Office = Office()) -> None:
    """Go on with the present master key after the right one was lost. What was sealed with it (keys of
    channels, signed tokens of API keys, kept bodies) stays shut; everything else works."""
    from openglm.maas import installation
    from openglm.maas.database import open_database

    settings = office.settings()
    database = open_database(settings.database)
    try:
        installation.accept_key(settings.data, database)
    finally:
        database.close()


@admin.command(name="verify")
def verify(*, office: Office = Office()) -> None:
    """Check the books: every transaction sums to zero, every balance is the sum of its entries, and what is
    held is what open requests hold."""

    async def work(platform: Platform) -> None:
        from openglm.maas.money.books import check_books

        books = await check_books(platform.database)
        office.say(
            {
                "transactions": books.transactions,
                "accounts": books.accounts,
                "open holds": books.open_holds,
                "faults": len(books.faults),
            }
        )
        if books.faults:
            shown = "\n".join(books.faults[:20])
            raise OpenGLMError(
                f"the books are not in order\n{shown}", hint="restore a backup, and tell us how it came"
            )

    office.run(work)


@admin.command(name="retention")
def delete_old(
    days: Annotated[int, Parameter(help="what is older is deleted; the ledger stays")],
    /,
    *,
    office: Office = Office(),
) -> None:
    """Delete old records in small steps, beside a running platform."""

    async def work(platform: Platform) -> None:
        from openglm.maas.operate.retention import delete_older

        office.say(await delete_older(platform.database, platform.invoices, days))

    office.run(work)
