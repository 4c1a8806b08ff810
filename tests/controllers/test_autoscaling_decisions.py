"""What an autoscaler makes of its metrics: several of them, broken ones, bounds, rates, windows; and what it says."""

from __future__ import annotations

from typing import Any

import pytest
from tests.controllers.conftest import House

from shirube.api.errors import ApiError
from shirube.api.gvr import DEPLOYMENTS
from shirube.controllers import autoscaling_behavior as behavior
from shirube.controllers.autoscaling_behavior import Change, Recommendation
from shirube.controllers.autoscaling_metrics import Proposal
from shirube.controllers.autoscaling_replicas import MetricError
from shirube.controllers.horizontal_pod_autoscaler import HorizontalPodAutoscalerController, _Memory

NOW = 1_800_000_000.0


class Scale:
    """The target's scale, written down."""

    def __init__(self) -> None:
        self.written: list[int] = []

    async def update(self, gvr: Any, body: dict[str, Any], subresource: str) -> None:
        self.written.append(body["spec"]["replicas"])


def resource(name: str) -> dict[str, Any]:
    return {"type": "Resource", "resource": {"name": name, "target": {"type": "Utilization", "averageUtilization": 50}}}


class Decided:
    def __init__(self, status: dict[str, Any], written: list[int]) -> None:
        self.written = written
        self.told: list[str] = []
        self.metrics = status.get("currentMetrics")
        self.current, self.desired = status["currentReplicas"], status["desiredReplicas"]
        self.reasons = {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}
        self.messages = {c["type"]: c["message"] for c in status["conditions"]}


async def decide(
    house: House,
    wanted: dict[str, int | None],
    asked: int,
    *,
    selector: str = "app=web",
    there: int = 0,
    recent: tuple[int, ...] = (),
    desired: int | None = None,
    **spec: Any,
) -> Decided:
    """`wanted`: replicas by metric, None for one that cannot be had. `recent`: what was recommended a minute ago.
    `desired`: what the status says, as many as are there unless it is given."""
    context = house.context()
    controller = HorizontalPodAutoscalerController(context)
    scale = Scale()
    controller._client = scale  # type: ignore[assignment]

    async def propose(metric: dict[str, Any], _: Any) -> Proposal:
        name = metric["resource"]["name"]
        replicas = wanted[name]
        if replicas is None:
            raise MetricError(f"{name} is broken")
        return Proposal(replicas, name, {"type": "Resource", "resource": {"name": name}})

    controller._metrics.propose = propose  # type: ignore[assignment,method-assign]
    autoscaler = {
        "metadata": {"name": "web", "namespace": "default", "uid": "u"},
        "spec": {"minReplicas": 1, "maxReplicas": 10, "metrics": [resource(n) for n in wanted], **spec},
    }
    of = {"spec": {"replicas": asked}, "status": {"replicas": there or asked, "selector": selector}}
    stale = {"currentMetrics": [{"type": "Resource", "resource": {"name": "stale"}}]}
    stale["desiredReplicas"] = asked if desired is None else desired
    memory = controller._memory.setdefault("default/web", _Memory())
    memory.recommendations += [Recommendation(replicas, NOW - 60) for replicas in recent]
    told: list[str] = []
    controller._recorder.event = lambda _, __, reason, text: told.append(f"{reason}: {text}")  # type: ignore[assignment,method-assign,misc]
    status = await controller._advance("default/web", autoscaler, DEPLOYMENTS, of, stale, NOW)
    await context.close()
    found = Decided(status, scale.written)
    found.told = told
    return found


def measured(*names: str) -> list[dict[str, Any]]:
    return [{"type": "Resource", "resource": {"name": n}} if n else {"type": ""} for n in names]


async def test_the_metric_that_asks_for_most_decides(house: House):
    found = await decide(house, {"cpu": 4, "memory": 6}, 3)
    assert (found.written, found.desired, found.current) == ([6], 6, 3)
    assert found.metrics == measured("cpu", "memory")
    assert found.messages["ScalingActive"].endswith("a replica count from memory")


async def test_a_broken_metric_does_not_hold_back_growth(house: House):
    """Each metric has its place in the status: kubectl goes by it."""
    found = await decide(house, {"cpu": None, "memory": 6}, 3)
    assert (found.written, found.metrics) == ([6], measured("", "memory"))
    assert found.reasons["ScalingActive"] == ("True", "ValidMetricFound")


@pytest.mark.parametrize("rest", [{"memory": 2}, {}, {"memory": None}])
async def test_a_broken_metric_holds_back_shrinking(house: House, rest: dict[str, int | None]):
    found = await decide(house, {"cpu": None, **rest}, 5)
    assert (found.written, found.desired) == ([], 5)
    assert found.reasons["ScalingActive"] == ("False", "FailedGetResourceMetric")
    assert "cpu is broken" in found.messages["ScalingActive"], "the first that is broken"
    assert found.metrics == measured("", *("memory" if n else "" for n in rest.values()))


