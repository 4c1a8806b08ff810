"""Validation rules (`x-kubernetes-validations`): CEL expressions about a value and what it was before.

`of` compiles the rules of a schema; `judge` evaluates them for an object. Transition rules, which speak of `oldSelf`,
hold on updates where the old value is known; with `optionalOldSelf` always. Rules about values that have not
changed cannot fail an update (ratcheting), unless they are transition rules. Work is bounded in each evaluation and
for the whole object. Follows apiextensions-apiserver ``pkg/apiserver/schema/cel``.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from shirube.api.cel.cost import MAX_TOTAL_STEPS, CostExceeded, largest, steps
from shirube.api.crd import expressions
from shirube.api.crd.expressions import Expression
from shirube.api.crd.structural import Node, Schema
from shirube.api.crd.values import correlated, field_path
from shirube.api.errors import Cause
from shirube.api.schema import MISSING

Json = dict[str, Any]

VARIABLES = frozenset(("self", "oldSelf"))
MAX_MESSAGE = 5 * 1024  # bytes of what a messageExpression makes

_SPECIAL = {".": "__dot__", "-": "__dash__", "/": "__slash__", "__": "__underscores__"}
_RESERVED = frozenset(
    ("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
     "let", "loop", "package", "namespace", "return", "var", "void", "while")
)  # fmt: skip


def escape(name: str) -> str:
    """The name of a property as expressions write it; "" for one that they cannot."""
    if name in _RESERVED:
        return f"__{name}__"
    escaped = re.sub(r"__|[.\-/]", lambda match: _SPECIAL[match[0]], name)
    return escaped if re.fullmatch(r"[A-Za-z_]\w*", escaped) else ""


@dataclass(slots=True)
class Rule:
    """One compiled rule."""

    expression: Expression
    text: str  # for messages: what is said about the rule, or the rule
    message: str
    message_expression: Expression | None
    reason: str
    field: str  # appended to the path of what fails
    optional_old: bool

    @property
    def transition(self) -> bool:
        return "oldSelf" in self.expression.uses


def compile_rule(rule: Schema) -> Rule:
    """Raises CompileError."""
    source, message = rule.get("rule") or "", (rule.get("message") or "").strip()
    explained = rule.get("messageExpression")
    return Rule(
        Expression(source, VARIABLES),
        message or source.strip(),
        message or f"failed rule: {source.strip()}",
        Expression(explained, VARIABLES) if explained else None,
        rule.get("reason") or "FieldValueInvalid",
        normal_path(rule.get("fieldPath") or ""),
        bool(rule.get("optionalOldSelf")),
    )


def normal_path(path: str) -> str:
    """A rule's fieldPath (`.spec['a.b']`) as causes write it (`.spec[a.b]`)."""
    return re.sub(r"\['((?:\\.|[^'])*)'\]", r"[\1]", path)


@dataclass(slots=True)
class Rules:
    """The rules at a place of a schema and below it."""

    node: Node
    here: list[Rule]
    properties: dict[str, Rules] = field(default_factory=dict)
    additional: Rules | None = None
    items: Rules | None = None
    transitions: bool = False  # some rule, here or below, speaks of oldSelf

    def judge(self, obj: Json, old: Any) -> list[Cause]:
        """What fails about an object that replaces `old` (MISSING: a new one)."""
        budget = Budget(MAX_TOTAL_STEPS)
        causes: list[Cause] = []
        try:
            for cause in self._walk(obj, old, "", budget):
                causes.append(cause)
        except BudgetSpent as spent:
            causes.append(spent.cause)
        return causes

    def _walk(self, value: Any, old: Any, path: str, budget: Budget) -> Iterator[Cause]:
        if value is None:
            return
        unchanged = old is not MISSING and old == value
        if unchanged and not self.transitions:
            return
        if self.here:
            yield from self._judge_here(value, old, path, unchanged, budget)
        if isinstance(value, dict):
            before = old if isinstance(old, dict) else {}
            for key, child in value.items():
                if (rules := self.properties.get(key)) is not None:
                    yield from rules._walk(child, before.get(key, MISSING), field_path(path, key), budget)
                elif self.additional is not None and key not in self.node.properties:
                    yield from self.additional._walk(child, before.get(key, MISSING), f"{path}[{key}]", budget)
        elif isinstance(value, list) and self.items is not None:
            for index, item in enumerate(value):
                yield from self.items._walk(item, correlated(item, self.node, old), f"{path}[{index}]", budget)

    def _judge_here(self, value: Any, old: Any, path: str, unchanged: bool, budget: Budget) -> Iterator[Cause]:
        size = max(largest(value), largest(old))
        known = {"self": to_cel(value, self.node)}
        before = None if old is MISSING or old is None else to_cel(old, self.node)
        for rule in self.here:
            variables = known
            if rule.transition:
                if rule.optional_old:
                    variables = {**known, "oldSelf": expressions.optional(before, before is not None)}
                elif before is None:
                    continue
                else:
                    variables = {**known, "oldSelf": before}
            if unchanged and not rule.transition:
                continue
            cause = _evaluate(rule, variables, value, self.node, path, size, budget)
            if cause is not None:
                yield cause


