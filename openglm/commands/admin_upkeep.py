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
    from openglm.maas.settings import read_settings

    settings = read_settings(office.data)
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


@admin.command(name="verify")
def verify(*, office: Office = Office()) -> None:
    """Check the books: every transaction sums to zero, and no account is below what it holds."""

    async def work(platform: Platform) -> None:
        wrong = await platform.database.read(
            "SELECT tx FROM ledger_entry GROUP BY tx HAVING sum(amount) <> 0"
        )
        short = await platform.database.read("SELECT id FROM account WHERE held < 0 OR balance < held")
        open_ = await platform.database.read_one("SELECT count(*) AS n FROM hold WHERE state = 'open'")
        office.say(
            {
                "unbalanced transactions": len(wrong),
                "accounts that hold more than they have": len(short),
                "open holds": open_["n"] if open_ else 0,
            }
        )
        if wrong or short:
            raise OpenGLMError("the books are not in order", hint="restore a backup, and tell us how it came")

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