async def test_a_broken_metric_and_one_that_is_content(house: House):
    found = await decide(house, {"cpu": 5, "memory": None}, 5)
    assert (found.written, found.reasons["ScalingActive"]) == ([], ("True", "ValidMetricFound"))


async def test_no_pods_wanted_by_people(house: House):
    found = await decide(house, {"cpu": 3}, 0)
    assert (found.written, found.current, found.desired, found.metrics) == ([], 0, 0, None)
    assert found.reasons["ScalingActive"] == ("False", "ScalingDisabled")


@pytest.mark.parametrize(
    ("asked", "desired", "why"), [(12, 10, "above Spec.MaxReplicas"), (1, 2, "below Spec.MinReplicas")]
)
async def test_bounds_come_first(house: House, asked: int, desired: int, why: str):
    """Without a look at any metric, and without what an earlier look has seen."""
    found = await decide(house, {"cpu": None}, asked, minReplicas=2)
    assert (found.written, found.desired, found.current, found.metrics) == ([desired], desired, asked, None)
    assert found.reasons["AbleToScale"] == ("True", "SucceededRescale")


@pytest.mark.parametrize(
    ("wanted", "desired", "reason"),
    [(0, 2, "TooFewReplicas"), (1, 2, "TooFewReplicas"), (4, 4, "DesiredWithinRange"), (15, 8, "TooManyReplicas")],
)
async def test_metrics_do_not_go_beyond_the_bounds(house: House, wanted: int, desired: int, reason: str):
    quick = {"scaleDown": {"stabilizationWindowSeconds": 0}}
    found = await decide(house, {"cpu": wanted}, 6, minReplicas=2, maxReplicas=8, behavior=quick)
    assert (found.desired, found.reasons["ScalingLimited"][1]) == (desired, reason)


async def test_the_reason_tells_of_the_metric_not_of_what_windows_make_of_it(house: House):
    found = await decide(house, {"cpu": 4}, 5, recent=(8,))
    assert found.told == ["SuccessfulRescale: New size: 8; reason: All metrics below target"], "as upstream says it"
    found = await decide(house, {"cpu": 8}, 5)
    assert found.told == ["SuccessfulRescale: New size: 8; reason: cpu above target"]


@pytest.mark.parametrize("desired", [0, 4])
async def test_what_cannot_be_computed_changes_nothing_that_was_said(house: House, desired: int):
    """`1 current / 0 desired` of an autoscaler that never had a metric is how people know it."""
    found = await decide(house, {"cpu": None}, 3, desired=desired)
    assert (found.current, found.desired) == (3, desired)


async def test_a_status_that_cannot_be_written_is_told(house: House):
    context = house.context()
    controller = HorizontalPodAutoscalerController(context)
    told: list[str] = []

    class Refusing:
        async def update_status(self, gvr: Any, body: Any) -> None:
            raise ApiError(409, "Conflict", "the object has been modified")

    controller._client = Refusing()  # type: ignore[assignment]
    controller._recorder.event = lambda _, kind, reason, text: told.append(f"{kind} {reason}: {text}")  # type: ignore[assignment,method-assign,misc]
    with pytest.raises(ApiError):
        await controller._write({"metadata": {"name": "web"}}, {"currentReplicas": 1})
    await context.close()
    assert told == ["Warning FailedUpdateStatus: the object has been modified"]


def test_tolerances_are_the_floats_that_upstream_makes_of_them():
    def down(text: str) -> float:
        return behavior.tolerance(ruled("scaleDown", tolerance=text)).down

    assert (down("50m"), down("0.05"), down("0")) == (0.05, 0.05, 0.0)
    assert down("570m") == 570 * 0.001 != 0.57
    assert down("100u") == 100 * 1e-6, "finer than a thousandth"
    assert behavior.tolerance(ruled("scaleDown", tolerance="0.02")).up == 0.1, "each direction has its own"


@pytest.mark.parametrize("most", [10, 100])
async def test_growth_is_capped(house: House, most: int):
    found = await decide(house, {"cpu": 90}, 3, maxReplicas=most)
    assert (found.desired, found.reasons["ScalingLimited"]) == (6, ("True", "ScaleUpLimit"))


async def test_what_is_asked_for_counts_while_a_rollout_surges(house: House):
    found = await decide(house, {"cpu": 8}, 8, there=9)
    assert (found.written, found.current, found.desired) == ([], 8, 8)


@pytest.mark.parametrize(("selector", "message"), [("", "missing a selector"), ("cheddar cheese", "couldn't convert")])
async def test_targets_that_do_not_say_which_pods(house: House, selector: str, message: str):
    found = await decide(house, {"cpu": 8}, 3, selector=selector)
    assert (found.written, found.metrics) == ([], None)
    assert found.reasons["ScalingActive"] == ("False", "InvalidSelector")
    assert message in found.messages["ScalingActive"]


