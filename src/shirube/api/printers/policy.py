"""Rows of limits and of access: quotas, budgets, autoscalers, roles' bindings, certificates, configuration."""

from __future__ import annotations

from typing import Any

from shirube.api.printers.cell_text import NONE, UNSET
from shirube.api.printers.column import AGE, NAME, Column, Obj, Printer, integer, wide
from shirube.api.printers.duration import age, human_duration

_SHOWN_METRICS = 2
UNKNOWN_METRIC = "<unknown>"
_RBAC = "rbac.authorization.k8s.io"


def _name(obj: Obj) -> str:
    return str(obj["metadata"].get("name", ""))


def _config_map(obj: Obj, now: float) -> list[Any]:
    return [_name(obj), len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), age(obj, now)]


def _secret(obj: Obj, now: float) -> list[Any]:
    return [_name(obj), obj.get("type", ""), len(obj.get("data") or ()), age(obj, now)]


def _service_account(obj: Obj, now: float) -> list[Any]:
    return [_name(obj), age(obj, now)]


def _quota(obj: Obj, now: float) -> list[Any]:
    status = obj.get("status") or {}
    used: Obj = status.get("used") or {}
    requests: list[str] = []
    limits: list[str] = []
    for resource, hard in sorted((status.get("hard") or {}).items()):
        text = f"{resource}: {used.get(resource, '0')}/{hard}"
        (limits if resource.startswith("limits.") else requests).append(text)
    return [_name(obj), ", ".join(requests), ", ".join(limits), age(obj, now)]


