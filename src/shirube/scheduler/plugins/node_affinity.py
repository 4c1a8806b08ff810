"""NodeAffinity: node selectors, required and preferred terms, and terms that the profile adds to every pod.

A condition on a label is evaluated once for each of its values and handed to the nodes by code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from shirube.scheduler.columns import Bools, Ints, NodeColumns
from shirube.scheduler.plugins.framework import Filter, Groups, Score, first_of, normalised
from shirube.scheduler.pod import PodInfo

Object = dict[str, Any]
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


class NodeAffinity(Filter, Score):
    name = "NodeAffinity"
    static = True

    def __init__(self, added: Object | None = None) -> None:
        """`added`: a v1.NodeAffinity that every pod of the profile has besides its own."""
        super().__init__()
        required = (added or {}).get(_REQUIRED)
        self._added_required = None if required is None else required.get("nodeSelectorTerms") or []
        self._added_preferred = (added or {}).get(_PREFERRED) or []

    def applies(self, pod: PodInfo, nodes: NodeColumns) -> bool:
        shape = pod.shape
        return bool(shape.selector) or shape.required_terms is not None or self._added_required is not None

    def fits(self, pod: PodInfo, nodes: NodeColumns) -> Bools:
        fits = selected(pod, nodes)
        if self._added_required is not None:
            fits = fits & any_term(self._added_required, nodes)
        return fits

    def rejections(self, pod: PodInfo, nodes: NodeColumns, rows: Ints) -> Groups:
        names = names_of(pod.shape.required_terms)
        unnamed = np.zeros(nodes.size, dtype=np.bool_)
        if names is not None:
            unnamed[:] = True
            unnamed[[at for n in names if (at := nodes.index(n)) is not None]] = False
        everywhere = np.ones(nodes.size, dtype=np.bool_)
        return first_of(
            rows,
            [
                ("node(s) didn't satisfy plugin(s) [NodeAffinity]", False, unnamed),
                ("node(s) didn't match Pod's node affinity/selector", False, ~selected(pod, nodes)),
                ("node(s) didn't match scheduler-enforced node affinity", False, everywhere),
            ],
        )

    def score(self, pod: PodInfo, nodes: NodeColumns, mask: Bools) -> Ints | int | None:
        terms = [*self._added_preferred, *pod.shape.preferred_terms]
        if not terms:
            return None
        memory = nodes.remembered(self.memory)
        known = memory.get(pod.shape.node_key)
        if known is None or known[0] != nodes.version:
            raw = np.zeros(nodes.size, dtype=np.int64)
            for preferred in terms:
                raw += int(preferred["weight"]) * matching(preferred["preference"], nodes)
            known = nodes.remember(memory, pod.shape.node_key, (nodes.version, raw))
        return normalised(known[1], mask)


def selected(pod: PodInfo, nodes: NodeColumns) -> Bools:
    """Nodes that the pod's own selector and required terms allow."""
    shape = pod.shape
    fits = np.ones(nodes.size, dtype=np.bool_)
    for key, value in shape.selector.items():
        fits &= _condition({"key": key, "operator": "In", "values": [value]}, nodes)
    if shape.required_terms is not None:
        fits &= any_term(shape.required_terms, nodes)
    return fits


def names_of(terms: list[Object] | None) -> set[str] | None:
    """The nodes that required terms name one by one (a daemon set's pods do); None when some term does not."""
    if not terms:
        return None
    found: set[str] = set()
    for term in terms:
        fields = [f for f in term.get("matchFields") or [] if f.get("operator") == "In"]
        if not fields:
            return None
        found.update(set.intersection(*(set(f.get("values") or []) for f in fields)))
    return found


def any_term(terms: Iterable[Object], nodes: NodeColumns) -> Bools:
    fits = np.zeros(nodes.size, dtype=np.bool_)
    for term in terms:
        fits |= matching(term, nodes)
    return fits


def matching(term: Object, nodes: NodeColumns) -> Bools:
    """Nodes of a NodeSelectorTerm; an empty one matches nothing."""
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not fields:
        return np.zeros(nodes.size, dtype=np.bool_)
    fits = np.ones(nodes.size, dtype=np.bool_)
    for expression in expressions:
        fits &= _condition(expression, nodes)
    for field in fields:
        named = np.zeros(nodes.size, dtype=np.bool_)
        named[[at for n in field.get("values") or [] if (at := nodes.index(n)) is not None]] = True
        fits &= named if field.get("operator") == "In" else ~named
    return fits


def _condition(expression: Object, nodes: NodeColumns) -> Bools:
    column = nodes.label(expression["key"])
    lookup = np.zeros(len(column.values) + 1, dtype=np.bool_)  # the last for nodes without the label (code -1)
    values = expression.get("values") or []
    match expression["operator"]:
        case "In" | "NotIn" as operator:
            lookup[[column.code_of[v] for v in values if v in column.code_of]] = True
            if operator == "NotIn":
                lookup = ~lookup
        case "Exists":
            lookup[:-1] = True
        case "DoesNotExist":
            lookup[-1] = True
        case "Gt" | "Lt" as operator:
            bound = parse_integer(values[0]) if len(values) == 1 else None
            for code, value in enumerate(column.values):
                number = parse_integer(value)
                if number is not None and bound is not None:
                    lookup[code] = number > bound if operator == "Gt" else number < bound
    return lookup[column.codes]


def parse_integer(text: str) -> int | None:
    """A decimal of 64 bits, as Go's ParseInt reads it."""
    if re.fullmatch(r"[+-]?[0-9]{1,30}", text) is None:
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None
