"""Rows of what extends or steers the API server: webhooks, policies, flow control; and of devices."""

from __future__ import annotations

from typing import Any

from shirube.api.printers.cell_text import NONE, UNSET
from shirube.api.printers.column import AGE, NAME, Column, Obj, Printer, integer
from shirube.api.printers.duration import age

_ADMISSION = "admissionregistration.k8s.io"
_FLOW = "flowcontrol.apiserver.k8s.io"
_DEVICES = "resource.k8s.io"


def _name(obj: Obj) -> str:
    return str(obj["metadata"].get("name", ""))


def _aged(obj: Obj, now: float) -> list[Any]:
    return [_name(obj), age(obj, now)]


def _webhooks(obj: Obj, now: float) -> list[Any]:
    return [_name(obj), len(obj.get("webhooks") or ()), age(obj, now)]


def _param_kind(spec: Obj) -> str:
    kind = spec.get("paramKind")
    return f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else UNSET


def _validating_policy(obj: Obj, now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    return [_name(obj), len(spec.get("validations") or ()), _param_kind(spec), age(obj, now)]


def _mutating_policy(obj: Obj, now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    return [_name(obj), len(spec.get("mutations") or ()), _param_kind(spec), age(obj, now)]


def _policy_binding(obj: Obj, now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    ref = spec.get("paramRef")
    shown = UNSET
    if ref:
        namespace = ref.get("namespace")
        shown = f"{namespace}/{ref.get('name', '')}" if namespace else ref.get("name", "")
    return [_name(obj), spec.get("policyName", ""), shown, age(obj, now)]


def _flow_schema(obj: Obj, now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    conditions = (obj.get("status") or {}).get("conditions") or ()
    dangling = next((c.get("status", "") for c in conditions if c.get("type") == "Dangling"), "?")
    return [
        _name(obj),
        (spec.get("priorityLevelConfiguration") or {}).get("name") or NONE,
        spec.get("matchingPrecedence", 0),
        (spec.get("distinguisherMethod") or {}).get("type") or NONE,
        age(obj, now),
        dangling,
    ]


def _priority_level(obj: Obj, now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    limited, exempt = spec.get("limited") or {}, spec.get("exempt") or {}
    queuing = (limited.get("limitResponse") or {}).get("queuing") or {}
    shares = limited.get("nominalConcurrencyShares", exempt.get("nominalConcurrencyShares"))
    shown = [
        NONE if v is None else str(v) for v in (shares, *map(queuing.get, ("queues", "handSize", "queueLengthLimit")))
    ]
    return [_name(obj), spec.get("type", ""), *shown, age(obj, now)]


def _claim_state(obj: Obj) -> str:
    status = obj.get("status") or {}
    states = ["deleted"] if obj["metadata"].get("deletionTimestamp") else []
    if status.get("allocation") is None:
        return ",".join([*states, "pending"]) if not states else ",".join(states)
    states.append("allocated")
    if status.get("reservedFor"):
        states.append("reserved")
    return ",".join(states)


def _resource_claim(obj: Obj, now: float) -> list[Any]:
    return [_name(obj), _claim_state(obj), age(obj, now)]


def _resource_slice(obj: Obj, now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    node = spec.get("nodeName", "")
    pool = (spec.get("pool") or {}).get("name", "")
    return [_name(obj), node, spec.get("driver", ""), pool, age(obj, now)]


_WEBHOOKS = Printer((NAME, integer("Webhooks", "How many webhooks there are."), AGE), _webhooks)
_PARAM_KIND = Column("ParamKind", "Kind of the objects that configure the policy.")
_POLICY_BINDING = Printer(
    (NAME, Column("PolicyName", "Policy that is bound."), Column("ParamRef", "Object that configures it."), AGE),
    _policy_binding,
)
_AGED = Printer((NAME, AGE), _aged)

PRINTERS = {
    (_ADMISSION, "mutatingadmissionpolicies"): Printer(
        (NAME, integer("Mutations", "How many mutations there are."), _PARAM_KIND, AGE), _mutating_policy
    ),
    (_ADMISSION, "mutatingadmissionpolicybindings"): _POLICY_BINDING,
    (_ADMISSION, "mutatingwebhookconfigurations"): _WEBHOOKS,
    (_ADMISSION, "validatingadmissionpolicies"): Printer(
        (NAME, integer("Validations", "How many validations there are."), _PARAM_KIND, AGE), _validating_policy
    ),
    (_ADMISSION, "validatingadmissionpolicybindings"): _POLICY_BINDING,
    (_ADMISSION, "validatingwebhookconfigurations"): _WEBHOOKS,
    (_FLOW, "flowschemas"): Printer(
        (
            NAME,
            Column("PriorityLevel", "Priority level that requests get."),
            Column("MatchingPrecedence", "Lower is matched first."),
            Column("DistinguisherMethod", "By what flows are told apart."),
            AGE,
            Column("MissingPL", "Whether the priority level does not exist."),
        ),
        _flow_schema,
    ),
    (_FLOW, "prioritylevelconfigurations"): Printer(
        (
            NAME,
            Column("Type", "Limited or Exempt."),
            Column("NominalConcurrencyShares", "Share of the concurrency."),
            Column("Queues", "How many queues there are."),
            Column("HandSize", "How many queues a flow may use."),
            Column("QueueLengthLimit", "How many requests wait in a queue."),
            AGE,
        ),
        _priority_level,
    ),
    (_DEVICES, "deviceclasses"): _AGED,
    (_DEVICES, "resourceclaims"): Printer(
        (NAME, Column("State", "Whether devices are allocated."), AGE), _resource_claim
    ),
    (_DEVICES, "resourceclaimtemplates"): _AGED,
    (_DEVICES, "resourceslices"): Printer(
        (
            NAME,
            Column("Node", "Node that has the devices."),
            Column("Driver", "Driver of the devices."),
            Column("Pool", "Pool that the devices belong to."),
            AGE,
        ),
        _resource_slice,
    ),
}
