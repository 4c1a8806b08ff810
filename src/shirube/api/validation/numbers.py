"""Validation of counts, and of amounts that may be percentages.

Follows apimachinery's ``ValidateNonnegativeField`` and apps' ``ValidatePositiveIntOrPercent``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shirube.api import names
from shirube.api.validation.field import Cause, invalid

NOT_NEGATIVE = "must be greater than or equal to 0"


def validate_not_negative(out: list[Cause], obj: Mapping[str, Any], fields: tuple[str, ...], path: str) -> None:
    """Fields that count something; absent ones are fine."""
    for field in fields:
        value = obj.get(field)
        if value is not None and value < 0:
            out.append(invalid(f"{path}.{field}", value, NOT_NEGATIVE))


def validate_int_or_percent(out: list[Cause], value: Any, path: str) -> None:
    """A count, or a share such as "25%"."""
    if isinstance(value, str):
        out.extend(invalid(path, value, m) for m in names.is_percent(value))
    elif value is not None and value < 0:
        out.append(invalid(path, value, NOT_NEGATIVE))


def percent(value: Any) -> int | None:
    """The number of a percentage, None for anything else."""
    if isinstance(value, str) and value.endswith("%") and value[:-1].isdigit():
        return int(value[:-1])
    return None


def is_zero(value: Any) -> bool:
    """Whether a count or share is none at all."""
    return value in (None, 0, "0%", "0")


def validate_at_most_all(out: list[Cause], value: Any, path: str) -> None:
    """A share of at most 100%."""
    share = percent(value)
    if share is not None and share > 100:
        out.append(invalid(path, value, "must not be greater than 100%"))
