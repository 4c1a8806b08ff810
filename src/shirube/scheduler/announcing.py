"""What the scheduler says: events that follow binds at low priority, and conditions of pods that fit nowhere.

`Scheduled` events are never repeated, so they skip the recorder's correlation: one is written at a time while pods are
being bound, several when the rush is over. Reports about one pod replace each other until one is written.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, NamedTuple

from shirube.api.errors import ApiError
from shirube.api.gvr import EVENTS_V1, PODS
from shirube.client.events import EventRecorder
from shirube.client.rest import Client
from shirube.foundation import log
from shirube.foundation.clock import Clock, rfc3339, rfc3339_micro
from shirube.foundation.tasks import cancel, spawn
from shirube.scheduler.pod import PodInfo

Object = dict[str, Any]
_logger = log.get("scheduler")
_MOST_QUEUED = 100_000
_WRITERS, _WRITERS_IN_A_RUSH = 8, 1
_REPORTERS = 4


class _Bound(NamedTuple):
    pod: PodInfo
    node: str
    at: float
    reporter: str


class Report(NamedTuple):
    """A pod's PodScheduled condition (False), and the event beside it; `nominated` None leaves it as it is."""

    pod: PodInfo
    reason: str
    message: str
    old: Object
    nominated: str | None
    event: bool


class Announcer:
    def __init__(self, client: Client, clock: Clock) -> None:
        self._client, self._clock = client, clock
        self._bound: deque[_Bound] = deque()
        self._reports: dict[str, Report] = {}
        self._recorders: dict[str, EventRecorder] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._reporting = 0
        self._writing = 0
        self._stamp = 0
        self.rush = False  # pods are being bound

    def recorder(self, scheduler: str) -> EventRecorder:
        if scheduler not in self._recorders:
            self._recorders[scheduler] = EventRecorder(
                self._client, scheduler, style="events.k8s.io", clock=self._clock
            )
        return self._recorders[scheduler]

    def tell(self, pod: PodInfo, kind: str, reason: str, message: str, action: str = "Scheduling") -> None:
        self.recorder(pod.shape.scheduler_name).event(reference(pod), kind, reason, message, action=action)

    def bound(self, pod: PodInfo, node: str) -> None:
        if len(self._bound) < _MOST_QUEUED:
            self._bound.append(_Bound(pod, node, self._clock.now(), pod.shape.scheduler_name))
        self.pump()

    def pump(self) -> None:
        """Write on; more at once when the rush is over."""
        limit = _WRITERS_IN_A_RUSH if self.rush else _WRITERS
        while self._writing < min(limit, len(self._bound) + self._writing):
            self._writing += 1
            self._spawn(self._write_bound(), "scheduled-events")

    def report(self, report: Report) -> None:
        self._reports[report.pod.key] = report
        if self._reporting < _REPORTERS:
            self._reporting += 1
            self._spawn(self._write_reports(), "unschedulable-reports")

    async def close(self) -> None:
        await cancel(*self._tasks)
        for recorder in self._recorders.values():
            await recorder.close()

    def _spawn(self, work: Any, name: str) -> None:
        task = spawn(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write_bound(self) -> None:
        try:
            while self._bound and not (self.rush and self._writing > _WRITERS_IN_A_RUSH):
                happened = self._bound.popleft()
                try:
                    await self._client.create(EVENTS_V1, self._scheduled(happened), happened.pod.namespace)
                except ApiError as error:
                    _logger.debug("cannot record event", pod=happened.pod.key, error=str(error))
        finally:
            self._writing -= 1

    def _scheduled(self, happened: _Bound) -> Object:
        pod = happened.pod
        self._stamp = max(self._stamp + 1, int(happened.at * 1e9))
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f"{pod.name}.{self._stamp:x}", "namespace": pod.namespace},
            "regarding": reference(pod),
            "reason": "Scheduled",
            "note": f"Successfully assigned {pod.namespace}/{pod.name} to {happened.node}",
            "type": "Normal",
            "eventTime": rfc3339_micro(happened.at),
            "action": "Binding",
            "reportingController": happened.reporter,
            "reportingInstance": happened.reporter,
        }

    async def _write_reports(self) -> None:
        try:
            while self._reports:
                report = self._reports.pop(next(iter(self._reports)))
                if report.event:
                    self.tell(report.pod, "Warning", "FailedScheduling", report.message)
                await self._write_condition(report)
        finally:
            self._reporting -= 1

    async def _write_condition(self, report: Report) -> None:
        old, now = report.old, rfc3339(self._clock.now())
        same = (old.get("status"), old.get("reason"), old.get("message")) == ("False", report.reason, report.message)
        if same and report.nominated is None:
            return
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": report.reason,
            "message": report.message,
            "lastProbeTime": None,
            "lastTransitionTime": old.get("lastTransitionTime", now) if old.get("status") == "False" else now,
        }
        status: Object = {"conditions": [condition]}
        if report.nominated is not None:
            status["nominatedNodeName"] = report.nominated or None
        patch = {"metadata": {"uid": report.pod.uid}, "status": status}
        try:
            await self._client.patch(
                PODS, report.pod.name, patch, report.pod.namespace, "strategic", subresource="status"
            )
        except ApiError as error:
            _logger.debug("cannot set the PodScheduled condition", pod=report.pod.key, error=str(error))


def reference(pod: PodInfo) -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "namespace": pod.namespace, "uid": pod.uid}
