"""Quantities: `100m`, `1.5Gi`, `2e3` as exact numbers, and back in canonical form.

A `Quantity` is a whole number of nanos (the finest that the API knows; finer text is rounded away from
zero) and the format that it was written in, so arithmetic is integer arithmetic. Follows
`k8s.io/apimachinery/pkg/api/resource`: the grammar, the error texts, which operand gives a sum its format,
and that binary quantities which are small or broken are printed in decimal. Parsing is memoised: clusters
repeat a few hundred texts.
"""

from __future__ import annotations

import re
from functools import lru_cache, total_ordering
from typing import Literal

Format = Literal["DecimalSI", "BinarySI", "DecimalExponent"]

NANOS = 10**9
_MAX_BINARY = (2**63 - 1) * NANOS
# 10**1000 is far beyond any machine and still cheap to compute; upstream would compute whatever it is told.
_MAX_EXPONENT = 1000

_SPLIT = r"^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"
_SYNTAX = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)")

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY_SUFFIX = {exponent: suffix for suffix, exponent in _BINARY.items()}


class QuantityError(ValueError):
    """Text that is no quantity; the message is upstream's."""


@total_ordering
class Quantity:
    """An exact amount. Immutable; compares and hashes by amount alone."""

    __slots__ = ("format", "nanos")

    nanos: int
    format: Format

    def __init__(self, nanos: int, format: Format = "DecimalSI") -> None:
        self.nanos = nanos
        self.format = format

    def __eq__(self, other: object) -> bool:
        return self.nanos == other.nanos if isinstance(other, Quantity) else NotImplemented

    def __lt__(self, other: Quantity) -> bool:
        return self.nanos < other.nanos

    def __hash__(self) -> int:
        return hash(self.nanos)

    def __bool__(self) -> bool:
        return self.nanos != 0

    def __add__(self, other: Quantity) -> Quantity:
        """The sum in this one's format, or the other's where this is zero."""
        return Quantity(self.nanos + other.nanos, self.format if self.nanos else other.format)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(self.nanos - other.nanos, self.format if self.nanos else other.format)

    def __neg__(self) -> Quantity:
        return Quantity(-self.nanos, self.format)

    def __str__(self) -> str:
        return _format(self.nanos, self.format)

    def __repr__(self) -> str:
        return f"Quantity({str(self)!r})"

    def scaled(self, unit_nanos: int) -> int:
        """How many units of `unit_nanos` nanos, rounded away from zero."""
        whole = -(-abs(self.nanos) // unit_nanos)
        return whole if self.nanos >= 0 else -whole

    @property
    def value(self) -> int:
        """Whole units, rounded away from zero."""
        return self.scaled(NANOS)

    @property
    def milli(self) -> int:
        """Thousandths, rounded away from zero."""
        return self.scaled(10**6)

    def __float__(self) -> float:
        return self.nanos / NANOS


ZERO = Quantity(0)


def parse(amount: Quantity | str | int | float) -> Quantity:
    """The quantity that a JSON string or number stands for; raises `QuantityError`."""
    if isinstance(amount, Quantity):
        return amount
    if isinstance(amount, str):
        return _parse(amount)
    if isinstance(amount, bool) or not isinstance(amount, int | float):
        raise QuantityError(_format_error())
    return _parse(repr(amount))


@lru_cache(maxsize=8192)
def _parse(text: str) -> Quantity:
    match = _SYNTAX.fullmatch(text)
    if match is None:
        raise QuantityError(_format_error())
    sign, whole, fraction, suffix = match.groups()
    digits = whole + (fraction or "")
    if not digits:
        raise QuantityError(_format_error())
    base, exponent, format = _suffix(suffix)
    try:
        mantissa = int(digits)
    except ValueError:  # longer than Python converts: nobody means such a number
        raise QuantityError("unable to parse numeric part of quantity") from None
    places = len(fraction or "") - 9
    if base == 2:
        mantissa <<= exponent
    else:
        places -= exponent
    nanos = mantissa * 10**-places if places <= 0 else -(-mantissa // 10**places)
    if format == "BinarySI":
        nanos = min(nanos, _MAX_BINARY)
        if 0 < nanos < NANOS:
            format = "DecimalSI"
    return Quantity(-nanos if sign == "-" else nanos, format)


def _suffix(suffix: str) -> tuple[int, int, Format]:
    """(base, exponent, format) of what stands after the number."""
    if (power := _DECIMAL.get(suffix)) is not None:
        return 10, power, "DecimalSI"
    if (power := _BINARY.get(suffix)) is not None:
        return 2, power, "BinarySI"
    try:
        exponent = int(suffix[1:]) if suffix[0] in "eE" else None
    except ValueError:
        exponent = None
    if exponent is None or abs(exponent) > _MAX_EXPONENT:
        raise QuantityError("unable to parse quantity's suffix")
    return 10, exponent, "DecimalExponent"


def _format_error() -> str:
    return f"quantities must match the regular expression '{_SPLIT}'"


def _format(nanos: int, format: Format) -> str:
    if nanos == 0:
        return "0"
    if format == "BinarySI" and nanos % NANOS == 0 and abs(nanos) >= 1024 * NANOS:
        amount, exponent = nanos // NANOS, 0
        while exponent < 60 and amount % 1024 == 0:
            amount //= 1024
            exponent += 10
        return f"{amount}{_BINARY_SUFFIX.get(exponent, '')}"
    amount, exponent = nanos, -9
    highest = 18 if format != "DecimalExponent" else 10 * _MAX_EXPONENT
    while exponent < highest and amount % 1000 == 0:
        amount //= 1000
        exponent += 3
    if format == "DecimalExponent":
        return f"{amount}e{exponent}" if exponent else str(amount)
    return f"{amount}{_DECIMAL_SUFFIX[exponent]}"


@lru_cache(maxsize=8192)
def canonical_text(text: str) -> str:
    """`canonical` of a text."""
    return str(_parse(text))


def canonical(amount: Quantity | str | int | float) -> str:
    """The text that the API keeps for `amount`: no fraction, the largest suffix that loses nothing."""
    return canonical_text(amount) if isinstance(amount, str) else str(parse(amount))


def value(amount: Quantity | str | int | float) -> int:
    """Whole units (bytes, cores, pods), rounded away from zero."""
    return parse(amount).value


def milli(amount: Quantity | str | int | float) -> int:
    """Thousandths (millicores), rounded away from zero."""
    return parse(amount).milli


def add(a: Quantity | str | int, b: Quantity | str | int) -> Quantity:
    return parse(a) + parse(b)


def sub(a: Quantity | str | int, b: Quantity | str | int) -> Quantity:
    return parse(a) - parse(b)


def cmp(a: Quantity | str | int, b: Quantity | str | int) -> int:
    """-1, 0 or 1."""
    x, y = parse(a).nanos, parse(b).nanos
    return (x > y) - (x < y)
