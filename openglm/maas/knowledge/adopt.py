"""Knowledge bases pass from one organisation to another, with their documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from openglm.maas.database import Transaction
from openglm.maas.knowledge.ingest import NO_VECTORS

if TYPE_CHECKING:
    from openglm.maas.identity.caller import Caller

_ANEW = f"(state = 0 OR fail_code = {NO_VECTORS})"  # read, or refused to whoever was no more
_COUNTED = """
INSERT INTO stored (org_id, kind, number, bytes, characters)
VALUES (:org, 'document', :number, :bytes, :characters)
ON CONFLICT (org_id, kind) DO UPDATE SET number = stored.number + excluded.number,
    bytes = stored.bytes + excluded.bytes, characters = stored.characters + excluded.characters
"""


def adopt(transaction: Transaction, home: str, caller: Caller) -> int:
    """Give the bases of the organisation `home` to the caller's; how many rows were changed.

    Documents are read and paid in the caller's name from now on. A reading that is under way speaks for
    somebody who is no more: it is begun anew.
    """
    documents = transaction.all(
        "UPDATE knowledge_document SET org_id = :org, caller = :caller,"
        f" revision = CASE WHEN {_ANEW} THEN revision + 1 ELSE revision END,"
        f" attempts = CASE WHEN {_ANEW} THEN 0 ELSE attempts END,"
        f" state = CASE WHEN {_ANEW} THEN 0 ELSE state END,"
        f" fail_message = CASE WHEN {_ANEW} THEN NULL ELSE fail_message END,"
        f" fail_code = CASE WHEN {_ANEW} THEN NULL ELSE fail_code END"
        " WHERE org_id = :home RETURNING bytes, word_num",
        org=caller.org_id,
        caller=msgspec.json.encode(caller).decode(),
        home=home,
    )
    if documents:
        number = len(documents)
        size = sum(row["bytes"] for row in documents)
        characters = sum(row["word_num"] for row in documents)
        for org, sign in ((home, -1), (caller.org_id, 1)):
            transaction.run(
                _COUNTED, org=org, number=sign * number, bytes=sign * size, characters=sign * characters
            )
    return len(documents) + transaction.run(
        "UPDATE knowledge_base SET org_id = :org WHERE org_id = :home", org=caller.org_id, home=home
    )
