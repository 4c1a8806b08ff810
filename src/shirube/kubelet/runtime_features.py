"""What the runtime can do that not every one can, and what the agent makes of it.

An old runtime drops CRI fields that it does not know without a word. What the agent can do in its place it does
(stop signals, recursive read-only mounts, image back-offs …); the rest is refused with a reason. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shirube.kubelet import pod as pods
from shirube.kubelet.admission import Rejection


@dataclass(frozen=True, slots=True)
class Handler:
    """One of the runtime's handlers, as a RuntimeClass names it."""

    recursive_read_only: bool = False
    user_namespaces: bool = False


@dataclass(frozen=True, slots=True)
class Features:
    supplemental_groups_policy: bool = False
    handlers: Mapping[str, Handler] = field(default_factory=dict)


def features_of(status: Any) -> Features:
    """Of CRI's `StatusResponse`; one that says nothing can nothing of this."""
    handlers = {
        known.name: Handler(known.features.recursive_read_only_mounts, known.features.user_namespaces)
        for known in status.runtime_handlers
    }
    return Features(status.features.supplemental_groups_policy, handlers)


def refuse(pod: pods.Pod, features: Features) -> Rejection | None:
    """Why the pod cannot run on this runtime as it asks to; None when it can."""
    shared = pod["spec"].get("securityContext") or {}
    if shared.get("supplementalGroupsPolicy") == "Strict" and not features.supplemental_groups_policy:
        return Rejection(
            "SupplementalGroupsPolicyNotSupported", "SupplementalGroupsPolicy=Strict is not supported in this node"
        )
    handler = features.handlers.get("", Handler())
    if pod["spec"].get("hostUsers") is False and not handler.user_namespaces:
        text = "the container runtime of this node cannot run pods in user namespaces (hostUsers: false)"
        return Rejection("UserNamespacesNotSupported", text)
    return None


def node_features(features: Features) -> dict[str, Any]:
    """The Node's `status.features` and `status.runtimeHandlers`."""
    found: dict[str, Any] = {"features": {"supplementalGroupsPolicy": features.supplemental_groups_policy}}
    if features.handlers:
        found["runtimeHandlers"] = [
            {
                "name": name,
                "features": {
                    "recursiveReadOnlyMounts": handler.recursive_read_only,
                    "userNamespaces": handler.user_namespaces,
                },
            }
            for name, handler in sorted(features.handlers.items())
        ]
    return found
