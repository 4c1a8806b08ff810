"""Label and field selectors: from text or object to something that matches.

Follows `k8s.io/apimachinery/pkg/labels`, `pkg/fields` and `metav1.LabelSelectorAsSelector`: grammar, error
texts (raised as 400 `ApiError`s) and printed form. Selectors are immutable and compare by their printed
form; parsing text is memoised, because watchers and controllers ask with the same few texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from shirube.api import names
from shirube.api.errors import ApiError, Cause, aggregate, bad_request, quote

Labels = Mapping[str, str]

# A selector of more than this is not something a person or controller writes; parsing stays linear below it.
_MAX_TEXT = 64 * 1024

_BINARY_OPERATORS = ("in", "notin", "=", "==", "!=", "gt", "lt")


class Requirement(NamedTuple):
    """One condition on one label. `operator` is in, notin, =, ==, !=, exists, !, gt or lt."""

    key: str
    operator: str
    values: tuple[str, ...]

    def matches(self, labels: Labels) -> bool:
        value = labels.get(self.key)
        operator = self.operator
        if operator in ("=", "==", "in"):
            return value is not None and value in self.values
        if operator in ("!=", "notin"):
            return value is None or value not in self.values
        if operator == "exists":
            return value is not None
        if operator == "!":
            return value is None
        return value is not None and _compares(value, operator, self.values[0])

    def __str__(self) -> str:
        match self.operator:
            case "!":
                return "!" + self.key
            case "exists":
                return self.key
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"
            case "gt" | "lt":
                return f"{self.key}{'>' if self.operator == 'gt' else '<'}{self.values[0]}"
            case _:
                return f"{self.key}{self.operator}{self.values[0]}"


def _integer(text: str) -> int | None:
    """What Go's ParseInt(text, 10, 64) gives."""
    if re.fullmatch(r"[+-]?[0-9]{1,30}", text) is None:
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


def _compares(value: str, operator: str, bound: str) -> bool:
    left, right = _integer(value), _integer(bound)
    if left is None or right is None:
        return False
    return left > right if operator == "gt" else left < right


def requirement(key: str, operator: str, values: Iterable[str]) -> Requirement:
    """A checked requirement; raises a 400 `ApiError` that says what is wrong with it."""
    values = tuple(values)
    causes = []
    if errors := names.is_qualified_name(key):
        causes.append(Cause.invalid("key", key, "; ".join(errors)))
    shown = list(values)
    if operator in ("in", "notin"):
        if not values:
            causes.append(Cause.invalid("values", shown, "for 'in', 'notin' operators, values set can't be empty"))
    elif operator in ("=", "==", "!="):
        if len(values) != 1:
            causes.append(Cause.invalid("values", shown, "exact-match compatibility requires one single value"))
    elif operator in ("exists", "!"):
        if values:
            causes.append(Cause.invalid("values", shown, "values set must be empty for exists and does not exist"))
    elif operator in ("gt", "lt"):
        causes.extend(_check_bound(values))
    else:
        causes.append(Cause.not_supported("operator", operator, (*_BINARY_OPERATORS, "exists", "!")))
    for i, value in enumerate(values):
        if errors := names.is_label_value(value):
            causes.append(Cause.invalid(f"values[{i}][{key}]", value, "; ".join(errors)))
    if causes:
        raise bad_request(aggregate(causes))
    return Requirement(key, operator, values)


def _check_bound(values: tuple[str, ...]) -> list[Cause]:
    causes = []
    if len(values) != 1:
        wrong = "for 'Gt', 'Lt' operators, exactly one value is required"
        causes.append(Cause.invalid("values", list(values), wrong))
    for i, value in enumerate(values):
        if _integer(value) is None:
            wrong = "for 'Gt', 'Lt' operators, the value must be an integer"
            causes.append(Cause.invalid(f"values[{i}]", value, wrong))
    return causes


class LabelSelector:
    """All of its requirements must hold. `nothing` selects no object whatever its labels."""

    __slots__ = ("_equals", "_rest", "nothing", "requirements")

    def __init__(self, requirements: Iterable[Requirement] = (), *, nothing: bool = False) -> None:
        self.requirements = tuple(sorted(requirements, key=lambda r: r.key))
        self.nothing = nothing
        # Nearly every selector is a few equalities: those are compared without a call each.
        self._equals = [(r.key, r.values[0]) for r in self.requirements if r.operator in ("=", "==")]
        self._rest = [r.matches for r in self.requirements if r.operator not in ("=", "==")]

    def matches(self, labels: Labels | None) -> bool:
        if self.nothing:
            return False
        if labels is None:
            labels = {}
        get = labels.get
        for key, value in self._equals:
            if get(key) != value:
                return False
        return all(matches(labels) for matches in self._rest)

    @property
    def empty(self) -> bool:
        """Whether it selects everything."""
        return not self.requirements and not self.nothing

    def exact(self, key: str) -> str | None:
        """The one value that `key` must have, if the selector says so."""
        for r in self.requirements:
            if r.key == key and r.operator in ("=", "==", "in") and len(r.values) == 1:
                return r.values[0]
        return None

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))

    def __repr__(self) -> str:
        return "LabelSelector(nothing)" if self.nothing else f"LabelSelector({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LabelSelector):
            return NotImplemented
        return self.nothing == other.nothing and str(self) == str(other)

    def __hash__(self) -> int:
        return hash((self.nothing, str(self)))


