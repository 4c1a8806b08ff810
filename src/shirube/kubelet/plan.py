"""What to do next for a pod: from what it should be and what runs, the next actions. Pure.

The worker carries a plan out, looks again, and asks for the next plan until there is nothing to do; so a plan
never looks further than one step, and being killed between two steps harms nothing.

Order in a pod: sandbox; init containers one after the other; a sidecar (restartable init container) holds up
what follows until it has started; then the app containers. When no app container will run again the pod is
finished: what still runs (sidecars) is stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from shirube.kubelet import labels
from shirube.kubelet import pod as pods
from shirube.kubelet.runtime_state import CREATED, EXITED, NANO, RUNNING, Container, PodRuntime


@dataclass(frozen=True, slots=True)
class Kill:
    container_id: str
    name: str
    message: str
    # Seconds to end in, when the probe that failed says other than the pod.
    grace: int | None = None


@dataclass(frozen=True, slots=True)
class Start:
    kind: str
    name: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Waiting:
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Held:
    """A container whose start failed: what it waits for, and when to try again (seconds since the epoch)."""

    waiting: Waiting
    until: float


@dataclass(frozen=True, slots=True)
class Unhealthy:
    """A probe's verdict that a running container must be replaced."""

    message: str
    grace: int | None = None


@dataclass(slots=True)
class Plan:
    kill_pod: bool = False  # stop what is left of the old sandbox first
    create_sandbox: int | None = None  # the new sandbox's attempt
    remove: list[str] = field(default_factory=list)  # containers made but never started
    kill: list[Kill] = field(default_factory=list)
    start: list[Start] = field(default_factory=list)
    # Containers that wait for their back-off to pass, and the earliest end of it (seconds since the epoch).
    waiting: dict[str, Waiting] = field(default_factory=dict)
    retry_at: float | None = None
    finished: bool = False  # nothing of the pod runs again

    @property
    def idle(self) -> bool:
        return not (self.kill_pod or self.create_sandbox is not None or self.remove or self.kill or self.start)


@dataclass(frozen=True, slots=True)
class Memory:
    """What the worker knows beyond spec and runtime. The defaults are a pod without probes or crashes."""

    started: Callable[[str], bool] = lambda _id: True  # container ID -> startup probe passed
    unhealthy: Mapping[str, Unhealthy] = field(default_factory=dict)  # by container ID
    held: Mapping[str, Held] = field(default_factory=dict)  # by container name
    # When a container of that name, which ended then, may start again; and the delay that it waits.
    backoff: Callable[[str, float], tuple[float, float]] = lambda _name, ended: (ended, 0.0)


class _Planner:
    def __init__(self, pod: pods.Pod, runtime: PodRuntime, memory: Memory, now: float) -> None:
        self.pod, self.runtime, self.memory, self.now = pod, runtime, memory, now
        self.plan = Plan()
        sandbox = runtime.sandbox
        self.sandbox_id = sandbox.id if sandbox is not None else ""

    def here(self, name: str) -> Container | None:
        """The newest container of that name in the current sandbox."""
        found = self.runtime.latest(name)
        return found if found is not None and found.sandbox_id == self.sandbox_id else None

    # -- whether it runs at all

    def is_over(self) -> bool:
        """No app container will run again, or an init container failed for good."""
        for container in pods.init_containers(self.pod):
            record = self.here(container["name"])
            if (
                not pods.is_sidecar(container)
                and record is not None
                and record.state == EXITED
                and record.exit_code != 0
                and not pods.restarts_after(self.pod, pods.INIT, container, record.exit_code)
                and not self.any_app_started()
            ):
                return True
        return all(self._app_is_over(c) for c in pods.app_containers(self.pod))

    def _app_is_over(self, container: pods.Container) -> bool:
        record = self.runtime.latest(container["name"])
        if record is None or record.state != EXITED:
            return False
        return not pods.restarts_after(self.pod, pods.APP, container, record.exit_code)

    def any_app_started(self) -> bool:
        return any(
            (record := self.here(c["name"])) is not None and record.state != CREATED
            for c in pods.app_containers(self.pod)
        )

    def sandbox_is_lost(self) -> bool:
        """A pod that never restarts does not get a second sandbox once something ran in the first."""
        if pods.restart_policy(self.pod) != "Never" or self.runtime.sandbox is None:
            return False
        restartable = any(c.get("restartPolicy") not in (None, "Never") for c in pods.app_containers(self.pod))
        return bool(self.runtime.containers) and not restartable

    # -- containers

    def start(self, kind: str, container: pods.Container, record: Container | None) -> None:
        """Start it, now or when its back-off has passed."""
        name = container["name"]
        if (held := self.memory.held.get(name)) is not None and held.until > self.now:
            self._wait(name, held.waiting, held.until)
            return
        if record is not None and record.state == CREATED:
            # Left by an agent that died between creating and starting: its number is used again.
            self.plan.remove.append(record.id)
            self.plan.start.append(Start(kind, name, record.attempt))
            return
        if record is None:
            older = self.runtime.latest(name)
            attempt = older.attempt + 1 if older is not None else _attempt_after_status(self.pod, name)
            self.plan.start.append(Start(kind, name, attempt))
            return
        ended = record.finished_at / NANO
        until, delay = self.memory.backoff(name, ended)
        if until > self.now:
            who = f"{pods.name(self.pod)}_{pods.namespace(self.pod)}({pods.uid(self.pod)})"
            message = f"back-off {format_seconds(delay)} restarting failed container={name} pod={who}"
            self._wait(name, Waiting("CrashLoopBackOff", message), until)
            return
        self.plan.start.append(Start(kind, name, record.attempt + 1))

    def _wait(self, name: str, waiting: Waiting, until: float) -> None:
        self.plan.waiting[name] = waiting
        self.plan.retry_at = min(self.plan.retry_at or until, until)

    def check(self, container: pods.Container, record: Container) -> bool:
        """Whether a running container may go on; if not, the plan kills it."""
        name = container["name"]
        if (verdict := self.memory.unhealthy.get(record.id)) is not None:
            self.plan.kill.append(Kill(record.id, name, verdict.message, verdict.grace))
            return False
        if record.hash and record.hash != labels.container_hash(container):
            message = f"Container {name} definition changed, will be restarted"
            self.plan.kill.append(Kill(record.id, name, message))
            return False
        return True

    def init(self) -> bool:
        """Go on with the init containers; whether all that must be before the app containers is done."""
        past = self.any_app_started()
        for container in pods.init_containers(self.pod):
            record = self.here(container["name"])
            sidecar = pods.is_sidecar(container)
            if past and not sidecar:
                continue
            if record is None or record.state == CREATED:
                self.start(pods.SIDECAR if sidecar else pods.INIT, container, record)
                done = False
            elif record.state == RUNNING:
                healthy = self.check(container, record) if sidecar or not past else True
                done = sidecar and healthy and self.memory.started(record.id)
            elif sidecar:
                self.start(pods.SIDECAR, container, record)
                done = False
            else:
                done = record.state == EXITED and record.exit_code == 0
                if not done and pods.restarts_after(self.pod, pods.INIT, container, record.exit_code):
                    self.start(pods.INIT, container, record)
            if not done and not past:
                return False
        return True

    def apps(self) -> None:
        for container in pods.app_containers(self.pod):
            record = self.here(container["name"])
            if record is None or record.state == CREATED:
                self.start(pods.APP, container, record)
            elif record.state == RUNNING:
                self.check(container, record)
            elif pods.restarts_after(self.pod, pods.APP, container, record.exit_code):
                self.start(pods.APP, container, record)

    def ephemeral(self) -> None:
        for container in pods.ephemeral_containers(self.pod):
            record = self.runtime.latest(container["name"])
            if record is None or record.state == CREATED:
                self.start(pods.EPHEMERAL, container, record)


