"""Windows of time: calendar days, weeks and months in UTC for budgets, and cycles for subscriptions."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta

from openglm.errors import InvalidRequest

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
FIVE_HOURS_MS = 5 * HOUR_MS
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(time_ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=time_ms)


def milliseconds(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)


def calendar_window(period: str, now_ms: int) -> tuple[int, int | None]:
    """Start and end of the window that holds this moment. Weeks begin on Monday; `total` never ends."""
    if period == "total":
        return 0, None
    if period == "5h":
        start = now_ms // FIVE_HOURS_MS * FIVE_HOURS_MS
        return start, start + FIVE_HOURS_MS
    if period == "day":
        start = now_ms // DAY_MS * DAY_MS
        return start, start + DAY_MS
    if period == "week":
        monday = 4 * DAY_MS  # 1970-01-05
        start = (now_ms - monday) // WEEK_MS * WEEK_MS + monday
        return start, start + WEEK_MS
    if period == "month":
        first = moment(now_ms).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return milliseconds(first), milliseconds(months_later(first, 1))
    raise InvalidRequest(f"period must be total, 5h, day, week or month, got {period!r}", param="period")


def cycle(period: str, anchor_ms: int, now_ms: int) -> tuple[int, int]:
    """The subscription's week or month that holds this moment, counted from its start."""
    if period == "week":
        start = anchor_ms + (now_ms - anchor_ms) // WEEK_MS * WEEK_MS
        return start, start + WEEK_MS
    anchor, now = moment(anchor_ms), moment(now_ms)
    passed = (now.year - anchor.year) * 12 + now.month - anchor.month
    if months_later(anchor, passed) > now:
        passed -= 1
    return milliseconds(months_later(anchor, passed)), milliseconds(months_later(anchor, passed + 1))


def months_later(at: datetime, months: int) -> datetime:
    """The same day of a later month, or that month's last."""
    year, month = divmod(at.year * 12 + at.month - 1 + months, 12)
    day = min(at.day, calendar.monthrange(year, month + 1)[1])
    return at.replace(year=year, month=month + 1, day=day)


def month_window(month: str) -> tuple[int, int]:
    """Start and end of `"2026-11"` in UTC."""
    try:
        first = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
        if len(month) != 7 or first.year < 1970:
            raise ValueError(month)
    except ValueError:
        raise InvalidRequest(f"month must look like 2026-11, got {month!r}", param="month") from None
    return milliseconds(first), milliseconds(months_later(first, 1))