def _budget(obj: Obj, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    shown = ["N/A" if spec.get(f) is None else str(spec[f]) for f in ("minAvailable", "maxUnavailable")]
    return [_name(obj), *shown, status.get("disruptionsAllowed", 0), age(obj, now)]


def _metric_text(spec: Obj, status: Obj) -> str:
    kind = spec.get("type", "")
    field = kind[:1].lower() + kind[1:]
    source, current = spec.get(field) or {}, (status.get(field) or {}).get("current") or {}
    target = source.get("target") or {}
    label = f"{source.get('name', '')}: " if field in ("resource", "containerResource") else ""
    if target.get("averageUtilization") is not None:
        now = current.get("averageUtilization")
        return f"{label}{UNKNOWN_METRIC if now is None else f'{now}%'}/{target['averageUtilization']}%"
    if target.get("averageValue") is not None:
        suffix = " (avg)" if field in ("external", "object") else ""
        return f"{label}{current.get('averageValue', UNKNOWN_METRIC)}/{target['averageValue']}{suffix}"
    if target.get("value") is not None:
        return f"{label}{current.get('value', UNKNOWN_METRIC)}/{target['value']}"
    return f"{label}{UNKNOWN_METRIC}/<auto>"


def _metrics(spec: Obj, status: Obj) -> str:
    """What an autoscaler looks at; in v1 form that is cpu alone."""
    if "metrics" not in spec and spec.get("targetCPUUtilizationPercentage") is not None:
        now = status.get("currentCPUUtilizationPercentage")
        current = UNKNOWN_METRIC if now is None else f"{now}%"
        return f"cpu: {current}/{spec['targetCPUUtilizationPercentage']}%"
    metrics, states = spec.get("metrics") or [], status.get("currentMetrics") or []
    if not metrics:
        return NONE
    shown = [_metric_text(m, states[i] if i < len(states) else {}) for i, m in enumerate(metrics)]
    text = ", ".join(shown[:_SHOWN_METRICS])
    more = len(shown) - _SHOWN_METRICS
    return f"{text} + {more} more..." if more > 0 else text


def _autoscaler(obj: Obj, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    target = spec.get("scaleTargetRef") or {}
    least = spec.get("minReplicas")
    return [
        _name(obj),
        f"{target.get('kind', '')}/{target.get('name', '')}",
        _metrics(spec, status),
        UNSET if least is None else str(least),
        spec.get("maxReplicas", 0),
        status.get("currentReplicas", 0),
        age(obj, now),
    ]


def _priority_class(obj: Obj, now: float) -> list[Any]:
    return [
        _name(obj),
        obj.get("value", 0),
        bool(obj.get("globalDefault")),
        age(obj, now),
        obj.get("preemptionPolicy", ""),
    ]


def _binding(obj: Obj, now: float) -> list[Any]:
    role, subjects = obj.get("roleRef") or {}, obj.get("subjects") or []
    accounts = [f"{s.get('namespace', '')}/{s.get('name', '')}" for s in subjects if s.get("kind") == "ServiceAccount"]
    return [
        _name(obj),
        f"{role.get('kind', '')}/{role.get('name', '')}",
        age(obj, now),
        ", ".join(s.get("name", "") for s in subjects if s.get("kind") == "User"),
        ", ".join(s.get("name", "") for s in subjects if s.get("kind") == "Group"),
        ", ".join(accounts),
    ]


def _trust_bundle(obj: Obj, now: float) -> list[Any]:
    return [obj["metadata"].get("name", ""), (obj.get("spec") or {}).get("signerName") or NONE]


def _certificate_request(obj: Obj, now: float) -> list[Any]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    held = {c.get("type") for c in status.get("conditions") or ()}
    state = "Denied" if "Denied" in held else "Approved" if "Approved" in held else "Pending"
    if "Failed" in held:
        state += ",Failed"
    if status.get("certificate"):
        state += ",Issued"
    seconds = spec.get("expirationSeconds")
    return [
        _name(obj),
        age(obj, now),
        spec.get("signerName") or NONE,
        spec.get("username", ""),
        NONE if seconds is None else human_duration(seconds),
        state,
    ]


_BINDING = Printer(
    (
        NAME,
        Column("Role", "Role that is given."),
        AGE,
        wide("Users", "Users that get it."),
        wide("Groups", "Groups that get it."),
        wide("ServiceAccounts", "Service accounts that get it."),
    ),
    _binding,
)

PRINTERS = {
    ("", "configmaps"): Printer((NAME, Column("Data", "How many keys there are."), AGE), _config_map),
    ("", "secrets"): Printer(
        (NAME, Column("Type", "What the secret is for."), Column("Data", "How many keys there are."), AGE), _secret
    ),
    ("", "serviceaccounts"): Printer((NAME, AGE), _service_account),
    ("", "resourcequotas"): Printer(
        (
            NAME,
            Column("Request", "Used and allowed amounts of what can be requested or counted."),
            Column("Limit", "Used and allowed amounts of limits."),
            AGE,
        ),
        _quota,
    ),
    ("autoscaling", "horizontalpodautoscalers"): Printer(
        (
            NAME,
            Column("Reference", "What is scaled."),
            Column("Targets", "Metrics, now and wanted."),
            Column("MinPods", "Least number of pods."),
            Column("MaxPods", "Greatest number of pods."),
            Column("Replicas", "Number of pods now."),
            AGE,
        ),
        _autoscaler,
    ),
    ("policy", "poddisruptionbudgets"): Printer(
        (
            NAME,
            Column("Min Available", "How many pods must stay."),
            Column("Max Unavailable", "How many pods may be missing."),
            integer("Allowed Disruptions", "How many pods may be evicted now."),
            AGE,
        ),
        _budget,
    ),
    ("scheduling.k8s.io", "priorityclasses"): Printer(
        (
            NAME,
            integer("Value", "Priority of pods of this class."),
            Column("Global-Default", "Whether pods without a class get this one.", "boolean"),
            AGE,
            Column("PreemptionPolicy", "Whether pods of this class make others go."),
        ),
        _priority_class,
    ),
    (_RBAC, "clusterrolebindings"): _BINDING,
    (_RBAC, "rolebindings"): _BINDING,
    ("certificates.k8s.io", "clustertrustbundles"): Printer(
        (NAME, Column("SignerName", "Whose certificates these are.")),
        _trust_bundle,
    ),
    ("certificates.k8s.io", "certificatesigningrequests"): Printer(
        (
            NAME,
            AGE,
            Column("SignerName", "Who shall sign."),
            Column("Requestor", "Who asks."),
            Column("RequestedDuration", "For how long."),
            Column("Condition", "Whether it was approved and issued."),
        ),
        _certificate_request,
    ),
}
