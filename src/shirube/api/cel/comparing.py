"""Comparisons of a field with a literal of another type, which cel-go refuses when it compiles.

The engine has no types; who knows the type of a field asks here what the expression compares it with.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_COMPARED = re.compile(r"\s*(==|!=|<=|>=|<|>)\s*(?:(\"|')|(-?\d+\.\d+)|(-?\d+u)|(-?\d+)|(true|false)\b)(?![.\w])?")
_LITERALS = ("string", "double", "uint", "int", "bool")
_NUMBERS = ("int", "uint", "double")
# JSON schema's types as CEL calls them.
NAMES = {"string": "string", "integer": "int", "number": "double", "boolean": "bool"}
# Texts that are times and bytes to CEL.
OTHER = frozenset(("date-time", "datetime", "date", "duration", "byte"))


class Mismatch(NamedTuple):
    at: int
    why: str


def mismatch(code: str, at: int, have: str) -> Mismatch | None:
    """What is wrong when a value of the CEL type `have` ends at `at`. `code`: the expression with its texts blanked."""
    compared = _COMPARED.match(code, at)
    if compared is None:
        return None
    want = next(name for name, text in zip(_LITERALS, compared.groups()[1:], strict=True) if text is not None)
    ordered = compared[1] not in ("==", "!=")
    if have == want or (ordered and have in _NUMBERS and want in _NUMBERS):
        return None
    why = f"found no matching overload for '_{compared[1]}_' applied to '({have}, {want})'"
    return Mismatch(compared.start(1), why)
