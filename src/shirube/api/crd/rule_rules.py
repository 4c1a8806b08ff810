"""What validation rules in a definition must be like: they compile, refer to fields that exist, and cannot cost too
much.

The engine does not check types, so references (`self.spec.replicas`) are followed through the schema here. Cost is
estimated from how rules and macros are nested in lists and maps, at their largest: `maxItems` and `maxProperties`
where given, else what a request can hold. Follows apiextensions' ``ValidateCustomResourceDefinitionOpenAPISchema``
and k8s.io/apiserver ``pkg/apis/cel`` (limits).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from shirube.api.cel import comparing
from shirube.api.cel.cost import without_texts
from shirube.api.crd import expressions, rules
from shirube.api.crd.expressions import CompileError
from shirube.api.crd.structural import IDENTITY, Node, Schema
from shirube.api.errors import Cause, quote

COST_LIMIT = 10_000_000  # of one rule, all its evaluations for one object together
UNBOUNDED = 3 * 1024 * 1024 // 6  # items of a few bytes in the largest request
STEP = 4  # what the body of a macro costs each time, at least
_REASONS = ["FieldValueRequired", "FieldValueForbidden", "FieldValueInvalid", "FieldValueDuplicate"]
_CHAIN = re.compile(r"(?<![.\w])(?:self|oldSelf)((?:\s*\.\s*[A-Za-z_]\w*(?!\w*\s*\())+)")
_SEGMENT = re.compile(r"\s*\.\s*([A-Za-z_]\w*)")
_HINT = (
    "try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are "
    "declared"
)


def validate(node: Node, path: str) -> list[Cause]:
    """What is wrong with the rules of a schema."""
    return list(_walk(node, path, 1, "")) if node.has_rules else []


def _walk(node: Node, path: str, times: int, uncorrelated: str) -> Iterator[Cause]:
    """`times`: how often the rules here can be evaluated for one object. `uncorrelated`: the path of the list above
    whose items have no old values; "" outside of such."""
    for index, rule in enumerate(node.rules):
        yield from _rule(rule, node, f"{path}.x-kubernetes-validations[{index}]", times, uncorrelated)
    for name, child in node.properties.items():
        yield from _walk(child, f"{path}.properties[{name}]", times, uncorrelated)
    if isinstance(node.additional, Node):
        more = times * _size(node.schema.get("maxProperties"))
        yield from _walk(node.additional, f"{path}.additionalProperties", more, uncorrelated)
    if node.items is not None:
        below = uncorrelated or ("" if node.list_type == "map" else path)
        yield from _walk(node.items, f"{path}.items", times * _size(node.schema.get("maxItems")), below)


def _size(limit: int | None) -> int:
    return UNBOUNDED if limit is None else max(int(limit), 1)


def _rule(rule: Schema, node: Node, path: str, times: int, uncorrelated: str) -> Iterator[Cause]:
    source = rule.get("rule") or ""
    if not source.strip():
        yield Cause.required(f"{path}.rule", "rule is not specified")
        return
    message = rule.get("message")
    if message is not None and not message.strip():
        yield Cause.invalid(f"{path}.message", message, "message must be non-empty if specified")
    elif message and "\n" in message.strip():
        yield Cause.invalid(f"{path}.message", message, "message must not contain line breaks")
    elif not message and "\n" in source.strip():
        why = "message must be specified if rule contains line breaks"
        yield Cause.required(f"{path}.message", why)
    if (reason := rule.get("reason")) and reason not in _REASONS:
        yield Cause.not_supported(f"{path}.reason", reason, _REASONS)
    if (where := rule.get("fieldPath")) and (why := _bad_path(where, node)):
        yield Cause.invalid(f"{path}.fieldPath", where, f"fieldPath must be a valid path: {why}")
    for field in ("rule", "messageExpression"):
        if text := rule.get(field):
            yield from _expression(rule, text, node, f"{path}.{field}", times)
    yield from _transition(rule, source, path, uncorrelated)


def _transition(rule: Schema, source: str, path: str, uncorrelated: str) -> Iterator[Cause]:
    uses_old = re.search(r"(?<![.\w])oldSelf\b", without_texts(source)) is not None
    if uses_old and uncorrelated:
        why = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {uncorrelated}"
        yield Cause.invalid(f"{path}.rule", source, why)
    if rule.get("optionalOldSelf") is not None and not uses_old:
        why = "option optionalOldSelf can only be used if the rule refers to oldSelf"
        yield Cause.invalid(f"{path}.optionalOldSelf", rule["optionalOldSelf"], why)


def _expression(rule: Schema, source: str, node: Node, path: str, times: int) -> Iterator[Cause]:
    try:
        expression = expressions.Expression(source, rules.VARIABLES)
        _check_references(source, node)
    except CompileError as error:
        yield Cause("FieldValueInvalid", f"Invalid value: {_shown(rule)}: {error}", path)
        return
    cost = times * _cost(without_texts(source), node, expression.depth)
    if cost > COST_LIMIT:
        factor = cost / COST_LIMIT
        shown = "more than 100x" if factor > 100 else f"{factor:.1f}x"
        what = "rule" if path.endswith(".rule") else "messageExpression"
        yield Cause.forbidden(path, f"estimated {what} cost exceeds budget by factor of {shown} ({_HINT})")


def _shown(rule: Schema) -> str:
    """A rule as Go prints the value of its struct."""
    reason = f"(*apiextensions.FieldValueErrorReason)({'nil' if not rule.get('reason') else '...'})"
    return (
        f"apiextensions.ValidationRule{{Rule:{quote(rule.get('rule') or '')}, "
        f"Message:{quote(rule.get('message') or '')}, "
        f"MessageExpression:{quote(rule.get('messageExpression') or '')}, Reason:{reason}, "
        f"FieldPath:{quote(rule.get('fieldPath') or '')}, OptionalOldSelf:(*bool)(nil)}}"
    )


def _check_references(source: str, node: Node) -> None:
    """Raises CompileError for a field that the schema does not have."""
    code = without_texts(source)
    for chain in _CHAIN.finditer(code):
        found: Node | None = node
        for segment in _SEGMENT.finditer(chain[1]):
            if found is None or found.int_or_string or not found.type:
                break
            found = _field(found, segment[1], source, chain.start(1) + segment.start() + segment[0].index("."))
        else:
            _check_comparison(source, code, chain.end(1), found)


def _check_comparison(source: str, code: str, at: int, node: Node | None) -> None:
    """Raises CompileError for a field that is compared with what it can never be."""
    if node is None or node.int_or_string or node.schema.get("nullable"):
        return
    have = comparing.NAMES.get(node.type or "")
    if have is None or node.schema.get("format") in comparing.OTHER:
        return
    wrong = comparing.mismatch(code, at, have)
    if wrong is not None:
        raise expressions.located(source, wrong.at, wrong.why)


def _field(node: Node, name: str, source: str, at: int) -> Node | None:
    """The schema of a field; None where it is not known and may be anything."""
    for key, child in node.properties.items():
        if rules.escape(key) == name:
            return child
    if (node.resource and name in IDENTITY) or node.additional is True:
        return None
    if isinstance(node.additional, Node):
        return node.additional
    if node.type == "object" and not node.properties and node.preserve:
        return None
    raise expressions.located(source, at, f"undefined field '{name}'")


def _bad_path(path: str, node: Node) -> str:
    """Why a fieldPath does not lead anywhere; "" when it does."""
    if not path.startswith((".", "[")):
        return f"expected [ or . but got: {path.split('.')[0]}"
    for match in re.finditer(r"\.([^.\[]+)|\['((?:\\.|[^'])*)'\]", path):
        name = match[1] or match[2]
        below = node.properties.get(name) or (node.additional if isinstance(node.additional, Node) else None)
        if below is None:
            return "does not refer to a valid field"
        node = below
    return ""


def _cost(code: str, node: Node, depth: int) -> int:
    """An estimate: macros nested in each other, over the largest that each may go through."""
    if depth == 0:
        return 1
    largest = max(_sizes(code, node), default=UNBOUNDED)
    return int(STEP * min(largest, UNBOUNDED) ** depth)


def _sizes(code: str, node: Node) -> Iterator[int]:
    """The sizes of the lists and maps that an expression names; of everything below when it names none."""
    named = False
    for chain in re.finditer(
        r"(?<![.\w])(?:self|oldSelf)((?:\.[A-Za-z_]\w*)*)\.(?:all|exists|exists_one|map|filter)\(", code
    ):
        found: Node | None = node
        for name in chain[1].split(".")[1:]:
            children = found.properties if found is not None else {}
            found = next((c for k, c in children.items() if rules.escape(k) == name), None)
        if found is not None:
            named = True
            yield _own_size(found)
    if not named or "].all(" in code:
        yield from (_own_size(n) for n in _below(node) if n.type in ("array", "object"))


def _own_size(node: Node) -> int:
    if node.type == "array":
        return _size(node.schema.get("maxItems"))
    if isinstance(node.additional, Node):
        return _size(node.schema.get("maxProperties"))
    return len(node.properties)


def _below(node: Node) -> Iterator[Node]:
    yield node
    for child in (*node.properties.values(), node.additional, node.items):
        if isinstance(child, Node):
            yield from _below(child)
