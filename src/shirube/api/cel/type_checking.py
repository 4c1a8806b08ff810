"""What a validating policy gets wrong about the types it matches: fields that they do not have, comparisons that cannot
be. Warnings for the policy's status, no errors.

The engine has no types, so the chains of fields that begin at `object` and `oldObject` are followed through the schemas
of the matched kinds, and compared with literals. What cannot be followed (variables, optional selections, results of
functions) may be anything. Policies that match by wildcards are not checked, as upstream; wordings are cel-go's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from shirube.api.cel import comparing
from shirube.api.cel.cost import without_texts
from shirube.api.crd.expressions import located
from shirube.api.gvr import GVR
from shirube.api.schema.types import Type

Json = dict[str, Any]

MAX_KINDS = 10  # of a policy are looked at, as upstream
_CHAIN = re.compile(r"(?<![.\w])(?:object|oldObject)(?![\w(])")
_STEP = re.compile(r"\s*\.\s*([A-Za-z_]\w*)(?!\w*\s*\()|\s*\[")


class Wrong(NamedTuple):
    at: int
    why: str


class Matched(NamedTuple):
    api_version: str
    kind: str
    type: Type


def named(policy: Json) -> Iterator[GVR]:
    """The collections that the policy's rules name outright, each once; whether there are such is another matter."""
    seen: set[GVR] = set()
    for rule in ((policy.get("spec") or {}).get("matchConstraints") or {}).get("resourceRules") or ():
        lists = [rule.get(key) or () for key in ("apiGroups", "apiVersions", "resources")]
        if any("*" in name for names in lists for name in names):
            continue
        for gvr in (GVR(g, v, r) for g in lists[0] for v in lists[1] for r in lists[2] if "/" not in r):
            if gvr not in seen:
                seen.add(gvr)
                yield gvr


def warnings(policy: Json, kinds: Sequence[Matched]) -> list[Json]:
    """`status.typeChecking.expressionWarnings` of a policy that matches these kinds."""
    found = []
    for path, text in _expressions(policy.get("spec") or {}):
        lines = []
        for matched in kinds:
            if wrongs := check(text, matched.type):
                where = f"{matched.api_version}, Kind={matched.kind}"
                errors = [str(located(text, *wrong)).removeprefix("compilation failed: ") for wrong in wrongs]
                lines.append(f"{where}: " + "\n".join(errors) + "\n")
        if lines:
            found.append({"fieldRef": path, "warning": "".join(lines)})
    return found


def _expressions(spec: Json) -> Iterator[tuple[str, str]]:
    for i, validation in enumerate(spec.get("validations") or ()):
        yield f"spec.validations[{i}].expression", validation.get("expression", "")
        if validation.get("messageExpression"):
            yield f"spec.validations[{i}].messageExpression", validation["messageExpression"]
    for i, variable in enumerate(spec.get("variables") or ()):
        yield f"spec.variables[{i}].expression", variable.get("expression", "")


def check(text: str, kind: Type) -> list[Wrong]:
    """What is wrong with an expression about an object of this type, in the order of the text."""
    code = without_texts(text)
    found = (_follow(text, code, match.end(), kind) for match in _CHAIN.finditer(code))
    return [wrong for wrong in found if wrong is not None]


def _follow(text: str, code: str, at: int, kind: Type | None) -> Wrong | None:
    while kind is not None and (step := _STEP.match(code, at)):
        name = step[1]
        if name is None:  # an index
            at = _closing(code, step.end())
            kind = kind.items if kind.kind in ("list", "map") else None
            continue
        if kind.kind == "map":
            kind = kind.items
        elif kind.kind == "object" and not kind.preserve_unknown and kind.properties:
            below = _field(kind.properties, name)
            if below is None:
                return Wrong(step.start() + step[0].index("."), f"undefined field '{name}'")
            kind = below
        else:
            kind = None
        at = step.end()
    return _comparison(code, at, kind) if kind is not None else None


def _field(properties: Mapping[str, Type], name: str) -> Type | None:
    return properties.get(name) or next((t for key, t in properties.items() if f"__{key}__" == name), None)


def _closing(code: str, at: int) -> int:
    """After the bracket that closes the one before `at`."""
    depth = 1
    while at < len(code) and depth:
        depth += (code[at] in "([{") - (code[at] in ")]}")
        at += 1
    return at


def _comparison(code: str, at: int, kind: Type) -> Wrong | None:
    have = comparing.NAMES.get(kind.kind)
    if have is None or kind.nullable or kind.format in comparing.OTHER:
        return None
    found = comparing.mismatch(code, at, have)
    return Wrong(*found) if found is not None else None
