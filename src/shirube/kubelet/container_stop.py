"""Stopping containers: preStop, then the stop signal, then SIGKILL, within the grace period.

Follows https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination: preStop counts
against the grace period but the container gets two seconds more when it used it up; app containers end
together, sidecars after them, last started first.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from shirube.kubelet import pod as pods
from shirube.kubelet import stop_signal
from shirube.kubelet.cri.client import CriError
from shirube.kubelet.hooks import HookError, run_hook
from shirube.kubelet.node_services import NodeServices
from shirube.kubelet.plan import stop_order
from shirube.kubelet.probes.check import Target
from shirube.kubelet.runtime_state import EXITED, Container, PodRuntime

_MINIMUM_AFTER_HOOK = 2
_POLL = 0.05


@dataclass(frozen=True, slots=True)
class StopRequest:
    grace: float
    message: str = ""  # why, for the event; '' for an ordinary stop
    hooked: frozenset[str] = frozenset()  # containers whose preStop has begun before


def hook_target(pod: pods.Pod, container: pods.Container, container_id: str, pod_ips: tuple[str, ...]) -> Target:
    ports = {p["name"]: p["containerPort"] for p in container.get("ports") or () if p.get("name")}
    return Target(container_id, pod_ips[0] if pod_ips else "127.0.0.1", ports)


async def stop_container(
    services: NodeServices,
    pod: pods.Pod,
    record: Container,
    request: StopRequest,
    pod_ips: tuple[str, ...] = (),
) -> None:
    """Stop one container and wait until it has ended. Raises CriError (not when it is gone already)."""
    container = pods.container_named(pod, record.name)
    message = request.message or "Stopping container " + record.name
    services.tell(pod, "Normal", "Killing", message, record.name)
    left = request.grace
    handler = ((container or {}).get("lifecycle") or {}).get("preStop")
    if handler and container is not None and record.id not in request.hooked and request.grace > 0:
        began = services.clock.monotonic()
        target = hook_target(pod, container, record.id, pod_ips)
        await _pre_stop(services, pod, record, handler, target, request.grace)
        left = max(request.grace - (services.clock.monotonic() - began), _MINIMUM_AFTER_HOOK)
    if (name := ((container or {}).get("lifecycle") or {}).get("stopSignal")) and left > 0:
        await _signal_and_wait(services, pod, record, name, left)
        left = 0
    try:
        await services.runtime.call("StopContainer", deadline=left + 120, container_id=record.id, timeout=int(left))
    except CriError as error:
        if not error.not_found:
            raise


async def _signal_and_wait(services: NodeServices, pod: pods.Pod, record: Container, name: str, left: float) -> None:
    """Ask the container to end with its own signal, and give it the time that is left."""
    processes = services.cgroups.container_processes(pod, record.id)
    if not stop_signal.send(processes, name):
        return
    until = services.clock.monotonic() + left
    while services.clock.monotonic() < until:
        now = await services.state.container_status(record.id)
        if now is None or now.state == EXITED:
            return
        await asyncio.sleep(_POLL)


async def _pre_stop(
    services: NodeServices, pod: pods.Pod, record: Container, handler: Any, target: Target, grace: float
) -> None:
    try:
        async with asyncio.timeout(grace):
            await run_hook(services.runtime, handler, target)
    except HookError as error:
        services.tell(pod, "Warning", "FailedPreStopHook", f"PreStopHook failed: {error}", record.name)
    except TimeoutError:
        # The hook used up the grace period; the signal follows at once.
        return


async def stop_containers(
    services: NodeServices,
    pod: pods.Pod,
    runtime: PodRuntime,
    request: StopRequest,
    pod_ips: tuple[str, ...] = (),
) -> None:
    """Stop all that runs, in order. Raises CriError."""
    began = services.clock.monotonic()
    for group in stop_order(pod, runtime):
        passed = services.clock.monotonic() - began
        # Sidecars get what is left of the grace period, and at least the time to react to a signal.
        grace = request.grace if passed < 0.5 else max(request.grace - passed, min(request.grace, 1))
        one = StopRequest(grace, request.message, request.hooked)
        await asyncio.gather(*(stop_container(services, pod, record, one, pod_ips) for record in group))
