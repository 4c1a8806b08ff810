"""Pods that a selector matches, without looking at every pod of the namespace.

The pods' informer keeps an index of label values; a selector with an equality looks only at the pods that have that
label, the rarest of its equalities first. In a namespace of thousands of pods a Service or budget costs what its own
pods cost.
"""

from __future__ import annotations

from shirube.api.selectors import LabelSelector
from shirube.client.informer import Informer
from shirube.client.rest import Object

_INDEX = "label"


def _labels(pod: Object) -> list[str]:
    metadata = pod["metadata"]
    return [f"{metadata['namespace']}/{key}={value}" for key, value in (metadata.get("labels") or {}).items()]


def filed_under(namespace: str, selector: LabelSelector | None) -> list[str]:
    """For an index of those who select pods: one label that all pods of this selector have, else the namespace, or
    nothing when it selects none. `filings` are the places where a pod finds those that may select it."""
    if selector is None or selector.nothing:
        return []
    for requirement in selector.requirements:
        if requirement.operator in ("=", "==", "in") and len(requirement.values) == 1:
            return [f"{namespace}/{requirement.key}={requirement.values[0]}"]
    return [namespace]


def filings(pod: Object) -> list[str]:
    return [*_labels(pod), pod["metadata"]["namespace"]]


def index_labels(pods: Informer) -> None:
    """To be called before `selected`; more than once does no harm."""
    pods.add_index(_INDEX, _labels)


def selected(pods: Informer, namespace: str, selector: LabelSelector) -> list[Object]:
    """The pods of the namespace that the selector matches, in no particular order."""
    if selector.nothing:
        return []
    candidates = None
    for requirement in selector.requirements:
        if requirement.operator in ("=", "==", "in") and len(requirement.values) == 1:
            found = pods.store.by_index(_INDEX, f"{namespace}/{requirement.key}={requirement.values[0]}")
            if candidates is None or len(found) < len(candidates):
                candidates = found
    if candidates is None:
        candidates = pods.store.list(namespace)
    return [pod for pod in candidates if selector.matches(pod["metadata"].get("labels") or {})]
