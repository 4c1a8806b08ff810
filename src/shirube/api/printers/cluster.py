"""Rows of nodes, namespaces, events, and what else is about the cluster itself."""

from __future__ import annotations

from typing import Any

from shirube.api.printers.cell_text import NONE
from shirube.api.printers.column import AGE, NAME, Column, Obj, Printer, wide
from shirube.api.printers.duration import UNKNOWN, age, since

_ROLE_PREFIX = "node-role.kubernetes.io/"


def _name(obj: Obj) -> str:
    return str(obj["metadata"].get("name", ""))


def _node_state(obj: Obj) -> str:
    status = obj.get("status") or {}
    ready = next((c for c in status.get("conditions") or () if c.get("type") == "Ready"), None)
    if ready is None:
        state = "Unknown"
    else:
        state = "Ready" if ready.get("status") == "True" else "NotReady"
    return f"{state},SchedulingDisabled" if (obj.get("spec") or {}).get("unschedulable") else state


def node_roles(labels: dict[str, str]) -> str:
    """The roles that a node's labels give it."""
    roles = {k.removeprefix(_ROLE_PREFIX) for k in labels if k.startswith(_ROLE_PREFIX)} - {""}
    if role := labels.get("kubernetes.io/role"):
        roles.add(role)
    return ",".join(sorted(roles)) or NONE


def _address(status: Obj, kind: str) -> str:
    for address in status.get("addresses") or ():
        if address.get("type") == kind:
            return str(address.get("address", ""))
    return NONE


def _node(obj: Obj, now: float) -> list[Any]:
    status = obj.get("status") or {}
    info = status.get("nodeInfo") or {}
    return [
        _name(obj),
        _node_state(obj),
        node_roles(obj["metadata"].get("labels") or {}),
        age(obj, now),
        info.get("kubeletVersion", ""),
        _address(status, "InternalIP"),
        _address(status, "ExternalIP"),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _namespace(obj: Obj, now: float) -> list[Any]:
    return [_name(obj), (obj.get("status") or {}).get("phase", ""), age(obj, now)]


def _event(obj: Obj, now: float) -> list[Any]:
    """An event of either group: the newer one calls the same fields otherwise."""
    about = obj.get("involvedObject") or obj.get("regarding") or {}
    first = obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or obj.get("eventTime")
    last = obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp") or first
    count = obj.get("count") or obj.get("deprecatedCount") or 1
    if series := obj.get("series"):
        last, count = series.get("lastObservedTime"), series.get("count", 0)
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    if source.get("component"):
        origin = [source["component"], source.get("host", "")]
    else:
        controller = obj.get("reportingComponent") or obj.get("reportingController", "")
        origin = [controller, obj.get("reportingInstance", "")]
    kind, name = about.get("kind", "").lower(), about.get("name", "")
    return [
        since(last, now),
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{kind}/{name}" if name else kind,
        about.get("fieldPath", ""),
        ", ".join(o for i, o in enumerate(origin) if o or i == 0),
        (obj.get("message") or obj.get("note", "")).strip(),
        since(first, now),
        count,
        _name(obj),
    ]


_EVENT = Printer(
    (
        Column("Last Seen", "Time since it was last seen."),
        Column("Type", "Normal or Warning."),
        Column("Reason", "Short reason, for machines."),
        Column("Object", "Object that the event is about."),
        wide("Subobject", "Part of the object that it is about."),
        wide("Source", "Component that reported it."),
        Column("Message", "What happened, for people."),
        wide("First Seen", "Time since it was first seen."),
        wide("Count", "How often it was seen."),
        NAME._replace(priority=1),
    ),
    _event,
)


def _lease(obj: Obj, now: float) -> list[Any]:
    return [_name(obj), (obj.get("spec") or {}).get("holderIdentity", ""), age(obj, now)]


def _component_status(obj: Obj, now: float) -> list[Any]:
    health = next((c for c in obj.get("conditions") or () if c.get("type") == "Healthy"), None)
    if health is None:
        return [_name(obj), "Unknown", "", ""]
    state = "Healthy" if health.get("status") == "True" else "Unhealthy"
    return [_name(obj), state, health.get("message", ""), health.get("error", "")]


def _api_service(obj: Obj, now: float) -> list[Any]:
    service = (obj.get("spec") or {}).get("service")
    where = f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "Local"
    conditions = (obj.get("status") or {}).get("conditions") or ()
    available = next((c for c in conditions if c.get("type") == "Available"), None)
    state = "Unknown"
    if available is not None:
        state = available.get("status", "")
        if state != "True" and available.get("reason"):
            state = f"{state} ({available['reason']})"
    return [_name(obj), where, state, age(obj, now)]


def _runtime_class(obj: Obj, now: float) -> list[Any]:
    return [_name(obj), obj.get("handler", ""), age(obj, now)]


PRINTERS = {
    ("", "componentstatuses"): Printer(
        (
            NAME,
            Column("Status", "Whether the component is healthy."),
            Column("Message", "What it says about itself."),
            Column("Error", "What went wrong when it was asked."),
        ),
        _component_status,
    ),
    ("", "events"): _EVENT,
    ("events.k8s.io", "events"): _EVENT,
    ("", "namespaces"): Printer((NAME, Column("Status", "Whether the namespace is in use."), AGE), _namespace),
    ("", "nodes"): Printer(
        (
            NAME,
            Column("Status", "Whether the node is ready, and takes new pods."),
            Column("Roles", "What the node is for."),
            AGE,
            Column("Version", "Version of the node agent."),
            wide("Internal-IP", "Address inside the cluster."),
            wide("External-IP", "Address from outside."),
            wide("OS-Image", "Operating system."),
            wide("Kernel-Version", "Version of the kernel."),
            wide("Container-Runtime", "Container runtime and its version."),
        ),
        _node,
    ),
    ("apiregistration.k8s.io", "apiservices"): Printer(
        (
            NAME,
            Column("Service", "Service that answers, or Local."),
            Column("Available", "Whether the API is available."),
            AGE,
        ),
        _api_service,
    ),
    ("coordination.k8s.io", "leases"): Printer((NAME, Column("Holder", "Who holds the lease."), AGE), _lease),
    ("node.k8s.io", "runtimeclasses"): Printer(
        (NAME, Column("Handler", "Configuration of the container runtime."), AGE), _runtime_class
    ),
}
