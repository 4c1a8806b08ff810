"""Drives one pod: observes, plans, acts, reports, and waits to be woken.

One worker a pod UID, one task each. It is level-triggered: a wake-up carries no information, every round
begins with what the API wants and what the runtime has. Long waits inside a round (pulling an image, hooks,
grace periods) end when the pod is to end.

A pod's end has three causes, which all lead to `_end`: it is being deleted (then, when all is gone, the worker
deletes it from the API), it vanished from the API, or it finished (Succeeded, Failed, deadline).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from shirube.api.errors import ApiError
from shirube.foundation import log
from shirube.foundation.clock import parse_rfc3339
from shirube.foundation.tasks import cancel, signalled, spawn
from shirube.kubelet import labels
from shirube.kubelet import pod as pods
from shirube.kubelet.admission import Rejection
from shirube.kubelet.container_start import ContainerStart, StartFailed
from shirube.kubelet.container_status import View
from shirube.kubelet.container_stop import StopRequest, stop_container, stop_containers
from shirube.kubelet.cri.client import CriError
from shirube.kubelet.device_allocation import DeviceError
from shirube.kubelet.interruption import Interrupted, until
from shirube.kubelet.node_services import NodeServices
from shirube.kubelet.plan import Held, Kill, Memory, Plan, Start, Waiting, garbage, plan
from shirube.kubelet.pod_removal import delete_from_api, remove_everything
from shirube.kubelet.pod_status import Overall, pod_ips, pod_status, rejected_status
from shirube.kubelet.runtime_state import EXITED, PodRuntime
from shirube.kubelet.termination import termination_message
from shirube.kubelet.worker_claims import WorkerClaims
from shirube.kubelet.worker_resize import WorkerResize
from shirube.kubelet.worker_sandbox import WorkerSandbox
from shirube.kubelet.worker_volumes import WorkerVolumes

_logger = log.get("kubelet.pod")
_RETRY_FIRST, _RETRY_MOST = 1.0, 10.0
# The runtime's own bookkeeping follows its event within milliseconds.
_SETTLE = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class PodWorker:
    def __init__(self, services: NodeServices, pod: pods.Pod) -> None:
        self._services = services
        self.resize = WorkerResize(services, pod)
        # With the resources that were granted.
        self.pod = self.resize.take(pod)
        self.uid = pods.uid(pod)
        self.runtime = PodRuntime()  # as last observed
        self.taken = bool((pod.get("status") or {}).get("startTime"))  # the node has admitted it
        self._mirror: pods.Pod | None = None  # of a static pod, in the API
        self.ended = False  # nothing of it runs and nothing will
        self._gone = False  # from the API
        self._deleted = False  # by us, from the API
        self._wake = asyncio.Event()
        self._ending = asyncio.Event()
        self._exited: set[str] = set()
        self._volumes = WorkerVolumes(services)
        self._claims = WorkerClaims(services)
        self._sandbox = WorkerSandbox(services)
        self._held: dict[str, Held] = {}
        self._retries: dict[str, int] = {}
        self._messages: dict[str, str] = {}
        self._told_waiting: dict[str, Waiting] = {}
        self._hooked: set[str] = set()  # containers whose preStop has run
        self._verdict: tuple[str, str] = ("", "")  # reason and message that fail the whole pod
        self._verdict_grace: float | None = None
        self._refused = False  # by the node: nothing of it was ever made

    # -- what wakes it

    def update(self, pod: pods.Pod) -> None:
        """The API has a newer version."""
        self.pod = self.resize.take(pod)
        if pods.is_deleting(pod):
            self._ending.set()
        self._wake.set()

    def mirrored(self, mirror: pods.Pod | None) -> None:
        """The API's mirror of this static pod is new, changed or gone."""
        self._mirror = mirror
        if mirror is not None and mirror.get("status"):
            self.pod = {**self.pod, "status": mirror["status"]}
        self._wake.set()

    def gone(self, pod: pods.Pod) -> None:
        """The API has it no more."""
        self.pod = pod
        self._gone = True
        self._ending.set()
        self._wake.set()

    def evict(self, reason: str, message: str, grace: float) -> None:
        """Fail it: the node cannot keep it. Its containers get `grace` seconds."""
        self._verdict, self._verdict_grace = (reason, message), grace
        self._services.tell(self.pod, "Warning", reason, message)
        self._ending.set()
        self._wake.set()

    def wake(self) -> None:
        self._wake.set()

    def container_exited(self, container_id: str) -> None:
        self._exited.add(container_id)
        self._wake.set()

    # -- the loop

    async def run(self) -> None:
        """Until the pod is gone from API and runtime."""
        failures = 0
        while True:
            self._wake.clear()
            try:
                wait = await self._round()
                failures = 0
            except Interrupted:
                continue
            except (CriError, OSError, ApiError, DeviceError) as error:
                failures += 1
                wait = min(_RETRY_FIRST * 2 ** (failures - 1), _RETRY_MOST)
                _logger.warning("cannot sync pod", pod=pods.full_name(self.pod), error=str(error), retry=wait)
            except Exception as error:
                # A defect of ours (or a pod that nobody thought of) must not leave the pod unattended.
                wait = _RETRY_MOST
                _logger.error("cannot sync pod", pod=pods.full_name(self.pod), error=repr(error), exc_info=error)
            if self._gone and self.ended:
                return
            await signalled(self._wake, wait)

    async def _round(self) -> float | None:
        """One round; seconds until the next is due without being woken, None for no need."""
        await self._settle_exits()
        if self._gone or pods.is_deleting(self.pod):
            await self._end()
            return None if self._gone or self._deleted else _RETRY_FIRST
        if self.ended or pods.is_terminal(self.pod):
            if not self.ended:
                await self._end()
            return None
        if self._verdict_grace is not None:
            await self._end()
            return None
        return await self._keep_running()

    async def _settle_exits(self) -> None:
        """Wait until the runtime's answers show the exits that its events told of."""
        exited, self._exited = self._exited, set()
        for container_id in exited:
            for pause in _SETTLE:
                record = await self._services.state.container_status(container_id)
                if record is None or record.state == EXITED:
                    break
                await asyncio.sleep(pause)

    async def _interruptible(self, work: Awaitable[Any]) -> Any:
        """The result of `work`, or Interrupted as soon as the pod is to end."""
        return await until(self._ending, work, f"pod {pods.full_name(self.pod)}")

    # -- running

    async def _keep_running(self) -> float | None:
        """Plan and act until there is nothing to do; seconds until the next round is due."""
        services = self._services
        while True:
            self.runtime = await services.state.observe(self.uid)
            if (left := self._deadline()) is not None and left <= 0:
                self._verdict = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
                services.tell(self.pod, "Normal", "DeadlineExceeded", self._verdict[1])
                self._ending.set()
                await self._end()
                return None
            if not self.taken and not await self._admit():
                return None
            await self._resize()
            running = self.runtime.running()
            services.prober.follow(self.pod, running, self._pod_ips())
            step = plan(self.pod, self.runtime, self._memory(), services.clock.now())
            self._tell_back_off(step)
            self._report(step)
            if step.finished:
                self._ending.set()
                await self._end(finished=True)
                return None
            if step.idle or not await self._act(step):
                break
        await self._collect_garbage()
        if self.runtime.sandboxes:
            await self._volumes.refresh(self.pod, self._pod_ips())
        return self._next_round(step, left)

    async def _admit(self) -> bool:
        """Take the pod, or fail it because it does not fit here."""
        services = self._services
        refusal = None if self.runtime.sandboxes else services.refuse(self.pod)
        try:
            if refusal is None:
                await services.devices.allocate(self.pod)
        except DeviceError as error:
            refusal = Rejection("UnexpectedAdmissionError", f"Pod was rejected: {error}")
        if refusal is None:
            self.taken = True
            return True
        self._verdict, self._refused = (refusal.reason, refusal.message), True
        services.tell(self.pod, "Warning", refusal.reason, refusal.message)
        self._ending.set()
        await self._end()
        return False

    async def _resize(self) -> None:
        """Grant and apply what the API wants of resources now."""
        self.pod = self.resize.grant(self.pod)
        restart = await self.resize.apply(self.pod, self.runtime)
        if not restart:
            return
        kills = [Kill(record, name, f"Container {name} resize requires restart") for record, name in restart]
        await asyncio.gather(*(self._kill(Plan(kill=kills), kill.container_id) for kill in kills))
        self.runtime = await self._services.state.observe(self.uid)

    def _memory(self) -> Memory:
        services = self._services
        running = [record.id for record in self.runtime.running()]

        def backoff(name: str, ended: float) -> tuple[float, float]:
            key = self._backoff_key(name)
            return services.restart_backoff.until(key, ended), services.restart_backoff.delay(key)

        return Memory(services.prober.started, services.prober.unhealthy(running), self._held, backoff)

    def _backoff_key(self, name: str) -> tuple[str, str, str]:
        container = pods.container_named(self.pod, name)
        return (self.uid, name, labels.container_hash(container) if container else "")

    def _deadline(self) -> float | None:
        """Seconds until the pod's active deadline, None without one."""
        limit = self.pod["spec"].get("activeDeadlineSeconds")
        began = (self.pod.get("status") or {}).get("startTime")
        if limit is None or not began:
            return None
        return parse_rfc3339(began) + float(limit) - self._services.clock.now()

    def _next_round(self, step: Plan, deadline: float | None) -> float | None:
        clock = self._services.clock
        waits = [] if deadline is None else [deadline]
        times = [held.until for held in self._held.values()]
        if step.retry_at is not None:
            times.append(step.retry_at)
        waits += [until - clock.now() for until in times]
        if (again := self.resize.next_round) is not None:
            waits.append(again)
        waits += [due for due in (self._volumes.next_round(self.pod), self._claims.next_round()) if due is not None]
        # Timers may ring a little early; a round that finds nothing due costs a millisecond.
        return max(min(waits), 0.01) if waits else None

    async def _act(self, step: Plan) -> bool:
        """Carry out a plan; whether to look again at once."""
        for container_id in step.remove:
            await self._services.runtime.call("RemoveContainer", container_id=container_id)
        if step.kill_pod or step.create_sandbox is not None:
            return await self._new_sandbox(step)
        if step.kill:
            await asyncio.gather(*(self._kill(step, kill.container_id) for kill in step.kill))
            return True
        if not await self._prepare():
            return False
        progress = False
        for start in step.start:
            if self._ending.is_set():
                raise Interrupted
            progress = await self._start(start) or progress
        return progress

    async def _kill(self, step: Plan, container_id: str) -> None:
        kill = next(k for k in step.kill if k.container_id == container_id)
        record = next(r for r in self.runtime.running() if r.id == container_id)
        grace = pods.grace_period(self.pod) if kill.grace is None else kill.grace
        request = StopRequest(grace, kill.message, frozenset(self._hooked))
        self._hooked.add(container_id)
        await self._interruptible(stop_container(self._services, self.pod, record, request, self._pod_ips()))

    # -- sandbox

    async def _new_sandbox(self, step: Plan) -> bool:
        services, pod = self._services, self.pod
        if step.create_sandbox:
            message = "Pod sandbox changed, it will be killed and re-created."
            services.tell(pod, "Normal", "SandboxChanged", message)
        if step.kill_pod:
            request = StopRequest(pods.grace_period(pod))
            await self._interruptible(stop_containers(services, pod, self.runtime, request, self._pod_ips()))
        for old in self.runtime.sandboxes:
            if old.ready or old is self.runtime.sandbox:
                await services.runtime.call("StopPodSandbox", pod_sandbox_id=old.id)
        if step.create_sandbox is None or not await self._prepare():
            return False
        await self._sandbox.run(pod, step.create_sandbox)
        return True

    async def _prepare(self) -> bool:
        """What must be there before the pod: its claims and its volumes. Whether they are."""
        return await self._claims.ensure(self.pod) and await self._volumes.ensure(self.pod, self._pod_ips())

    # -- containers

    async def _start(self, start: Start) -> bool:
        """Start one container; whether it runs. A failure is kept, and told in the status."""
        services, name = self._services, start.name
        sandbox = self.runtime.sandbox
        assert sandbox is not None
        previous = self.runtime.latest(name)
        if previous is not None and previous.state == EXITED:
            services.restart_backoff.next(self._backoff_key(name), services.clock.now())
        config = self._sandbox.config(self.pod, sandbox.attempt)
        job = ContainerStart(
            services, self.pod, start, self.runtime, self._volumes.paths or {}, self._pod_ips(), config
        )
        try:
            self.resize.started(await job.run(self._interruptible), job.container)
        except StartFailed as error:
            count = self._retries[name] = self._retries.get(name, 0) + 1
            pause = min(_RETRY_FIRST * 2 ** (count - 1), _RETRY_MOST)
            until = error.retry_at or services.clock.now() + pause
            self._held[name] = Held(Waiting(error.reason, error.message), until)
            self.runtime = await services.state.observe(self.uid)
            self._report(plan(self.pod, self.runtime, self._memory(), services.clock.now()))
            return False
        self._held.pop(name, None)
        self._retries.pop(name, None)
        return True

    def _tell_back_off(self, step: Plan) -> None:
        for name, waiting in step.waiting.items():
            if waiting.reason == "CrashLoopBackOff" and self._told_waiting.get(name) != waiting:
                who = f"{pods.name(self.pod)}_{pods.namespace(self.pod)}({self.uid})"
                message = f"Back-off restarting failed container {name} in pod {who}"
                self._services.tell(self.pod, "Warning", "BackOff", message, name)
        self._told_waiting = dict(step.waiting)

    async def _collect_garbage(self) -> None:
        found = garbage(self.runtime)
        for container in found.containers:
            await self._services.runtime.call("RemoveContainer", container_id=container.id)
            _unlink(container.log_path, container.termination_message_path)
            self._messages.pop(container.id, None)
        for sandbox_id in found.sandboxes:
            await self._services.runtime.call("RemovePodSandbox", pod_sandbox_id=sandbox_id)

    # -- status

    def _pod_ips(self) -> tuple[str, ...]:
        return pod_ips(self.pod, View(self.runtime), self._services.node().ips)

    def _report(self, step: Plan, ending: bool = False) -> None:
        services = self._services
        for record in self.runtime.containers:
            if record.state == EXITED and record.id not in self._messages:
                self._messages[record.id] = termination_message(record)
        waiting = {**{name: held.waiting for name, held in self._held.items()}, **step.waiting}
        running = {record.name for record in self.runtime.running()}
        view = View(
            self.runtime,
            {name: reason for name, reason in waiting.items() if name not in running and not ending},
            services.prober.started,
            services.prober.ready,
            self._messages,
            services.runtime_name,
            ending,
            self.resize.resources,
            lambda name: services.devices.health(self.uid, name),
        )
        reason, message = self._verdict
        overall = Overall(
            services.node().ips, services.clock.now(), step.finished, reason, message, self._passing_conditions()
        )
        self._write_status(rejected_status(self.pod, overall) if self._refused else pod_status(self.pod, view, overall))

    def _passing_conditions(self) -> dict[str, tuple[str, str]]:
        if self._verdict_grace is None:
            return self.resize.conditions
        return {**self.resize.conditions, "DisruptionTarget": ("TerminationByKubelet", self._verdict[1])}

    def _write_status(self, status: dict[str, Any]) -> None:
        shown = self.pod if not pods.is_static(self.pod) else self._mirror
        if shown is not None:
            self._services.statuses.set(shown, status)

    # -- the end

    async def _end(self, finished: bool = False) -> None:
        """Stop everything, report it, and give back what the pod used. Safe to repeat."""
        services = self._services
        self._ending.set()
        services.prober.stop(self.pod)
        await self._stop_everything()
        # Deleted or final already, it ends for good whatever its restart policy says.
        for_good = finished or bool(self._verdict[0]) or pods.is_deleting(self.pod) or pods.is_terminal(self.pod)
        final = Plan(finished=for_good)
        services.prober.follow(self.pod, [], ())
        if not self._gone:
            self._report(final, ending=True)
        await services.volumes.remove(self.uid)
        await services.cgroups.remove_pod(self.uid)
        services.devices.release(self.uid)
        await services.claims.release(self.uid)
        self._volumes.reset(self.pod)
        self._claims.reset()
        self._sandbox.reset()
        self.ended = True
        if pods.is_deleting(self.pod) and not self._gone and not self._deleted:
            await delete_from_api(services, self.pod)
            self._deleted = True
        if self._gone:
            services.statuses.forget(self.uid if self._mirror is None else pods.uid(self._mirror))
            await remove_everything(services, self.pod, self.runtime)

    def _grace(self) -> float:
        """Seconds that the containers get. Who takes a pod away by force still lets it react to a signal."""
        if self._gone and not pods.is_static(self.pod):
            return 1.0
        if self._verdict_grace is not None:
            return self._verdict_grace
        if pods.is_terminal(self.pod) and not pods.is_deleting(self.pod):
            return float(pods.grace_period(self.pod))
        return float(max(pods.grace_period(self.pod), 1))

    async def _stop_everything(self) -> None:
        """Containers, then sandboxes. A grace period that is shortened meanwhile is obeyed."""
        services = self._services
        while True:
            self.runtime = await services.state.observe(self.uid)
            if not self.runtime.running():
                break
            grace = self._grace()
            await self._stop_within(grace)
        for sandbox in self.runtime.sandboxes:
            if sandbox.ready:
                await services.runtime.call("StopPodSandbox", pod_sandbox_id=sandbox.id)
        self.runtime = await services.state.observe(self.uid)

    async def _stop_within(self, grace: float) -> None:
        services = self._services
        request = StopRequest(grace, hooked=frozenset(self._hooked))
        self._hooked.update(record.id for record in self.runtime.running())
        stopping = spawn(
            stop_containers(services, self.pod, self.runtime, request, self._pod_ips()),
            name=f"stop {pods.full_name(self.pod)}",
        )
        woken: asyncio.Task[Any] | None = None
        try:
            while not stopping.done():
                self._wake.clear()
                woken = spawn(self._wake.wait(), name=f"wake {pods.full_name(self.pod)}")
                await asyncio.wait({stopping, woken}, return_when=asyncio.FIRST_COMPLETED)
                await cancel(woken)
                if stopping.done():
                    break
                if self._grace() < grace:
                    return
                await self._settle_exits()
                self.runtime = await services.state.observe(self.uid)
                self._report(Plan(), ending=True)
            stopping.result()
        finally:
            await cancel(stopping, woken)


def _unlink(*paths: str) -> None:
    for path in paths:
        if path:
            Path(path).unlink(missing_ok=True)
