"""The simple JSONPaths of definitions: printer columns, and the dotted paths of scale and selectable fields.

Fields (`.spec.replicas`, `['a.b']`), indexes and wildcards (`[0]`, `[*]`), and filters that compare with a
literal (`[?(@.type=="Ready")]`). Follows client-go ``util/jsonpath`` as far as columns use it.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

_STEP = re.compile(
    r"""\.(?P<field>(?:[^.\[\]'"\\]|\\.)+)
      | \[(?P<quote>['"])(?P<key>.*?)(?P=quote)\]
      | \[(?P<index>-?\d+|\*)\]
      | \.(?P<all>\*)
      | \[\?\(\s*@(?P<path>[^=!<>]+?)\s*(?P<op>==|!=)\s*(?P<value>"[^"]*"|'[^']*'|[^\s)]+)\s*\)\]""",
    re.VERBOSE,
)


class Step(NamedTuple):
    kind: str  # "field" "index" "all" "filter"
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
        match = _STEP.match(body, at)
        if match is None:
            raise ValueError(f"cannot read {text!r}: unexpected {body[at:]!r}")
        steps.append(_step(match))
        at = match.end()
    return tuple(steps)


def _step(match: re.Match[str]) -> Step:
    if match["field"] is not None:
        if match["field"] == "*":
            return Step("all", None)
        return Step("field", re.sub(r"\\(.)", r"\1", match["field"]))
    if match["key"] is not None:
        return Step("field", match["key"])
    if match["index"] is not None:
        return Step("all", None) if match["index"] == "*" else Step("index", int(match["index"]))
    if match["all"] is not None:
        return Step("all", None)
    wanted = match["value"]
    literal: Any = wanted[1:-1] if wanted[0] in "\"'" else wanted
    return Step("filter", (parse(match["path"]), match["op"], literal))


def find(obj: Any, steps: tuple[Step, ...]) -> list[Any]:
    """All values at a path."""
    found = [obj]
    for kind, value in steps:
        following: list[Any] = []
        for item in found:
            if kind == "field":
                if isinstance(item, dict) and value in item:
                    following.append(item[value])
            elif kind == "index":
                if isinstance(item, list) and -len(item) <= value < len(item):
                    following.append(item[value])
            elif kind == "all":
                following += item if isinstance(item, list) else list(item.values()) if isinstance(item, dict) else []
            else:
                following += [child for child in item if _passes(child, *value)] if isinstance(item, list) else []
        found = following
    return found


def _passes(item: Any, path: tuple[Step, ...], op: str, wanted: str) -> bool:
    values = find(item, path)
    equal = any(v == wanted or (not isinstance(v, str) and text_of(v) == wanted) for v in values)
    return equal if op == "==" else bool(values) and not equal


def text_of(value: Any) -> str:
    """A value as a column or a field selector shows it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)