def plan(pod: pods.Pod, runtime: PodRuntime, memory: Memory, now: float) -> Plan:
    """The next actions for a pod that should run. `now` is seconds since the epoch."""
    planner = _Planner(pod, runtime, memory, now)
    result = planner.plan
    sandbox = runtime.sandbox
    if planner.is_over():
        result.finished = True
        return result
    if sandbox is None or not sandbox.ready:
        if planner.sandbox_is_lost():
            result.finished = True
            return result
        result.kill_pod = bool(runtime.running()) or any(s.ready for s in runtime.sandboxes)
        result.create_sandbox = sandbox.attempt + 1 if sandbox is not None else 0
        return result
    planner.ephemeral()
    if planner.init():
        planner.apps()
    return result


def stop_order(pod: pods.Pod, runtime: PodRuntime) -> list[list[Container]]:
    """What runs, in the groups that are stopped one after the other: everything but sidecars at once, then
    the sidecars, last started first."""
    position = {c["name"]: i for i, c in enumerate(pods.sidecars(pod))}
    running = runtime.running()
    groups = [[c for c in running if c.name not in position]]
    for name in sorted(position, key=lambda n: -position[n]):
        groups.append([c for c in running if c.name == name])
    return [group for group in groups if group]


@dataclass(frozen=True, slots=True)
class Garbage:
    containers: tuple[Container, ...]
    sandboxes: tuple[str, ...]


def garbage(runtime: PodRuntime) -> Garbage:
    """Dead containers beyond the newest two of a name (the state and the last state that status shows), and
    old sandboxes that hold no container worth keeping."""
    seen: dict[str, int] = {}
    dead: list[Container] = []
    kept_in: set[str] = set()
    for container in runtime.containers:
        seen[container.name] = seen.get(container.name, 0) + 1
        # Also one that was made and never started, when the agent was killed between the two.
        if seen[container.name] > 2 and container.state != RUNNING:
            dead.append(container)
        else:
            kept_in.add(container.sandbox_id)
    old = tuple(s.id for s in runtime.sandboxes[1:] if not s.ready and s.id not in kept_in)
    return Garbage(tuple(dead), old)


def _attempt_after_status(pod: pods.Pod, name: str) -> int:
    """The runtime knows no container of that name. If the API remembers one, count on from there."""
    status = pod.get("status") or {}
    for part in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for known in status.get(part) or ():
            if known["name"] == name and known.get("containerID"):
                return int(known.get("restartCount") or 0) + 1
    return 0


def format_seconds(seconds: float) -> str:
    """A duration as Go prints it: 10s, 2m40s, 5m0s."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60}s"
    return f"{whole // 3600}h{whole % 3600 // 60}m{whole % 60}s"
