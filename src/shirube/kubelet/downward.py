"""The downward API: a pod's own fields and its containers' resources, as text.

Follows https://kubernetes.io/docs/concepts/workloads/pods/downward-api/. Addresses come from the pod's
status as the agent knows it, not as the API last stored it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from shirube.api import quantity
from shirube.kubelet import pod as pods


class FieldError(Exception):
    """A field or resource that the downward API does not have."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What containers may learn of their node."""

    name: str
    ips: tuple[str, ...]
    allocatable: Mapping[str, str]


def pod_field(pod: pods.Pod, path: str, node: NodeFacts, pod_ips: tuple[str, ...]) -> str:
    """The text of `fieldPath`. Raises FieldError."""
    metadata, spec = pod["metadata"], pod["spec"]
    if path.endswith("']") and "['" in path:
        base, _, key = path[:-2].partition("['")
        if base in ("metadata.labels", "metadata.annotations"):
            return str((metadata.get(base.rpartition(".")[2]) or {}).get(key, ""))
    match path:
        case "metadata.name" | "metadata.namespace" | "metadata.uid":
            return str(metadata[path.rpartition(".")[2]])
        case "metadata.labels" | "metadata.annotations":
            return format_map(metadata.get(path.rpartition(".")[2]) or {})
        case "spec.nodeName":
            return node.name
        case "spec.serviceAccountName":
            return str(spec.get("serviceAccountName", ""))
        case "status.hostIP":
            return node.ips[0] if node.ips else ""
        case "status.hostIPs":
            return ",".join(node.ips)
        case "status.podIP":
            return pod_ips[0] if pod_ips else ""
        case "status.podIPs":
            return ",".join(pod_ips)
    raise FieldError(f"unsupported fieldPath: {path}")


def format_map(values: Mapping[str, str]) -> str:
    """One `key="value"` a line, sorted, values quoted as Go's %q does for ordinary text."""
    return "\n".join(f"{key}={_quoted(values[key])}" for key in sorted(values))


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _quoted(text: str) -> str:
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else _escape(c)) for c in text) + '"'


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def resource_field(pod: pods.Pod, reference: Mapping[str, Any], own_container: str, node: NodeFacts) -> str:
    """The text of a `resourceFieldRef`, rounded up to its divisor. Raises FieldError."""
    name = reference.get("containerName") or own_container
    container = pods.container_named(pod, name)
    if container is None:
        raise FieldError(f"container {name} not found")
    which, _, resource = reference["resource"].partition(".")
    if which not in ("limits", "requests"):
        raise FieldError(f"unsupported container resource : {reference['resource']}")
    resources = container.get("resources") or {}
    given = (resources.get(which) or {}).get(resource)
    if given is None and which == "limits":
        # No limit means that the node is the limit.
        given = node.allocatable.get(resource)
    divisor = reference.get("divisor") or "1"
    if str(divisor) == "0":
        divisor = "1"
    if resource == "cpu":
        amount = Fraction(quantity.milli(given or "0"), quantity.milli(divisor))
    else:
        amount = Fraction(quantity.value(given or "0"), quantity.value(divisor))
    return str(-(-amount.numerator // amount.denominator))