# -- rates and windows -----------------------------------------------------------------------------------------


def policy(kind: str, value: int, seconds: int = 60) -> dict[str, Any]:
    return {"type": kind, "value": value, "periodSeconds": seconds}


def ruled(direction: str, *policies: dict[str, Any], **more: Any) -> dict[str, Any]:
    rules = {direction: {"policies": list(policies), **more}}
    return {"spec": {"minReplicas": 1, "maxReplicas": 1000, "behavior": rules}}


@pytest.mark.parametrize(
    ("rules", "current", "added", "taken", "limit"),
    [
        ((policy("Pods", 4), policy("Percent", 100)), 10, (), (), 20),
        ((policy("Pods", 4), policy("Percent", 10)), 10, (), (), 14),
        ((policy("Percent", 10),), 5, (), (), 6),  # rounded up, or it would never grow
        ((policy("Percent", 10),), 100, (), (), 111),  # 100 * 1.1 is 110.00000000000001, as upstream has it
        ((policy("Percent", 100),), 15, ((9, 50), (4, 10)), (), 15),  # of the 2 a minute ago: 4; it does not shrink
        ((policy("Percent", 100),), 15, ((9, 70), (4, 10)), (), 22),  # of the 11 a minute ago
        ((policy("Pods", 10),), 15, ((9, 50),), ((3, 20),), 19),  # 15 - 9 + 3 a minute ago
        ((policy("Pods", 10, 30),), 15, ((9, 50),), (), 25),
        ((policy("Pods", 4, 15), policy("Pods", 6, 60)), 10, ((4, 30),), (), 14),
    ],
)
def test_how_fast_it_may_grow(rules, current, added, taken, limit):
    one = ruled("scaleUp", *rules)
    ups, downs = ([Change(count, NOW - ago) for count, ago in changes] for changes in (added, taken))
    assert behavior.up_limit(one, current, ups, downs, NOW) == limit
    slowest = ruled("scaleUp", *rules, selectPolicy="Min")
    assert behavior.up_limit(slowest, current, ups, downs, NOW) <= limit
    assert behavior.up_limit(ruled("scaleUp", *rules, selectPolicy="Disabled"), current, ups, downs, NOW) == current


@pytest.mark.parametrize(
    ("rules", "current", "added", "taken", "limit"),
    [
        ((policy("Pods", 4), policy("Percent", 20)), 100, (), (), 80),
        ((policy("Pods", 4), policy("Percent", 20)), 10, (), (), 6),
        ((policy("Percent", 20),), 1, (), (), 0),  # rounded down, or the last would never go
        ((policy("Percent", 90),), 10, (), (), 0),  # 10 * (1 - 0.9) is 0.9999999999999998, as upstream has it
        ((policy("Pods", 5),), 20, (), ((5, 30),), 20),  # 25 a minute ago: five are gone already
        ((policy("Pods", 5),), 20, (), ((5, 70),), 15),
        ((policy("Pods", 5),), 20, ((3, 10),), ((5, 30),), 17),  # those that came meanwhile may go
        ((policy("Percent", 100),), 20, (), (), 0),
    ],
)
def test_how_fast_it_may_shrink(rules, current, added, taken, limit):
    one = ruled("scaleDown", *rules)
    ups, downs = ([Change(count, NOW - ago) for count, ago in changes] for changes in (added, taken))
    assert behavior.down_limit(one, current, ups, downs, NOW) == limit
    slowest = ruled("scaleDown", *rules, selectPolicy="Min")
    assert behavior.down_limit(slowest, current, ups, downs, NOW) >= limit
    assert behavior.down_limit(ruled("scaleDown", *rules, selectPolicy="Disabled"), current, ups, downs, NOW) == current


@pytest.mark.parametrize(
    ("up", "down", "current", "desired", "recent", "found"),
    [
        (0, 300, 100, 10, (), 10),
        (0, 300, 100, 10, ((50, 299),), 50),
        (0, 300, 100, 10, ((50, 301),), 10),
        (0, 300, 5, 10, ((50, 100),), 10),  # what was asked for once is no reason to grow
        (300, 0, 5, 10, ((7, 100), (20, 50)), 7),
        (300, 0, 5, 10, ((3, 100),), 5),  # nor is little a reason to shrink
        (300, 300, 100, 10, ((200, 100), (5, 50)), 100),
        (300, 300, 5, 10, ((2, 100), (3, 50)), 5),
    ],
)
def test_windows_smooth_what_was_asked_for(up, down, current, desired, recent, found):
    one = ruled("scaleUp", stabilizationWindowSeconds=up)
    one["spec"]["behavior"]["scaleDown"] = {"stabilizationWindowSeconds": down}
    seen = [Recommendation(replicas, NOW - ago) for replicas, ago in recent]
    assert behavior.stabilized(one, desired, current, seen, NOW)[0] == found
