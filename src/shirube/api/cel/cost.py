"""How much work an expression may be, judged before it is done: the engine cannot be stopped, and the event loop waits.

An upper bound: loops nested n deep over lists and maps of at most m items take at most m to the n-th steps. Upstream
counts while it evaluates; limits are of the same order as its per-call limit and its budget for a policy or an object.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

MAX_STEPS = 1_000_000  # of the innermost loop in one evaluation: about half a second
MAX_TOTAL_STEPS = 2_000_000  # of all expressions of one object or policy together
MAX_MADE = 4_000_000  # items and hundreds of characters that one expression may put together
MAX_KEPT = 30_000  # the same, of all values together that other expressions see
MAX_TEXT = 8 << 20  # characters of a text that a function makes
_FEW = 8  # sums and literals this small cannot make anything large of a request
CALL = 8  # steps that a function of ours in a loop is worth: it leaves the engine

LOOPS = (
    *("all", "exists", "existsOne", "exists_one", "map", "filter"),
    *("sortBy", "transformList", "transformMap", "transformMapEntry"),
)
_LOOP = re.compile(rf"\.\s*(?:{'|'.join(LOOPS)})\s*\(")
_STRING = re.compile(r"""[rR]?(?:\"\"\"[\s\S]*?\"\"\"|'''[\s\S]*?'''|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""")
_RANGE = "lists.range"
_SPENT = "validation failed due to running out of cost budget, no further validation rules will be run"


class CostExceeded(Exception):
    """An expression would take too long."""


class Budget:
    """How much work several expressions may still do together."""

    def __init__(self, left: int = MAX_TOTAL_STEPS) -> None:
        self.left = left

    def take(self, amount: int) -> None:
        """Raises CostExceeded."""
        self.left -= amount
        if self.left < 0:
            raise CostExceeded(_SPENT)


def without_texts(source: str) -> str:
    """The source with string literals blanked, so that what looks like code is code."""
    return _STRING.sub(lambda match: '"' + " " * (len(match[0]) - 2) + '"', source)


def nesting(source: str) -> int:
    """How deep loops are nested, judged by brackets."""
    code = without_texts(source)
    deepest, open_loops = 0, 0
    stack: list[bool] = []
    starts = {match.end() - 1 for match in _LOOP.finditer(code)}
    for at, character in enumerate(code):
        if character == "(":
            stack.append(at in starts)
            open_loops += stack[-1]
            deepest = max(deepest, open_loops)
        elif character == ")" and stack:
            open_loops -= stack.pop()
    return deepest


def of_literals(source: str, made: int) -> int:
    """How many items the literals of an expression can have; `made`: how many `lists.range` makes at most."""
    code = without_texts(source)
    return max(code.count(",") + 1, made if _RANGE in code else 0)


def largest(value: Any) -> int:
    """The size of the largest list or map in a value; texts count in lines of a hundred."""
    if isinstance(value, dict):
        return max(len(value), max(map(largest, value.values()), default=0))
    if isinstance(value, list):
        return max(len(value), max(map(largest, value), default=0))
    return len(value) // 100 if isinstance(value, str) else 0


def weight(value: Any) -> int:
    """All that is in a value: items, and texts in hundreds of characters."""
    if isinstance(value, dict):
        return 1 + sum(map(weight, value.values()))
    if isinstance(value, list):
        return 1 + sum(map(weight, value))
    return 1 + len(value) // 100 if isinstance(value, str) else 1


def copies(source: str) -> int:
    """How many times sums and literals can repeat what they are given."""
    code = without_texts(source)
    return code.count("+") + code.count(",") + 1


def check_made(repeated: int, values: Iterable[Any]) -> None:
    """Refuse what would put together something huge: `x + x + x …`. Raises CostExceeded."""
    if repeated > _FEW and repeated * max(map(weight, values), default=0) > MAX_MADE:
        raise CostExceeded("operation cancelled: actual cost limit exceeded")


def bounded(function: Callable[..., Any], size: Callable[..., int]) -> Callable[..., Any]:
    """A function that makes texts, refused when `size` of its arguments is too much."""

    def checked(*arguments: Any) -> Any:
        if size(*arguments) > MAX_TEXT:
            raise ValueError(f"the text would be longer than {MAX_TEXT} characters")
        return function(*arguments)

    return checked


def replaced(text: Any, old: Any = "", new: Any = "", *more: Any) -> int:
    if not (isinstance(text, str) and isinstance(old, str) and isinstance(new, str)):
        return 0  # refused by the function itself
    return len(text) + (text.count(old) if old else len(text) + 1) * len(new)


def joined(parts: Any, between: Any = "", *more: Any) -> int:
    if not isinstance(parts, list) or not isinstance(between, str):
        return 0
    return sum(len(part) for part in parts if isinstance(part, str)) + len(parts) * len(between)


def steps(size: int, nested: int) -> int:
    return max(size, 1) ** nested if nested else 1