class Budget:
    """How much work all rules of an object may still do."""

    def __init__(self, left: int) -> None:
        self.left = left


class BudgetSpent(Exception):
    """No further rules are looked at."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _evaluate(
    rule: Rule, variables: Json, value: Any, node: Node, path: str, size: int, budget: Budget
) -> Cause | None:
    at = path or "<nil>"
    kind = node.type or "object"
    budget.left -= steps(size, rule.expression.depth)
    try:
        outcome = rule.expression.run(variables, size)
    except CostExceeded:
        why = (
            "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call "
            f"cost exceeds limit for rule: {rule.text}"
        )
        raise BudgetSpent(Cause.invalid(at, kind, why)) from None
    except ValueError as error:
        if str(error) == "no such overload":
            why = (
                f"'{error}': call arguments did not match a supported operator, function or macro signature for "
                f"rule: {rule.text}"
            )
            return Cause.invalid(at, kind, why)
        return Cause.invalid(at, kind, f"{error} evaluating rule: {rule.text}")
    if budget.left < 0:
        why = "validation failed due to running out of cost budget, no further validation rules will be run"
        raise BudgetSpent(Cause.invalid(at, kind, why))
    if outcome is True:
        return None
    return _failed(rule, value, (path + rule.field).removeprefix(".") or "<nil>", _message(rule, variables, size))


def _message(rule: Rule, variables: Json, size: int) -> str:
    if rule.message_expression is not None:
        try:
            made = rule.message_expression.run({"oldSelf": None, **variables}, size)
        except (CostExceeded, ValueError):
            return rule.message
        if isinstance(made, str) and made.strip() and "\n" not in made.strip() and len(made) <= MAX_MESSAGE:
            return made.strip()
    return rule.message


def _failed(rule: Rule, value: Any, path: str, message: str) -> Cause:
    shown = isinstance(value, dict | list)
    if rule.reason == "FieldValueForbidden":
        return Cause.forbidden(path, message)
    if rule.reason == "FieldValueRequired":
        return Cause.required(path, message)
    if rule.reason == "FieldValueDuplicate":
        return Cause("FieldValueDuplicate", "Duplicate value", path) if shown else Cause.duplicate(path, value)
    # Objects and lists are too long to be shown.
    return (
        Cause("FieldValueInvalid", f"Invalid value: {message}", path) if shown else Cause.invalid(path, value, message)
    )


def of(node: Node) -> Rules | None:
    """The rules of a schema; None when it has none. Raises CompileError."""
    if not node.has_rules:
        return None
    rules = Rules(node, [compile_rule(rule) for rule in node.rules])
    rules.properties = {name: found for name, child in node.properties.items() if (found := of(child)) is not None}
    rules.additional = of(node.additional) if isinstance(node.additional, Node) else None
    rules.items = of(node.items) if node.items is not None else None
    below = (*rules.properties.values(), rules.additional, rules.items)
    rules.transitions = any(r.transition for r in rules.here) or any(r is not None and r.transitions for r in below)
    return rules


# ---------------------------------------------------------------------------------------- values of CEL

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"([0-9.]+)\s*(ns|us|µs|ms|s|m|h|d|w)")


def to_cel(value: Any, node: Node) -> Any:
    """A value as expressions see it: declared fields by their escaped names, times and bytes as such."""
    if isinstance(value, dict):
        return _object_to_cel(value, node)
    if isinstance(value, list):
        return [to_cel(item, node.items) for item in value] if node.items is not None else value
    if node.type == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if node.type == "string" and isinstance(value, str) and (form := node.schema.get("format")):
        return _formatted(value, form)
    return value


def _object_to_cel(value: Json, node: Node) -> Any:
    if isinstance(node.additional, Node) and not node.properties:
        return {key: to_cel(child, node.additional) for key, child in value.items()}
    if not node.properties and not node.resource:
        return value
    made = {escape(key): to_cel(value[key], child) for key, child in node.properties.items() if key in value}
    if node.resource:
        made |= {key: value[key] for key in ("apiVersion", "kind") if key in value}
        given = value.get("metadata")
        meta = given if isinstance(given, dict) else {}
        made["metadata"] = {key: meta[key] for key in ("name", "generateName") if key in meta}
    made.pop("", None)
    return made


def _formatted(value: str, form: str) -> Any:
    try:
        if form in ("date-time", "datetime", "date"):
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        if form == "duration":
            parts = _DURATION.findall(value)
            return timedelta(seconds=sum(float(n) * _UNITS[unit] for n, unit in parts)) if parts else value
        if form == "byte":
            return base64.b64decode(value)
    except ValueError:
        return value
    return value
