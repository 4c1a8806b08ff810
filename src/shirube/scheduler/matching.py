"""Which pods a term or constraint selects: matchers, one for each distinct selector, compared by key. Pure.

`matchLabelKeys` and `mismatchLabelKeys` are resolved into the selector with the pod's own labels, as the API server
does for affinity terms (KEP-3633) and the scheduler for spread constraints (KEP-3243).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shirube.api.errors import ApiError
from shirube.api.selectors import LabelSelector, Requirement, label_selector_from, label_selector_from_set

Object = dict[str, Any]
Namespaces = Mapping[str, Mapping[str, str]]  # name -> labels


@dataclass(slots=True, eq=False)
class Matcher:
    """Pods by namespace and labels. `namespace_selector` adds namespaces by their labels."""

    key: str
    selector: LabelSelector
    namespaces: frozenset[str]
    namespace_selector: LabelSelector | None = None
    counts_terminating: bool = True

    def matches(self, namespace: str, labels: Mapping[str, str], namespaces: Namespaces) -> bool:
        if namespace not in self.namespaces:
            if self.namespace_selector is None:
                return False
            if not self.namespace_selector.empty and not self.namespace_selector.matches(namespaces.get(namespace)):
                return False
        return self.selector.matches(labels)


def pod_matcher(term: Object, namespace: str, labels: Mapping[str, str]) -> Matcher:
    """Of a PodAffinityTerm. Raises ValueError when its selectors make no sense."""
    selector = _with_keys(_selector(term.get("labelSelector")), term.get("matchLabelKeys"), labels, "in")
    selector = _with_keys(selector, term.get("mismatchLabelKeys"), labels, "notin")
    named = frozenset(term.get("namespaces") or ())
    by_label = None if term.get("namespaceSelector") is None else _selector(term["namespaceSelector"])
    if not named and by_label is None:
        named = frozenset((namespace,))
    where = ",".join(sorted(named)) + ("" if by_label is None else f"|{by_label}|")
    return Matcher(f"{where}:{_text(selector)}", selector, named, by_label)


def spread_matcher(constraint: Object, namespace: str, labels: Mapping[str, str]) -> Matcher:
    selector = _with_keys(_selector(constraint.get("labelSelector")), constraint.get("matchLabelKeys"), labels, "in")
    return in_namespace(namespace, selector)


def in_namespace(namespace: str, selector: LabelSelector) -> Matcher:
    """Living pods of one namespace: what spreading counts."""
    key = f"{namespace}:{_text(selector)}:living"
    return Matcher(key, selector, frozenset((namespace,)), counts_terminating=False)


def owners_selector(services: list[LabelSelector], owner: LabelSelector | None) -> LabelSelector | None:
    """What the cluster's default constraints spread by: everything that selects the pod, together."""
    requirements = [r for s in services for r in s.requirements]
    if owner is not None and not owner.nothing:
        requirements += owner.requirements
    return LabelSelector(requirements) if requirements else None


def selector_of_service(selector: Mapping[str, str]) -> LabelSelector:
    return label_selector_from_set(selector)


def selector_of(obj: Mapping[str, Any] | None) -> LabelSelector:
    return _selector(obj)


def _selector(selector: Mapping[str, Any] | None) -> LabelSelector:
    try:
        return label_selector_from(selector)
    except ApiError as error:
        raise ValueError(f"cannot use label selector: {error.message}") from error


def _with_keys(selector: LabelSelector, keys: Any, labels: Mapping[str, str], operator: str) -> LabelSelector:
    more = [Requirement(k, operator, (labels[k],)) for k in keys or () if k in labels]
    if not more or selector.nothing:
        return selector
    # The API server has put affinity terms' keys into the selector already; the same condition twice is no harm.
    return LabelSelector([*selector.requirements, *more])


def _text(selector: LabelSelector) -> str:
    return "<nothing>" if selector.nothing else str(selector)
