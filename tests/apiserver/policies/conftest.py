"""Policies and bindings, in short."""

from __future__ import annotations

from typing import Any

GROUP = "/apis/admissionregistration.k8s.io/v1"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


def rule(*resources: str, group: str = "", version: str = "v1", operations: tuple[str, ...] = ("*",)) -> dict[str, Any]:
    return {
        "apiGroups": [group],
        "apiVersions": [version],
        "resources": list(resources),
        "operations": list(operations),
    }


def configmap(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": data}


def deployment(name: str, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "b"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": name}, "spec": spec}


async def policy(
    api, kind: str, name: str, spec: dict[str, Any], *rules: dict[str, Any], binding: dict[str, Any] | None = None
) -> None:
    """A policy and a binding of the same name."""
    constraints = {"resourceRules": list(rules or (rule("configmaps"),))}
    spec = {"matchConstraints": constraints, **spec}
    await api.ok("POST", f"{GROUP}/{kind}admissionpolicies", {"metadata": {"name": name}, "spec": spec})
    bound: dict[str, Any] = {"policyName": name, **(binding or {})}
    if kind == "validating":
        bound.setdefault("validationActions", ["Deny"])
    await api.ok("POST", f"{GROUP}/{kind}admissionpolicybindings", {"metadata": {"name": name}, "spec": bound})