EVERYTHING = LabelSelector()
NOTHING = LabelSelector(nothing=True)


# ---------------------------------------------------------------------------------- label selector text

_SYMBOLS = {")", ",", "!", "==", "=", ">", "<", "!=", "("}
_OPERATORS = {"in": "in", "notin": "notin", "=": "=", "==": "==", "!=": "!=", ">": "gt", "<": "lt"}
_END = ("end", "")


@lru_cache(maxsize=1024)
def parse_label_selector(text: str) -> LabelSelector:
    """The selector that `labelSelector=` text stands for; "" selects everything."""
    if not text:
        return EVERYTHING
    if len(text) > _MAX_TEXT:
        raise bad_request(f"cannot parse label selector: it is longer than {_MAX_TEXT} characters")
    return LabelSelector(_Parser(text).parse())


def _tokens(text: str) -> list[tuple[str, str]]:
    """(class, literal) pairs; class is the symbol itself, `word`, `error` or `end`."""
    tokens = []
    at, end = 0, len(text)
    while at < end:
        c = text[at]
        if c in " \t\r\n":
            at += 1
        elif c in "=!(),><":
            symbol = text[at : at + 2]
            if symbol not in _SYMBOLS:
                symbol = c
            tokens.append((symbol, symbol))
            at += len(symbol)
        else:
            start = at
            while at < end and text[at] not in "=!(),>< \t\r\n":
                at += 1
            tokens.append(("word", text[start:at]))
    tokens.append(_END)
    return tokens


class _Parser:
    """Recursive descent over the tokens; `in` and `notin` are words except where an operator is due."""

    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.at = 0

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else _END

    def next(self) -> tuple[str, str]:
        token = self.peek()
        self.at += 1
        return token

    def parse(self) -> list[Requirement]:
        requirements: list[Requirement] = []
        while True:
            kind, literal = self.peek()
            if kind == "end":
                return requirements
            if kind not in ("word", "!"):
                raise bad_request(f"found '{literal}', expected: !, identifier, or 'end of string'")
            requirements.append(self.requirement())
            kind, literal = self.next()
            if kind == "end":
                return requirements
            if kind != ",":
                raise bad_request(f"found '{literal}', expected: ',' or 'end of string'")
            kind, literal = self.peek()
            if kind not in ("word", "!"):
                raise bad_request(f"found '{literal}', expected: identifier after ','")

    def requirement(self) -> Requirement:
        kind, literal = self.next()
        absent = kind == "!"
        if absent:
            kind, literal = self.next()
        if kind != "word":
            raise self.wrong(f"found '{literal}', expected: identifier")
        if errors := names.is_qualified_name(literal):
            raise self.wrong(f"<nil>: Invalid value: {quote(literal)}: {'; '.join(errors)}")
        if self.peek()[0] in ("end", ","):
            return Requirement(literal, "!" if absent else "exists", ())
        _, symbol = self.next()
        operator = _OPERATORS.get(symbol)
        if operator is None:
            raise self.wrong(f"found '{symbol}', expected: {', '.join(_BINARY_OPERATORS)}")
        values = self.values() if operator in ("in", "notin") else [self.exact_value()]
        try:
            return requirement(literal, operator, values)
        except ApiError as error:
            raise self.wrong(error.message) from None

    def exact_value(self) -> str:
        if self.peek()[0] in ("end", ","):
            return ""
        kind, literal = self.next()
        if kind != "word":
            raise self.wrong(f"found '{literal}', expected: identifier")
        return literal

    def values(self) -> list[str]:
        kind, literal = self.next()
        if kind != "(":
            raise self.wrong(f"found '{literal}' expected: '('")
        found: set[str] = set()
        while True:
            kind, literal = self.next()
            if kind == "word":
                found.add(literal)
                kind, literal = self.next()
                if kind == ")":
                    return sorted(found)
                if kind != ",":
                    raise self.wrong(f"found '{literal}', expected: ',' or ')'")
                if self.peek()[0] == ")":
                    found.add("")
            elif kind == ",":
                found.add("")
            elif kind == ")":
                return sorted(found or {""})
            else:
                raise self.wrong(f"found '{literal}', expected: ',', ')' or identifier")

    @staticmethod
    def wrong(message: str) -> ApiError:
        return bad_request("unable to parse requirement: " + message)


# ---------------------------------------------------------------------------------- label selector objects

_OBJECT_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


