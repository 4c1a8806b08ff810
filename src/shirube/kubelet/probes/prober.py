"""Runs the probes of running containers and keeps their verdicts.

One task a probe: it waits the initial delay from the container's start, looks once a period, and until a
container is up also in between (see `verdict.py`). Liveness and readiness wait until the startup probe has
passed. When a verdict changes the pod's worker is woken; it asks here whether a container is started, ready, or
to be replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shirube.foundation.clock import Clock
from shirube.foundation.tasks import cancel, spawn
from shirube.kubelet import pod as pods
from shirube.kubelet.cri.client import Runtime
from shirube.kubelet.plan import Unhealthy
from shirube.kubelet.probes.check import Outcome, Target, check
from shirube.kubelet.probes.verdict import KINDS, LIVENESS, READINESS, STARTUP, Timing, Verdict
from shirube.kubelet.runtime_state import NANO, Container

# (pod, container name, event type, reason, message)
Tell = Callable[[pods.Pod, str, str, str, str], None]


@dataclass(slots=True)
class _Probed:
    """One running container with at least one probe."""

    pod: pods.Pod
    container: pods.Container
    record: Container
    host: str
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    startup_passed: asyncio.Event = field(default_factory=asyncio.Event)
    unhealthy: Unhealthy | None = None


class Prober:
    def __init__(self, runtime: Runtime, clock: Clock, tell: Tell, wake: Callable[[str], None], node_host: str) -> None:
        """`wake(pod_uid)` is called when a verdict changes; `node_host` is where host-network pods answer."""
        self._runtime = runtime
        self._clock = clock
        self._tell = tell
        self._wake = wake
        self._node_host = node_host
        self._probed: dict[str, _Probed] = {}

    # -- verdicts

    def started(self, container_id: str) -> bool:
        probed = self._probed.get(container_id)
        return probed is None or STARTUP not in probed.verdicts or probed.verdicts[STARTUP].passed

    def ready(self, container_id: str) -> bool:
        probed = self._probed.get(container_id)
        if probed is None:
            return True
        readiness = probed.verdicts.get(READINESS)
        return self.started(container_id) and (readiness is None or readiness.passed)

    def unhealthy(self, container_ids: list[str]) -> dict[str, Unhealthy]:
        found = {}
        for container_id in container_ids:
            probed = self._probed.get(container_id)
            if probed is not None and probed.unhealthy is not None:
                found[container_id] = probed.unhealthy
        return found

    # -- which containers

    def follow(self, pod: pods.Pod, running: list[Container], pod_ips: tuple[str, ...]) -> None:
        """Probe exactly these containers of the pod."""
        host = self._node_host if pods.is_host_network(pod) else (pod_ips[0] if pod_ips else "")
        wanted = {record.id: record for record in running}
        pod_uid = pods.uid(pod)
        for container_id, probed in list(self._probed.items()):
            if pods.uid(probed.pod) == pod_uid and container_id not in wanted:
                self._drop(container_id)
        for container_id, record in wanted.items():
            if (known := self._probed.get(container_id)) is not None:
                known.pod = pod
                continue
            container = pods.container_named(pod, record.name)
            if container is not None and any(container.get(f"{kind}Probe") for kind in KINDS):
                self._probed[container_id] = self._begin(pod, container, record, host)

    def stop(self, pod: pods.Pod) -> None:
        """The pod is ending: its liveness and startup no longer matter, its readiness does."""
        for probed in self._probed.values():
            if pods.uid(probed.pod) == pods.uid(pod):
                for kind in (LIVENESS, STARTUP):
                    if (task := probed.tasks.pop(kind, None)) is not None:
                        task.cancel()

    async def close(self) -> None:
        tasks = [task for probed in self._probed.values() for task in probed.tasks.values()]
        self._probed.clear()
        await cancel(*tasks)

    def _drop(self, container_id: str) -> None:
        for task in self._probed.pop(container_id).tasks.values():
            task.cancel()

    def _begin(self, pod: pods.Pod, container: pods.Container, record: Container, host: str) -> _Probed:
        probed = _Probed(pod, container, record, host)
        for kind in KINDS:
            if (probe := container.get(f"{kind}Probe")) is not None:
                probed.verdicts[kind] = Verdict(kind, Timing.of(probe))
        if STARTUP not in probed.verdicts:
            probed.startup_passed.set()
        for kind, verdict in probed.verdicts.items():
            name = f"{kind} probe {pods.full_name(pod)}/{container['name']}"
            probed.tasks[kind] = spawn(self._run(probed, kind, verdict), name=name)
        return probed

    # -- one probe

    async def _run(self, probed: _Probed, kind: str, verdict: Verdict) -> None:
        timing = verdict.timing
        probe = probed.container[f"{kind}Probe"]
        age = self._clock.now() - probed.record.started_at / NANO
        await asyncio.sleep(max(timing.initial_delay - age, 0))
        if kind != STARTUP:
            await probed.startup_passed.wait()
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + timing.period
            if await self._look(probed, kind, verdict, probe, extra=False):
                return
            while (wait := verdict.next_extra_look(due - loop.time())) is not None:
                await asyncio.sleep(wait)
                if await self._look(probed, kind, verdict, probe, extra=True):
                    return
            await asyncio.sleep(max(due - loop.time(), 0))

    async def _look(self, probed: _Probed, kind: str, verdict: Verdict, probe: Mapping[str, Any], extra: bool) -> bool:
        """Probe once; whether this probe is done for good."""
        ports = {
            port["name"]: port["containerPort"] for port in probed.container.get("ports") or () if port.get("name")
        }
        target = Target(probed.record.id, probed.host, ports)
        outcome = await check(self._runtime, probe, target, verdict.timing.timeout)
        if not outcome.success and not extra:
            self._tell_failure(probed, kind, outcome)
        if outcome.errored:
            return False
        before = verdict.passed
        reached = verdict.observe(outcome.success, extra=extra)
        if not reached:
            return False
        if kind == STARTUP and outcome.success:
            probed.startup_passed.set()
        failed_for_good = not outcome.success and kind != READINESS
        if failed_for_good:
            name = probed.container["name"]
            grace = probe.get("terminationGracePeriodSeconds")
            probed.unhealthy = Unhealthy(f"Container {name} failed {kind} probe, will be restarted", grace)
        if verdict.passed != before or failed_for_good:
            self._wake(pods.uid(probed.pod))
        return failed_for_good or (kind == STARTUP and outcome.success)

    def _tell_failure(self, probed: _Probed, kind: str, outcome: Outcome) -> None:
        word = kind.capitalize()
        if outcome.errored:
            message = f"{word} probe errored and resulted in Unknown state: {outcome.output}"
        else:
            message = f"{word} probe failed: {outcome.output}"
        self._tell(probed.pod, probed.container["name"], "Warning", "Unhealthy", message)
