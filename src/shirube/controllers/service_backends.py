"""Which pods stand behind a Service, and by which ports: what Endpoints and EndpointSlices have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from shirube.api.selectors import label_selector_from_set
from shirube.client.informer import Informer, key_of
from shirube.client.rest import Object
from shirube.client.work_queue import WorkQueue
from shirube.controllers import pods as of_pods
from shirube.controllers.pace import Pace
from shirube.controllers.pod_selection import index_labels, selected
from shirube.foundation.clock import parse_rfc3339, rfc3339

HEADLESS_LABEL = "service.kubernetes.io/headless"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"


_BY_SELECTOR = "selector"


class Port(NamedTuple):
    name: str
    port: int
    protocol: str
    app_protocol: str

    def to_dict(self) -> Object:
        out: Object = {"name": self.name} if self.name else {}
        out |= {"port": self.port, "protocol": self.protocol}
        if self.app_protocol:
            out["appProtocol"] = self.app_protocol
        return out


def selects(service: Object) -> bool:
    """Its backends are ours to find: it has a selector and is not a mere alias."""
    spec = service["spec"]
    return bool(spec.get("selector")) and spec.get("type") != "ExternalName"


def headless(service: Object) -> bool:
    return bool(service["spec"].get("clusterIP") == "None")


def publishes_not_ready(service: Object) -> bool:
    return bool(service["spec"].get("publishNotReadyAddresses"))


def families(service: Object) -> list[str]:
    """`IPv4` and/or `IPv6`, the service's own order."""
    if found := service["spec"].get("ipFamilies"):
        return list(found)
    address = service["spec"].get("clusterIP") or ""
    return ["IPv6"] if ":" in address else ["IPv4"]


def address_of(pod: Object, family: str) -> str | None:
    status = pod.get("status") or {}
    addresses = [one["ip"] for one in status.get("podIPs") or () if one.get("ip")]
    if not addresses and status.get("podIP"):
        addresses = [status["podIP"]]
    for address in addresses:
        if (":" in address) == (family == "IPv6"):
            return str(address)
    return None


def target_port(pod: Object, service_port: Object) -> int | None:
    """The number of a service's targetPort on this pod; named ports differ from pod to pod."""
    target = service_port.get("targetPort") or service_port["port"]
    if isinstance(target, int):
        return target
    assert isinstance(target, str)
    if target.isdigit():
        return int(target)
    protocol = service_port.get("protocol", "TCP")
    sidecars = [c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in [*(pod["spec"].get("containers") or ()), *sidecars]:
        for port in container.get("ports") or ():
            if port.get("name") == target and port.get("protocol", "TCP") == protocol:
                return int(port["containerPort"])
    return None


def ports_of(service: Object, pod: Object) -> tuple[Port, ...]:
    out = []
    for one in service["spec"].get("ports") or ():
        number = target_port(pod, one)
        if number is not None:
            out.append(
                Port(
                    one.get("name") or "",
                    number,
                    one.get("protocol", "TCP"),
                    one.get("appProtocol") or "",
                )
            )
    return tuple(out)


def backends(service: Object, pods: Informer) -> list[Object]:
    """Pods that the selector matches and that have not finished, sorted by name."""
    metadata = service["metadata"]
    selector = label_selector_from_set(service["spec"].get("selector") or {})
    found = selected(pods, metadata["namespace"], selector)
    return sorted((pod for pod in found if not of_pods.finished(pod)), key=key_of)


def hostname_of(service: Object, pod: Object) -> str:
    """The pod's own name in the service's domain, if it has asked for one."""
    spec = pod["spec"]
    if spec.get("hostname") and spec.get("subdomain") == service["metadata"]["name"]:
        return str(spec["hostname"])
    return ""


def target_reference(pod: Object) -> Object:
    metadata = pod["metadata"]
    return {
        "kind": "Pod",
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }


def trigger_time(service: Object, pods: Iterable[Object]) -> str:
    """When the last change happened that an endpoint shows: for measuring how long programming it takes."""
    times = [parse_rfc3339(service["metadata"]["creationTimestamp"])]
    for pod in pods:
        found = of_pods.condition(pod, "Ready")
        if found is not None and found.get("lastTransitionTime"):
            times.append(parse_rfc3339(found["lastTransitionTime"]))
    return rfc3339(max(times))


def _shown(pod: Object) -> tuple[object, ...]:
    """What of a pod an endpoint shows."""
    status = pod.get("status") or {}
    spec = pod["spec"]
    return (
        status.get("podIP"),
        status.get("podIPs"),
        of_pods.ready(pod),
        of_pods.finished(pod),
        bool(pod["metadata"].get("deletionTimestamp")),
        spec.get("nodeName"),
        spec.get("hostname"),
        spec.get("subdomain"),
    )


def _has_address(pod: Object) -> bool:
    status = pod.get("status") or {}
    return bool(status.get("podIP") or status.get("podIPs"))


def _filed_under(service: Object) -> list[str]:
    """One label that its pods have: a pod finds its services without looking at all of the namespace."""
    if not selects(service):
        return []
    name, value = min(service["spec"]["selector"].items())
    return [f"{service['metadata']['namespace']}/{name}={value}"]


def watch_backends(
    services: Informer, pods: Informer, queue: WorkQueue[str], pace: Pace
) -> Callable[[Object], Iterable[str]]:
    """Put the key of each service whose endpoints may have changed into the queue. Returns what finds the services of a
    pod."""

    wake = queue.add
    index_labels(pods)
    services.add_index(_BY_SELECTOR, _filed_under)

    def matching(pod: Object) -> dict[str, None]:
        """Keys, in an order that does not depend on their hashes."""
        namespace, labels = pod["metadata"]["namespace"], pod["metadata"].get("labels") or {}
        return {
            key_of(service): None
            for name, value in labels.items()
            for service in services.store.by_index(_BY_SELECTOR, f"{namespace}/{name}={value}")
            if service["spec"]["selector"].items() <= labels.items()
        }

    def updated(old: Object, new: Object) -> None:
        if not _has_address(new) and not _has_address(old):
            return
        relabelled = old["metadata"].get("labels") != new["metadata"].get("labels")
        if not relabelled and _shown(old) == _shown(new):
            return
        can_wait = of_pods.became_ready(old, new)
        for key in matching(new) | (matching(old) if relabelled else {}):
            queue.add_after(key, pace.left(key) if can_wait else 0.0)

    def changed(pod: Object) -> None:
        for key in matching(pod) if _has_address(pod) else ():
            wake(key)

    pods.add_handler(changed, updated, changed)
    services.add_handler(lambda s: wake(key_of(s)), lambda _, s: wake(key_of(s)), lambda s: wake(key_of(s)))
    return matching
