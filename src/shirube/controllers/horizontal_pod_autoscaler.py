"""HorizontalPodAutoscaler: the replicas of a target follow its metrics.

Every 15 seconds each autoscaler reads its metrics (`autoscaling_metrics`), takes the largest count that they ask
for, slows it down (`autoscaling_behavior`) and writes the target's scale. Metrics are asked for, as nothing tells
when they change: this is the one controller that works by the clock. What it remembers (recommendations, changes
of the last minutes) starts anew after a restart with the present count, which only delays scaling down.

Follows upstream's `horizontal.go`; reasons and messages are upstream's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from shirube.api.errors import ApiError
from shirube.api.gvr import GVR, HORIZONTALPODAUTOSCALERS, PODS
from shirube.api.selectors import LabelSelector, parse_label_selector
from shirube.client.controller import Controller
from shirube.client.discovery import Served, discover
from shirube.client.events import NORMAL, WARNING
from shirube.client.informer import key_of, split_key
from shirube.client.rest import Object
from shirube.controllers import autoscaling_behavior as behavior
from shirube.controllers import pods as of_objects
from shirube.controllers.autoscaling_metrics import Metrics, Proposal, Target
from shirube.controllers.autoscaling_replicas import MetricError
from shirube.controllers.context import Context
from shirube.controllers.ownership import deleting
from shirube.controllers.pod_selection import index_labels, selected
from shirube.foundation.clock import rfc3339

_ACCOUNT = "horizontal-pod-autoscaler"
PERIOD_SECONDS = 15.0
_TRIES = 5  # to write a scale that others write, too


@dataclass(slots=True)
class _Memory:
    recommendations: list[behavior.Recommendation] = field(default_factory=list)
    added: list[behavior.Change] = field(default_factory=list)
    taken: list[behavior.Change] = field(default_factory=list)


class _Refused(Exception):
    """No replica count follows: what the condition says (reason, message), and what the event; what was measured."""

    def __init__(self, reason: str, message: str, told: str = "", measured: Sequence[Object] = ()) -> None:
        super().__init__(told or message)
        self.reason, self.message, self.measured = reason, message, measured


def with_condition(status: Object, kind: str, value: str, reason: str, message: str, now: float) -> Object:
    conditions = list(status.get("conditions") or ())
    known = of_objects.condition({"status": status}, kind)
    same = known is not None and known["status"] == value
    stamp = known["lastTransitionTime"] if known is not None and same else rfc3339(now)
    new = {"type": kind, "status": value, "reason": reason, "message": message, "lastTransitionTime": stamp}
    if known is None:
        return {**status, "conditions": [*conditions, new]}
    return {**status, "conditions": [new if c["type"] == kind else c for c in conditions]}


class HorizontalPodAutoscalerController(Controller[str]):
    name = "horizontal-pod-autoscaler-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        self._autoscalers = context.informer(HORIZONTALPODAUTOSCALERS)
        self._pods = context.informer(PODS)
        index_labels(self._pods)
        super().__init__(self._autoscalers, self._pods)
        self._client = context.client_of(_ACCOUNT)
        self._reader = context.reader
        self._recorder = context.recorder(_ACCOUNT, _ACCOUNT)
        self._clock = context.clock
        self._metrics = Metrics(self._client)
        self._memory: dict[str, _Memory] = {}
        self._selectors: dict[str, LabelSelector] = {}  # of the targets' pods
        self._served: Served | None = None
        self._autoscalers.add_handler(self._enqueue, self._updated, self._gone)

    def _enqueue(self, autoscaler: Object) -> None:
        self.queue.add(key_of(autoscaler))

    def _updated(self, old: Object, new: Object) -> None:
        if old["spec"] != new["spec"]:
            self._enqueue(new)

    def _gone(self, autoscaler: Object) -> None:
        self._memory.pop(key_of(autoscaler), None)
        self._selectors.pop(key_of(autoscaler), None)

    # -- reconcile ------------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        autoscaler = self._autoscalers.store.get(*split_key(key))
        if autoscaler is None or deleting(autoscaler):
            return None
        now = self._clock.now()
        status = dict(autoscaler.get("status") or {})
        try:
            gvr, scale = await self._scale(autoscaler)
        except ApiError as error:
            message = f"the HPA controller was unable to get the target's current scale: {error.message}"
            status = with_condition(status, "AbleToScale", "False", "FailedGetScale", message, now)
            self._recorder.event(autoscaler, WARNING, "FailedGetScale", error.message)
            await self._write(autoscaler, status)
            self._selectors.pop(key, None)  # what it cannot scale it does not take from another
            return PERIOD_SECONDS
        message = "the HPA controller was able to get the target's current scale"
        status = with_condition(status, "AbleToScale", "True", "SucceededGetScale", message, now)
        await self._write(autoscaler, await self._advance(key, autoscaler, gvr, scale, status, now))
        return PERIOD_SECONDS

    async def _advance(
        self, key: str, autoscaler: Object, gvr: GVR, scale: Object, status: Object, now: float
    ) -> Object:
        spec, memory = autoscaler["spec"], self._memory.setdefault(key, _Memory())
        current = int((scale.get("spec") or {}).get("replicas") or 0)
        least = 1 if spec.get("minReplicas") is None else int(spec["minReplicas"])
        if not memory.recommendations:
            memory.recommendations.append(behavior.Recommendation(current, now))
        desired, why = current, ""
        status.pop("currentMetrics", None)  # what is not measured now is not known
        if current == 0 and least != 0:
            message = "scaling is disabled since the replica count of the target is zero"
            status = with_condition(status, "ScalingActive", "False", "ScalingDisabled", message, now)
            desired = 0
        elif current > int(spec["maxReplicas"]):
            desired, why = int(spec["maxReplicas"]), "Current number of replicas above Spec.MaxReplicas"
        elif current < least:
            desired, why = least, "Current number of replicas below Spec.MinReplicas"
        else:
            try:
                best, status = await self._compute(key, autoscaler, scale, status, now)
            except _Refused as refused:
                self._recorder.event(autoscaler, WARNING, "FailedComputeMetricsReplicas", str(refused))
                status = with_condition(status, "ScalingActive", "False", refused.reason, refused.message, now)
                status |= {"currentReplicas": current, **_shown(refused.measured)}
                return status
            if best.replicas > current:
                why = f"{best.name} above target"
            elif best.replicas < current:
                why = "All metrics below target"
            desired, status = self._slowed(autoscaler, best.replicas, current, memory, status, now)
        if desired != current:
            status = await self._rescale(autoscaler, gvr, scale, desired, why, status)
            changes = memory.added if desired > current else memory.taken
            changes.append(behavior.Change(abs(desired - current), now))
            status["lastScaleTime"] = rfc3339(now)
        status["currentReplicas"] = current
        status["desiredReplicas"] = desired
        return status

    def _slowed(
        self, autoscaler: Object, wanted: int, current: int, memory: _Memory, status: Object, now: float
    ) -> tuple[int, Object]:
        result, reason, message = behavior.stabilized(autoscaler, wanted, current, memory.recommendations, now)
        oldest = now - behavior.longest_window(autoscaler)
        memory.recommendations = [r for r in memory.recommendations if r.at > oldest]
        memory.recommendations.append(behavior.Recommendation(wanted, now))
        for direction, changes in (("scaleUp", memory.added), ("scaleDown", memory.taken)):
            since = now - behavior.longest_period(autoscaler, direction)
            changes[:] = [c for c in changes if c.at > since]
        status = with_condition(status, "AbleToScale", "True", reason, message, now)
        found = behavior.limited(autoscaler, result, current, memory.added, memory.taken, now)
        limited = "True" if found.limited else "False"
        return found.replicas, with_condition(status, "ScalingLimited", limited, found.reason, found.message, now)

    # -- metrics --------------------------------------------------------------------------------------------

    async def _compute(
        self, key: str, autoscaler: Object, scale: Object, status: Object, now: float
    ) -> tuple[Proposal, Object]:
        """The metric that asks for most. A metric that fails holds back scaling down, not scaling up."""
        target = self._target(key, autoscaler, scale, now)
        metrics = autoscaler["spec"].get("metrics") or ()
        proposals: list[Proposal] = []
        measured: list[Object] = []  # kubectl looks up a metric by its place
        first: _Refused | None = None
        for metric in metrics:
            try:
                proposals.append(await self._metrics.propose(metric, target))
                measured.append(proposals[-1].shown)
            except MetricError as error:
                measured.append({"type": ""})
                reason = f"FailedGet{metric['type']}Metric"
                self._recorder.event(autoscaler, WARNING, reason, str(error))
                message = f"the HPA was unable to compute the replica count: {error}"
                first = first or _Refused(reason, message, f"failed to get {_words(metric)} metric value: {error}")
        best = max(proposals, key=lambda p: p.replicas, default=None)
        current = int((scale.get("spec") or {}).get("replicas") or 0)
        if first is not None and (best is None or best.replicas < current):
            bad = len(metrics) - len(proposals)
            detail = f"invalid metrics ({bad} invalid out of {len(metrics)}), first error is: {first}"
            raise _Refused(first.reason, first.message, detail, measured)
        if best is None:
            raise _Refused("InvalidMetricSourceType", "the autoscaler names no metrics")
        status = {**status, **_shown(measured)}
        message = f"the HPA was able to successfully calculate a replica count from {best.name}"
        return best, with_condition(status, "ScalingActive", "True", "ValidMetricFound", message, now)

    def _target(self, key: str, autoscaler: Object, scale: Object, now: float) -> Target:
        """What is scaled. Raises _Refused when nobody can say which pods, or another autoscaler scales them, too."""
        text = (scale.get("status") or {}).get("selector") or ""
        if not text:
            self._recorder.event(autoscaler, WARNING, "SelectorRequired", "selector is required")
            raise _Refused("InvalidSelector", "the HPA target's scale is missing a selector", "selector is required")
        try:
            selector = parse_label_selector(text)
        except ApiError as error:
            message = f"couldn't convert selector into a corresponding internal selector object: {error.message}"
            self._recorder.event(autoscaler, WARNING, "InvalidSelector", message)
            raise _Refused("InvalidSelector", message) from error
        namespace = autoscaler["metadata"]["namespace"]
        self._selectors[key] = selector
        pods = selected(self._pods, namespace, selector)
        scaling = [k for k, s in self._selectors.items() if split_key(k)[0] == namespace and _any_matches(s, pods)]
        if len(scaling) > 1:
            rivals = " ".join(sorted(scaling))
            message = f"pods by selector {text} are controlled by multiple HPAs: [{rivals}]"
            self._recorder.event(autoscaler, WARNING, "AmbiguousSelector", message)
            raise _Refused("AmbiguousSelector", message)
        asked, there = (int((scale.get(part) or {}).get("replicas") or 0) for part in ("spec", "status"))
        return Target(namespace, text, pods, asked, there, behavior.tolerance(autoscaler), now)

    # -- the target -----------------------------------------------------------------------------------------

    async def _scale(self, autoscaler: Object) -> tuple[GVR, Object]:
        reference = autoscaler["spec"]["scaleTargetRef"]
        gvr = await self._resource_of(reference)
        if gvr is None:
            kind = f"{reference.get('apiVersion', 'v1')}/{reference['kind']}"
            raise ApiError(404, "NotFound", f"no matches for kind {kind}")
        namespace = autoscaler["metadata"]["namespace"]
        return gvr, await self._client.get(gvr, reference["name"], namespace, subresource="scale")

    async def _resource_of(self, reference: Object) -> GVR | None:
        for again in (False, True):
            if again or self._served is None:
                self._served = await discover(self._reader)
            found = self._served.by_kind(reference.get("apiVersion") or "v1", reference["kind"])
            if found is not None:
                return found.gvr
        return None

    async def _rescale(
        self, autoscaler: Object, gvr: GVR, scale: Object, desired: int, why: str, status: Object
    ) -> Object:
        now = self._clock.now()
        try:
            await self._write_scale(gvr, scale, desired)
        except ApiError as error:
            message = f"the HPA controller was unable to update the target scale: {error.message}"
            status = with_condition(status, "AbleToScale", "False", "FailedUpdateScale", message, now)
            text = f"New size: {desired}; reason: {why}; error: {error.message}"
            self._recorder.event(autoscaler, WARNING, "FailedRescale", text)
            await self._write(autoscaler, status)
            raise
        message = f"the HPA controller was able to update the target scale to {desired}"
        self._recorder.event(autoscaler, NORMAL, "SuccessfulRescale", f"New size: {desired}; reason: {why}")
        return with_condition(status, "AbleToScale", "True", "SucceededRescale", message, now)

    async def _write_scale(self, gvr: GVR, scale: Object, replicas: int) -> None:
        """Whoever else has written the target meanwhile, a rollout say, does not keep it from being scaled."""
        for left in reversed(range(_TRIES)):
            try:
                await self._client.update(
                    gvr, {**scale, "spec": {**(scale.get("spec") or {}), "replicas": replicas}}, "scale"
                )
                return
            except ApiError as error:
                if error.code != 409 or not left:
                    raise
            metadata = scale["metadata"]
            scale = await self._client.get(gvr, metadata["name"], metadata["namespace"], subresource="scale")

    async def _write(self, autoscaler: Object, status: Object) -> None:
        generation = autoscaler["metadata"].get("generation")
        if generation is not None:
            status = {**status, "observedGeneration": generation}
        status.setdefault("desiredReplicas", 0)
        if status == autoscaler.get("status"):
            return
        try:
            await self._client.update_status(HORIZONTALPODAUTOSCALERS, {**autoscaler, "status": status})
        except ApiError as error:
            if error.code != 404:  # gone meanwhile
                self._recorder.event(autoscaler, WARNING, "FailedUpdateStatus", error.message)
            raise


def _shown(measured: Sequence[Object]) -> Object:
    return {"currentMetrics": list(measured)} if measured else {}


def _any_matches(selector: LabelSelector, pods: list[Object]) -> bool:
    return any(selector.matches(pod["metadata"].get("labels") or {}) for pod in pods)


def _words(metric: Object) -> str:
    match metric["type"]:
        case "Resource":
            return f"{metric['resource']['name']} resource"
        case "ContainerResource":
            return f"{metric['containerResource']['container']} container"
        case "External":
            return f"{metric['external']['metric']['name']} external"
    return str(metric["type"]).lower()
