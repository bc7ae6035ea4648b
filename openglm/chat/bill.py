"""What an answer cost, from the platform's own receipts: nothing is counted a second time here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openglm.maas.gateway import turn_ids
from openglm.maas.money import receipts

if TYPE_CHECKING:
    from openglm.maas.database import Transaction


MOST_TOOLS = 64  # of one answer that are charged


def tool_id(request_id: str, number: int) -> str:
    """What the call of a tool settles under."""
    return f"{request_id}-tool-{number}"


def bill_of(tx: Transaction, request_id: str | None) -> dict[str, Any] | None:
    """Tokens and cost of an answer, its tools' turns with it; None where nothing was charged."""
    found = receipts(tx, _ids(request_id)) if request_id else []
    if not found:
        return None
    by_plan = all(one.price_version.startswith("plan:") for one in found)
    return {
        "usage": {
            "input_uncached": sum(one.usage.input_uncached + one.usage.cache_write for one in found),
            "cache_read": sum(one.usage.cache_read for one in found),
            "output_text": sum(one.usage.output_text for one in found),
            "output_reasoning": sum(one.usage.output_reasoning for one in found),
            "images": sum(one.usage.images for one in found),
        },
        "cost": {
            "nano": None if by_plan else sum(one.cost_nano for one in found),
            "credits": sum(one.credits for one in found) if by_plan else None,
            "arithmetic": [line for one in found for line in one.arithmetic],
        },
    }


def _ids(request_id: str) -> list[str]:
    return [*turn_ids(request_id), *(tool_id(request_id, number) for number in range(1, MOST_TOOLS + 1))]
