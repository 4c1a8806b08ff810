"""The JSONPaths of definitions: printer columns, and the dotted paths of scale and selectable fields.

    .spec.replicas  ['a.b']        a field
    [0]  [-1]  [*]  .*             an item, all of them
    [1:3]  [::2]                   a slice
    ['a','b']  [0,2]               a union: one after the other
    ..name                         a field at any depth
    [?(@.type=="Ready")]           items that compare so (==, !=, <, <=, >, >=) with a literal or another path
    [?(@.name)]                    items that have it

Follows client-go ``util/jsonpath`` as far as columns can use it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

_FIELD = re.compile(r"(?P<deep>\.?)\.(?P<field>(?:[^.\[\]'\"\\]|\\.)+)")
_BRACKET = re.compile(r"\[((?:'(?:\\.|[^'])*'|\"(?:\\.|[^\"])*\"|[^'\"\]])*)\]")
_FILTER = re.compile(
    r"\[\?\(\s*(?P<left>@(?:'[^']*'|\"[^\"]*\"|[^=!<>'\"])*?)\s*"
    r"(?:(?P<op>==|!=|<=|>=|<|>)\s*(?P<right>'[^']*'|\"[^\"]*\"|[^)]*?)\s*)?\)\]"
)
_SLICE = re.compile(r"\s*(-?\d*)\s*:\s*(-?\d*)\s*(?::\s*(-?\d*)\s*)?")
_QUOTED = re.compile(r"\s*(?:'((?:\\.|[^'])*)'|\"((?:\\.|[^\"])*)\"|(-?\d+))\s*(?:,|$)")
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Step(NamedTuple):
    kind: str  # "field" "index" "all" "filter" "slice" "union" "deep"
    value: Any


def parse(text: str) -> tuple[Step, ...]:
    """Raises ValueError for what is not understood."""
    body = text.strip()
    if body.startswith("{") and body.endswith("}"):
        body = body[1:-1]
    if body and body[0] not in ".[":
        raise ValueError(f"cannot read {text!r}: a path begins with a dot")
    steps: list[Step] = []
    at = 0
    while at < len(body):
        for pattern, make in ((_FIELD, _field), (_FILTER, _filter), (_BRACKET, _bracket)):
            match = pattern.match(body, at)
            if match is not None:
                steps.append(make(match))
                at = match.end()
                break
        else:
            if body == ".":
                return ()
            raise ValueError(f"cannot read {text!r}: unexpected {body[at:]!r}")
    return tuple(steps)


def _field(match: re.Match[str]) -> Step:
    name = re.sub(r"\\(.)", r"\1", match["field"])
    if match["deep"]:
        return Step("deep", None if name == "*" else name)
    return Step("all", None) if match["field"] == "*" else Step("field", name)


def _bracket(match: re.Match[str]) -> Step:
    inner = match[1].strip()
    if inner == "*":
        return Step("all", None)
    if sliced := _SLICE.fullmatch(inner):
        start, stop, step = (int(part) if part else None for part in sliced.groups())
        if step is not None and step <= 0:
            raise ValueError(f"cannot read [{inner}]: the step must be > 0")
        return Step("slice", slice(start, stop, step))
    steps = list(_items(inner))
    return steps[0] if len(steps) == 1 else Step("union", tuple(steps))


def _items(inner: str) -> Iterator[Step]:
    at = 0
    while at < len(inner):
        match = _QUOTED.match(inner, at)
        if match is None:
            raise ValueError(f"cannot read [{inner}]: neither a name nor a number")
        if match[3] is not None:
            yield Step("index", int(match[3]))
        else:
            yield Step("field", re.sub(r"\\(.)", r"\1", match[1] if match[1] is not None else match[2]))
        at = match.end()
    if not inner:
        raise ValueError("cannot read []: it names nothing")


def _filter(match: re.Match[str]) -> Step:
    left, op, right = parse(match["left"].removeprefix("@") or "."), match["op"], match["right"]
    if op is None:
        return Step("filter", (left, "", None))
    if right.startswith("@"):
        return Step("filter", (left, op, parse(right.removeprefix("@"))))
    if right[:1] in ("'", '"'):
        return Step("filter", (left, op, right[1:-1]))
    return Step("filter", (left, op, float(right) if op in _COMPARISONS else right))


def find(obj: Any, steps: tuple[Step, ...]) -> list[Any]:
    """All values at a path."""
    found = [obj]
    for step in steps:
        found = [child for item in found for child in _below(item, step)]
    return found


def _below(item: Any, step: Step) -> list[Any]:
    kind, value = step
    if kind == "field":
        return [item[value]] if isinstance(item, dict) and value in item else []
    if kind == "all":
        return item if isinstance(item, list) else list(item.values()) if isinstance(item, dict) else []
    if kind == "union":
        return [child for each in value for child in _below(item, each)]
    if kind == "deep":
        return list(_deep(item, value))
    if not isinstance(item, list):
        return []
    if kind == "index":
        return [item[value]] if -len(item) <= value < len(item) else []
    if kind == "slice":
        return item[value]
    return [child for child in item if _passes(child, *value)]


def _deep(item: Any, name: str | None) -> Iterator[Any]:
    children = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
    if name is None:
        yield from children
    elif isinstance(item, dict) and name in item:
        yield item[name]
    for child in children:
        yield from _deep(child, name)


def _passes(item: Any, path: tuple[Step, ...], op: str, wanted: Any) -> bool:
    values = find(item, path)
    if not op or not values:
        return bool(values)
    others = find(item, wanted) if isinstance(wanted, tuple) else [wanted]
    if op in ("==", "!="):
        equal = any(v == w or (not isinstance(v, str) and text_of(v) == w) for v in values for w in others)
        return equal if op == "==" else not equal
    return any(_compares(v, w, _COMPARISONS[op]) for v in values for w in others)


def _compares(value: Any, wanted: Any, compare: Callable[[Any, Any], bool]) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    return isinstance(value, str) == isinstance(wanted, str) and compare(value, wanted)


def text_of(value: Any) -> str:
    """A value as a column or a field selector shows it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)
