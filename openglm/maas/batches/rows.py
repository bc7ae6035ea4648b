"""The rows of a batch in the database, and the lines of its two result files."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from openglm.maas.batches.lines import Line
from openglm.maas.database import Database, Row, Transaction

PAGE = 200  # rows held at once while a result file is written


def request_id_of(batch_id: str, number: int) -> str:
    """The id that a row's request is billed under: the same however often the row is tried."""
    return f"{batch_id}-{number}"


def add_rows(transaction: Transaction, batch_id: str, lines: list[Line]) -> None:
    transaction.many(
        "INSERT INTO batch_row (batch_id, number, custom_id, line_at, line_bytes)"
        " VALUES (:batch_id, :number, :custom_id, :line_at, :line_bytes)",
        [
            {
                "batch_id": batch_id,
                "number": line.number,
                "custom_id": line.custom_id,
                "line_at": line.line_at,
                "line_bytes": line.line_bytes,
            }
            for line in lines
        ],
    )


def record_row(
    transaction: Transaction, request_id: str, status: int, answer: bytes, *, owner: str | None = None
) -> bool:
    """Keep a row's answer; False if it has one. For the transaction that also settles the row's bill:
    then a server that dies can lose neither the one nor the other. Doing it again changes nothing.

    What nobody paid for needs an `owner`: who has lost the batch has nothing to say of its rows.
    """
    batch_id, _, number = request_id.rpartition("-")
    kept = transaction.run(
        "UPDATE batch_row SET state = 'done', status = :status, answer = :answer"
        " WHERE batch_id = :batch AND number = :number AND state = 'waiting'"
        + (" AND EXISTS (SELECT 1 FROM batch WHERE id = :batch AND lease_owner = :owner)" if owner else ""),
        status=status,
        owner=owner,
        answer=one_line(answer),
        batch=batch_id,
        number=int(number),
    )
    if kept:
        good = int(status < 400)
        transaction.run(
            "UPDATE batch SET completed = completed + :good, failed = failed + :bad WHERE id = :batch",
            good=good,
            bad=1 - good,
            batch=batch_id,
        )
    return bool(kept)


def has_answer(transaction: Transaction, request_id: str, answer: bytes) -> bool:
    """Whether the row has ended with this very answer."""
    batch_id, _, number = request_id.rpartition("-")
    row = transaction.one(
        "SELECT answer FROM batch_row WHERE batch_id = :batch AND number = :number AND state = 'done'",
        batch=batch_id,
        number=int(number),
    )
    return row is not None and row["answer"] == one_line(answer)


async def waiting_lines(database: Database, batch_id: str, after: int, count: int) -> list[Line]:
    rows = await database.read(
        "SELECT number, custom_id, line_at, line_bytes FROM batch_row"
        " WHERE batch_id = :batch AND state = 'waiting' AND number > :after ORDER BY number LIMIT :count",
        batch=batch_id,
        after=after,
        count=count,
    )
    return [Line(row["number"], row["custom_id"], row["line_at"], row["line_bytes"]) for row in rows]


async def result_lines(
    database: Database, batch_id: str, *, good: bool, unrun: tuple[str, str]
) -> AsyncIterator[bytes]:
    """The output file (`good`) or the error file, in the order of the input. `unrun` is the code and message
    of rows that never ran."""
    which = "state = 'done' AND status < 400" if good else "(state = 'waiting' OR status >= 400)"
    after = 0
    while True:
        rows = await database.read(
            f"SELECT number, custom_id, state, status, answer FROM batch_row"
            f" WHERE batch_id = :batch AND number > :after AND {which} ORDER BY number LIMIT :count",
            batch=batch_id,
            after=after,
            count=PAGE,
        )
        if not rows:
            return
        after = rows[-1]["number"]
        yield b"".join(result_line(batch_id, row, unrun) for row in rows)


def result_line(batch_id: str, row: Row, unrun: tuple[str, str]) -> bytes:
    request_id = request_id_of(batch_id, row["number"])
    response = error = None
    if row["state"] == "waiting":
        error = {"code": unrun[0], "message": unrun[1]}
    else:
        response = {
            "status_code": row["status"],
            "request_id": request_id,
            "body": msgspec.Raw(row["answer"]),
        }
    line = {"id": request_id, "custom_id": row["custom_id"], "response": response, "error": error}
    return msgspec.json.encode(line) + b"\n"


def one_line(answer: bytes) -> bytes:
    """JSON without line ends; what is no JSON becomes a JSON string."""
    try:
        value = msgspec.json.decode(answer)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return msgspec.json.encode(answer.decode("utf-8", "replace"))
    return answer if b"\n" not in answer and b"\r" not in answer else msgspec.json.encode(value)
