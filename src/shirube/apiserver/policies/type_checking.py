"""What a validating policy gets wrong about the types it matches: fields that they do not have, comparisons that cannot
be. Warnings for the policy's status, no errors.

The engine has no types, so the chains of fields that begin at `object` and `oldObject` are followed through the schemas
of the matched kinds, and compared with literals. What cannot be followed (variables, optional selections, results of
functions) may be anything. Policies that match by wildcards are not checked, as upstream; wordings are cel-go's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from shirube.api import schema
from shirube.api.cel import comparing
from shirube.api.cel.cost import without_texts
from shirube.api.crd.expressions import located

if TYPE_CHECKING:
    from shirube.api.resources import Resource, ResourceTable
    from shirube.api.schema.types import Type

Json = dict[str, Any]

MAX_TYPES = 10
_CHAIN = re.compile(r"(?<![.\w])(?:object|oldObject)(?![\w(])")
_STEP = re.compile(r"\s*\.\s*([A-Za-z_]\w*)(?!\w*\s*\()|\s*\[")


class Wrong(NamedTuple):
    at: int
    why: str


def warnings(policy: Json, table: ResourceTable) -> list[Json]:
    """`status.typeChecking.expressionWarnings` of a policy."""
    spec = policy.get("spec") or {}
    types = list(_types(spec, table))
    found = []
    for path, text in _expressions(spec):
        lines = []
        for resource, kind in types:
            wrong = check(text, kind)
            if wrong is not None:
                where = f"{resource.api_version}, Kind={resource.kind}"
                error = str(located(text, wrong.at, wrong.why)).removeprefix("compilation failed: ")
                lines.append(f"{where}: {error}\n")
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


def _types(spec: Json, table: ResourceTable) -> Iterator[tuple[Resource, Type]]:
    """The kinds that the rules name outright."""
    seen: set[Any] = set()
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        lists = [rule.get(key) or () for key in ("apiGroups", "apiVersions", "resources")]
        if any("*" in name for names in lists for name in names):
            continue
        for group, version, name in ((g, v, r) for g in lists[0] for v in lists[1] for r in lists[2] if "/" not in r):
            resource = table.by_path(group, version, name)
            if resource is None or resource.gvr in seen or len(seen) >= MAX_TYPES:
                continue
            seen.add(resource.gvr)
            definition = getattr(resource, "definition", None)
            try:
                found = definition.type if definition else schema.type_of(group, version, resource.kind)
            except KeyError:
                continue
            yield resource, found


def check(text: str, kind: Type) -> Wrong | None:
    """The first thing that is wrong with an expression about an object of this type."""
    code = without_texts(text)
    for match in _CHAIN.finditer(code):
        wrong = _follow(text, code, match.end(), kind)
        if wrong is not None:
            return wrong
    return None


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
