"""Whole numbers of money: nano-currency for what is posted, pico-currency for prices.

Nothing here is a float. Rounding happens once, half to even, where a sum of pico becomes nano.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from openglm.errors import InvalidRequest

NANO = 1_000_000_000  # of one unit of the currency
PICO_PER_NANO = 1_000
LARGEST = 10**18  # nano: a thousand million of the currency, an eighth of what a 64-bit column holds


def half_even(numerator: int, denominator: int) -> int:
    """The nearest whole quotient; a tie goes to the even one."""
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    return quotient + (twice > denominator or (twice == denominator and quotient & 1))


def ceiling(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


def checked_amount(amount_nano: int, *, param: str = "amount", least: int = 1) -> int:
    """An amount that somebody typed, in nano, if a column holds it; errors say it as it was typed."""
    if isinstance(amount_nano, bool) or not isinstance(amount_nano, int):
        raise InvalidRequest(
            f"{param} must be a whole number of nano-currency, got {amount_nano!r}", param=param
        )
    if not least <= amount_nano <= LARGEST:
        raise InvalidRequest(
            f"{param} must be between {decimal_text(least)} and {decimal_text(LARGEST)},"
            f" got {decimal_text(amount_nano)}",
            param=param,
        )
    return amount_nano


def scaled(text: str | int | Decimal, scale: int, *, param: str) -> int:
    """`"0.60"` times a scale as an exact whole number; more digits than the scale holds are refused."""
    try:
        product = Decimal(str(text)) * scale
    except InvalidOperation:
        raise InvalidRequest(f"{param} must be a number, got {text!r}", param=param) from None
    if not product.is_finite() or product != product.to_integral_value() or product < 0:
        raise InvalidRequest(
            f"{param} must be at least 0 with at most {len(str(scale)) - 1} decimals, got {text!r}",
            param=param,
        )
    return int(product)


def nano(text: str | int | Decimal, *, param: str = "amount") -> int:
    """`"12.50"` of the currency in nano."""
    return scaled(text, NANO, param=param)


def per_million(pico: int) -> str:
    """Pico per token as price lists print it: the currency per million tokens, exact."""
    return decimal_text(pico * 1_000)


def decimal_text(amount_nano: int) -> str:
    """The amount in the currency, exact: `1500000000` is `"1.5"`."""
    sign = "-" if amount_nano < 0 else ""
    whole, rest = divmod(abs(amount_nano), NANO)
    return f"{sign}{whole}.{rest:09}".rstrip("0").rstrip(".")
