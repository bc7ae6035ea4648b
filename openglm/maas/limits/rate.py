"""Units a minute by the generic cell rate algorithm: one number for each key, no windows, no edges.

The number is when the key will have paid for all it took. A key that is idle may take a whole minute's units
at once; after that they come back evenly. https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm
"""

from __future__ import annotations

from collections.abc import Hashable

MINUTE_MS = 60_000.0
SWEEP = 4096  # keys added between two looks for those that have paid for all


class Rate:
    def __init__(self) -> None:
        self._paid_at: dict[Hashable, float] = {}
        self._sweep_at = SWEEP

    def wait_ms(self, key: Hashable, units: int, per_minute: int, now_ms: float) -> float:
        """How long until the key may take so many; 0: now.

        More units than a minute has are let through once nothing is owed, and then are owed.
        """
        owed = self._paid_at.get(key, now_ms) - now_ms
        if owed <= 0:
            return 0.0
        return max(0.0, owed + min(units * MINUTE_MS / per_minute, MINUTE_MS) - MINUTE_MS)

    def take(self, key: Hashable, units: int, per_minute: int, now_ms: float) -> None:
        """Charge the units, whether or not there was room; a negative number gives them back."""
        paid_at = max(self._paid_at.get(key, now_ms), now_ms) + units * MINUTE_MS / per_minute
        if paid_at > now_ms:
            self._paid_at[key] = paid_at
            if len(self._paid_at) > self._sweep_at:
                self._sweep(now_ms)
        else:
            self._paid_at.pop(key, None)

    def _sweep(self, now_ms: float) -> None:
        self._paid_at = {key: paid for key, paid in self._paid_at.items() if paid > now_ms}
        self._sweep_at = 2 * len(self._paid_at) + SWEEP

    def __len__(self) -> int:
        return len(self._paid_at)