def label_selector_from(selector: Mapping[str, Any] | None) -> LabelSelector:
    """The selector of a `LabelSelector` object: None selects nothing, `{}` everything."""
    if selector is None:
        return NOTHING
    match_labels = selector.get("matchLabels") or {}
    expressions = selector.get("matchExpressions") or ()
    if not expressions:
        return _selector_of_labels(tuple(match_labels.items()))
    requirements = [requirement(key, "=", (value,)) for key, value in match_labels.items()]
    for expression in expressions:
        operator = _OBJECT_OPERATORS.get(expression.get("operator", ""))
        if operator is None:
            wrong = quote(expression.get("operator", ""))
            raise bad_request(f"{wrong} is not a valid label selector operator")
        requirements.append(requirement(expression.get("key", ""), operator, expression.get("values") or ()))
    return LabelSelector(requirements)


@lru_cache(maxsize=8192)
def _selector_of_labels(labels: tuple[tuple[str, str], ...]) -> LabelSelector:
    """Controllers ask for the same workloads' selectors again and again."""
    return LabelSelector(requirement(key, "=", (value,)) for key, value in labels) if labels else EVERYTHING


def label_selector_from_set(labels: Labels | None) -> LabelSelector:
    """The selector of a plain map (a Service's, a ReplicationController's): empty selects everything."""
    return _selector_of_set(tuple(labels.items())) if labels else EVERYTHING


@lru_cache(maxsize=8192)
def _selector_of_set(labels: tuple[tuple[str, str], ...]) -> LabelSelector:
    return LabelSelector(Requirement(key, "=", (value,)) for key, value in labels)


# ---------------------------------------------------------------------------------- field selectors


class FieldRequirement(NamedTuple):
    """`operator` is = or !=."""

    field: str
    operator: str
    value: str

    def __str__(self) -> str:
        return f"{self.field}{self.operator}{_escape(self.value)}"


class FieldSelector:
    """All of its requirements must hold; a field that an object lacks is ""."""

    __slots__ = ("requirements",)

    def __init__(self, requirements: Iterable[FieldRequirement] = ()) -> None:
        self.requirements = list(requirements)

    def matches(self, fields: Mapping[str, str]) -> bool:
        return all(
            (fields.get(field, "") == value) == (operator == "=") for field, operator, value in self.requirements
        )

    @property
    def empty(self) -> bool:
        return not self.requirements

    def exact(self, field: str) -> str | None:
        """The one value that `field` must have, if the selector says so."""
        for r in self.requirements:
            if r.field == field and r.operator == "=":
                return r.value
        return None

    def transformed(self, change: Callable[[str, str], tuple[str, str]]) -> FieldSelector:
        """The selector with each (field, value) replaced; `change` raises for fields it does not know."""
        return FieldSelector(FieldRequirement(*_replaced(r, change(r.field, r.value))) for r in self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))

    def __repr__(self) -> str:
        return f"FieldSelector({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return self.requirements == other.requirements if isinstance(other, FieldSelector) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self.requirements))


def _replaced(old: FieldRequirement, new: tuple[str, str]) -> tuple[str, str, str]:
    return new[0], old.operator, new[1]


ALL_FIELDS = FieldSelector()


@lru_cache(maxsize=1024)
def parse_field_selector(text: str) -> FieldSelector:
    """The selector that `fieldSelector=` text stands for; `\\` escapes `,`, `=` and itself in values."""
    if not text:
        return ALL_FIELDS
    if len(text) > _MAX_TEXT:
        raise bad_request(f"cannot parse field selector: it is longer than {_MAX_TEXT} characters")
    found = []
    for term in sorted(_split_terms(text)):
        if term == "":
            continue
        parts = _split_term(term)
        if parts is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        field, operator, value = parts
        found.append(FieldRequirement(field, "=" if operator == "==" else operator, _unescape(value)))
    return FieldSelector(found)


def _split_terms(text: str) -> list[str]:
    terms, start, escaped = [], 0, False
    for i, c in enumerate(text):
        if escaped:
            escaped = False
        elif c == "\\":
            escaped = True
        elif c == ",":
            terms.append(text[start:i])
            start = i + 1
    terms.append(text[start:])
    return terms


def _split_term(term: str) -> tuple[str, str, str] | None:
    """(field, operator, escaped value), split at the first operator."""
    for i in range(len(term)):
        for operator in ("!=", "==", "="):
            if term.startswith(operator, i):
                return term[:i], operator, term[i + len(operator) :]
    return None


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


def _unescape(value: str) -> str:
    if not any(c in value for c in "\\,="):
        return value
    out, escaped = [], False
    for c in value:
        if escaped:
            if c not in "\\,=":
                raise bad_request(f"invalid field selector: invalid escape sequence: \\{c}")
            out.append(c)
            escaped = False
        elif c == "\\":
            escaped = True
        elif c in ",=":
            raise bad_request(f"invalid field selector: unescaped character in value: {c}")
        else:
            out.append(c)
    if escaped:
        raise bad_request("invalid field selector: unterminated escape sequence")
    return "".join(out)
