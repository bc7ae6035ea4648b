"""The text of an answer while it runs: pieces, a few for each second, so that saving costs what is new."""

from __future__ import annotations

from collections.abc import Sequence

from openglm.chat.shapes import Row

PIECES = "SELECT kind, text FROM chat_piece WHERE message_id = :id ORDER BY number"


def pieces_of(rows: Sequence[Row]) -> dict[str, str]:
    """Text and reasoning of an answer that runs, as far as they are saved."""
    return {
        kind: "".join(row["text"] for row in rows if row["kind"] == kind) for kind in ("text", "reasoning")
    }
