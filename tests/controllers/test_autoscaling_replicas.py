"""How many replicas follow from what is measured: pods that start, fail, go or say nothing; rollouts; metrics of pods
that nobody knows."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from tests.controllers.conftest import House

from shirube.api.errors import ApiError
from shirube.api.gvr import DEPLOYMENTS
from shirube.client.rest import Client
from shirube.controllers import autoscaling_replicas as arithmetic
from shirube.controllers.autoscaling_metrics import Metrics, Target
from shirube.controllers.autoscaling_replicas import MetricError, Sample, Tolerance
from shirube.controllers.horizontal_pod_autoscaler import HorizontalPodAutoscalerController
from shirube.foundation.clock import rfc3339

NOW = 1_800_000_000.0
OLD = 3600.0  # seconds since a start that is long over


def pod(
    name: str,
    *,
    phase: str = "Running",
    ready: bool = True,
    started: float = OLD,
    turned: float | None = None,
    cpu: int | None = 1000,
    deleted: bool = False,
) -> dict[str, Any]:
    """`started`, `turned`: seconds ago that it began, and that it became (un)ready."""
    condition = {
        "type": "Ready",
        "status": str(ready),
        "lastTransitionTime": rfc3339(NOW - (started if turned is None else turned)),
    }
    requests = {"requests": {"cpu": f"{cpu}m"}} if cpu is not None else {}
    made: dict[str, Any] = {
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "resources": requests}]},
        "status": {"phase": phase, "startTime": rfc3339(NOW - started), "conditions": [condition]},
    }
    if deleted:
        made["metadata"]["deletionTimestamp"] = rfc3339(NOW)
    return made


def told(*values: int, at: float = NOW, window: float = 60.0) -> dict[str, Sample]:
    return {f"p{i}": Sample(value, at, window) for i, value in enumerate(values)}


def by_cpu(
    of: list[dict[str, Any]], samples: dict[str, Sample], target: int, asked: int, tolerance: float = 0.1
) -> tuple[int, int, int]:
    allowed = Tolerance(tolerance, tolerance)
    return arithmetic.by_utilization(
        of, samples, lambda: arithmetic.requests_of(of, "cpu"), target, "cpu", asked, allowed, NOW
    )


NEVER_READY = {"ready": False, "turned": OLD}
STARTING = {"started": 60.0, "turned": 10.0}


def with_(count: int, what: dict[str, Any], *which: int) -> list[dict[str, Any]]:
    return [pod(f"p{i}", **(what if i in which else {})) for i in range(count)]


@pytest.mark.parametrize(
    ("of", "samples", "target", "asked", "found"),
    [
        (with_(3, {}), told(300, 500, 700), 30, 3, (5, 50, 500)),
        (with_(3, NEVER_READY, 0), told(300, 500, 700), 30, 3, (4, 60, 600)),
        (with_(3, STARTING, 0), told(300, 500, 700), 30, 3, (4, 60, 600)),
        (with_(3, NEVER_READY, 1, 2), told(400, 500, 700), 30, 3, (3, 40, 400)),
        (with_(4, {"phase": "Failed"}, 2, 3), told(500, 700), 30, 2, (4, 60, 600)),
        (with_(4, {"deleted": True}, 2, 3), told(500, 700), 30, 2, (4, 60, 600)),
        (with_(5, {}), told(100, 300, 500, 250, 250), 50, 5, (3, 28, 280)),
        (with_(5, NEVER_READY, 3, 4), told(100, 300, 500, 250, 250), 50, 5, (2, 30, 300)),
        (with_(5, STARTING, 3, 4), told(100, 300, 500, 250, 250), 50, 5, (2, 30, 300)),
        (with_(5, {"phase": "Pending"}, 1, 2, 3, 4), told(100), 50, 5, (1, 10, 100)),
        (with_(7, {"phase": "Failed"}, 5, 6), told(100, 300, 500, 250, 250), 50, 5, (3, 28, 280)),
        (with_(7, {"deleted": True}, 5, 6), told(100, 300, 500, 250, 250), 50, 5, (3, 28, 280)),
    ],
    ids=[
        "more load, more pods",
        "who was never ready counts as idle",
        "so does who burns while it starts",
        "two idle ones undo it all",
        "the failed are no pods",
        "nor those that go",
        "less load, fewer pods",
        "when shrinking, the unready are left out",
        "and those that start",
        "and those without a node",
        "shrinking: the failed",
        "shrinking: those that go",
    ],
)
def test_pods_in_all_states(of, samples, target, asked, found):
    assert by_cpu(of, samples, target, asked) == found


@pytest.mark.parametrize(
    ("count", "samples", "target", "asked", "found"),
    [
        (4, told(400, 95), 100, 4, (3, 24, 247)),
        (2, told(1000), 100, 2, (2, 100, 1000)),
        (2, told(1900), 100, 2, (2, 190, 1900)),
        (2, told(600), 100, 2, (2, 60, 600)),
        (3, told(100, 100), 50, 2, (2, 10, 100)),  # a rollout that surges is no reason to shrink
    ],
)
def test_silent_pods_make_a_change_smaller(count, samples, target, asked, found):
    assert by_cpu(with_(count, {}), samples, target, asked) == found


@pytest.mark.parametrize(
    ("values", "asked", "found"),
    [((100, 450), 3, 3), ((100, 2000), 3, 4), ((100, 100, 100), 4, 3)],
)
def test_silent_and_unready_pods_together(values: tuple[int, ...], asked: int, found: int):
    """The first was never ready, the last says nothing."""
    assert by_cpu(with_(asked, NEVER_READY, 0), told(*values), 50, asked)[0] == found


def test_what_is_told_of_pods_that_nobody_knows_does_not_count():
    of = with_(4, {})
    assert by_cpu(of, told(4000, 9500, 3000, 7000, 3200, 2000), 100, 4) == (24, 587, 5875)
    with pytest.raises(MetricError, match="no metrics returned matched known pods"):
        by_cpu([pod("another")], told(100), 100, 1)
    with pytest.raises(MetricError, match="no pods returned by selector while calculating replica count"):
        by_cpu([], told(100), 100, 1)


def test_near_enough_is_near_enough():
    of = [pod("p0", cpu=900), pod("p1"), pod("p2", cpu=1100)]
    assert by_cpu(of, told(1010, 1030, 1020), 100, 3) == (3, 102, 1020)
    assert by_cpu(of, told(1010, 1030, 1020), 100, 3, tolerance=0.01)[0] == 4


@pytest.mark.parametrize(
    ("pods", "used", "target", "replicas"),
    [
        (21, 900, 70, 28),  # 90/70 * 21 is 27.000000000000004 as a float
        (25, 560, 50, 29),  # 56/50 * 25 is 28.000000000000004
        (15, 1240, 60, 32),  # 124/60 * 15 is 31.000000000000004
        (10, 1100, 100, 10),  # 1.1 is within a tenth, 1.0 + 0.1 being the same float
        (10, 1110, 100, 12),  # 1.11 is not
        (10, 900, 100, 10),
        (10, 899, 100, 9),  # 89 %: percents are whole
        (10, 1109, 100, 10),  # and 110.9 % are 110
    ],
)
def test_counts_are_those_that_upstreams_floats_give(pods: int, used: int, target: int, replicas: int):
    assert by_cpu(with_(pods, {}), told(*(used,) * pods), target, pods)[0] == replicas


@pytest.mark.parametrize(
    ("usage", "target", "ready", "replicas"),
    [
        (90, 70, 21, 28),
        (110, 100, 7, 7),
        (10**18, 1, 3, 2**31 - 1),  # as many as can be asked for
        (0, 5, 3, 0),
    ],
)
def test_one_value_for_all_as_upstreams_floats_give_it(usage: int, target: int, ready: int, replicas: int):
    assert arithmetic.by_total(usage, target, ready, ready, Tolerance()) == replicas


def test_shares_and_averages_are_rounded_as_upstream_rounds_them():
    assert arithmetic.share(8600, 3) == 2867
    assert arithmetic.share(8600, 0) == 0, "there is nobody to have a share"
    assert arithmetic.divided(-31_666, 3) == -10_555, "towards zero"
    assert arithmetic.by_total_average(5000, 1000, 0, Tolerance()) == 5
    assert arithmetic.by_total_average(10**18, 1, 3, Tolerance()) == 2**31 - 1


def test_that_nobody_tells_anything_is_told_before_what_is_not_asked_for():
    """A pod that starts has no metrics yet: upstream says that first, and what is missing of it once it serves."""
    with pytest.raises(MetricError, match="did not receive metrics for targeted pods"):
        by_cpu([pod("p0", cpu=None, phase="Pending")], told(100), 50, 1)
    with pytest.raises(MetricError, match="missing request for cpu in container c of Pod p0"):
        by_cpu([pod("p0", cpu=None)], told(100), 50, 1)


@pytest.mark.parametrize(
    ("one", "sample", "ready", "unready"),
    [
        ({"phase": "Succeeded"}, Sample(1, NOW, 60), 1, False),
        ({"started": 60, "turned": 30}, Sample(1, NOW, 30), 1, False),
        ({"started": 60, "turned": 30}, Sample(1, NOW, 60), 0, True),
        ({"started": 60, "turned": 30, "ready": False}, Sample(1, NOW, 10), 0, True),
        ({"started": 600, "turned": 594, "ready": False}, Sample(1, NOW, 60), 0, True),
        ({"started": 600, "turned": 540, "ready": False}, Sample(1, NOW, 60), 1, False),
        ({"started": 400, "turned": 400}, Sample(1, NOW - 350, 60), 1, False),
    ],
    ids=[
        "ended well",
        "its first whole window",
        "not a whole window since it is ready",
        "not ready, starting",
        "never ready in its first moments",
        "ready once, not now",
        "stale, but it is up for long",
    ],
)
def test_whose_load_counts(one: dict[str, Any], sample: Sample, ready: int, unready: bool):
    found = arithmetic.group([pod("p0", **one)], {"p0": sample}, "cpu", NOW)
    assert (found.ready, bool(found.unready)) == (ready, unready)
    assert arithmetic.group([pod("p0", **one)], {"p0": sample}, "memory", NOW).ready == 1, "memory counts at once"


def test_pods_without_a_condition_or_a_start_are_not_ready():
    for missing in ("conditions", "startTime"):
        one = pod("p0")
        del one["status"][missing]
        assert arithmetic.group([one], told(1), "cpu", NOW).unready == {"p0"}


# -- what pods ask for -----------------------------------------------------------------------------------------


def test_a_pod_that_asks_as_a_whole():
    one = pod("p0", cpu=None)
    one["spec"]["resources"] = {"requests": {"cpu": "2"}}
    one["spec"]["overhead"] = {"cpu": "100m"}
    assert arithmetic.requests_of([one], "cpu") == {"p0": 2100}
    with pytest.raises(MetricError, match="missing pod-level request for memory in Pod p0"):
        arithmetic.requests_of([one], "memory")
    with pytest.raises(MetricError, match="missing request for cpu in container c of Pod p0"):
        arithmetic.requests_of([one], "cpu", "c")  # of one container only its own word counts
    one["spec"]["resources"] = {"requests": {"memory": "1Gi"}}
    one["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1"}}
    assert arithmetic.requests_of([one], "cpu") == {"p0": 1100}


def test_sidecars_ask_too_and_other_init_containers_do_not():
    one = pod("p0")
    asks = {"requests": {"cpu": "500m"}}
    one["spec"]["initContainers"] = [
        {"name": "side", "restartPolicy": "Always", "resources": asks},
        {"name": "once", "resources": {}},
    ]
    assert arithmetic.requests_of([one], "cpu") == {"p0": 1500}
    assert arithmetic.requests_of([one], "cpu", "side") == {"p0": 500}
    with pytest.raises(MetricError, match="container once not found in Pod p0"):
        arithmetic.requests_of([one], "cpu", "once")


# -- by the metrics APIs ---------------------------------------------------------------------------------------


class Answers:
    """A client for whom every path ends in one of these answers."""

    def __init__(self, *items: Any) -> None:
        self.items = list(items)

    async def raw(self, method: str, path: str, params: Any = None) -> bytes:
        return orjson.dumps({"items": self.items})


def target(of: list[dict[str, Any]], asked: int, there: int | None = None) -> Target:
    return Target("default", "app=web", of, asked, asked if there is None else there, Tolerance(), NOW)


async def proposed(metric: dict[str, Any], where: Target, *items: Any) -> tuple[int, dict[str, Any]]:
    found = await Metrics(Answers(*items)).propose(metric, where)  # type: ignore[arg-type]
    return found.replicas, next(iter(found.shown[key] for key in found.shown if key != "type"))["current"]


def value(name: str, amount: int) -> dict[str, Any]:
    return {"describedObject": {"name": name}, "value": f"{amount}m"}


def pods_metric(amount: int) -> dict[str, Any]:
    wanted = {"type": "AverageValue", "averageValue": f"{amount}m"}
    return {"type": "Pods", "pods": {"metric": {"name": "qps"}, "target": wanted}}


@pytest.mark.parametrize(
    ("count", "amounts", "wanted", "replicas", "average"),
    [
        (3, (20000, 10000, 30000), 15000, 4, "20"),
        (3, (50000, 10000, 30000), 15000, 6, "30"),
        (3, (50000, 15000, 30000), 15000, 7, "31666m"),
        (5, (12000,) * 5, 20000, 3, "12"),
        (3, (20000, 21000, 21000), 20000, 3, "20666m"),
        (3, (20001, 20000, 20000), 10000, 6, "20"),  # averages are whole thousandths
    ],
)
async def test_a_metric_of_pods(count: int, amounts: tuple[int, ...], wanted: int, replicas: int, average: str):
    """Who is not ready counts like the others: what it tells is not what starting burns."""
    items = [value(f"p{i}", amount) for i, amount in enumerate(amounts)]
    where = target(with_(count, {**STARTING, "ready": False}, 0), count)
    assert await proposed(pods_metric(wanted), where, *items) == (replicas, {"averageValue": average})


def object_metric(kind: str, amount: int) -> dict[str, Any]:
    described = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "other"}
    wanted = {"type": kind, "averageValue" if kind == "AverageValue" else "value": f"{amount}m"}
    return {
        "type": "Object",
        "object": {"metric": {"name": "qps"}, "describedObject": described, "target": wanted},
    }


def external_metric(kind: str, amount: int) -> dict[str, Any]:
    wanted = {"type": kind, "averageValue" if kind == "AverageValue" else "value": f"{amount}m"}
    return {"type": "External", "external": {"metric": {"name": "qps"}, "target": wanted}}


@pytest.mark.parametrize("make", [object_metric, external_metric])
@pytest.mark.parametrize(
    ("unready", "asked", "total", "wanted", "replicas"),
    [
        ((), 3, 20000, 15000, 4),
        ((0, 2), 3, 50000, 10000, 5),  # one ready pod bears it all: fifteen would be for three
        ((), 5, 12000, 20000, 3),
        ((), 3, 20666, 20000, 3),
        ((), 3, 8600, 8888, 3),
        ((0, 2), 3, 8600, 4400, 2),
    ],
)
async def test_one_value_for_all(
    make: Any, unready: tuple[int, ...], asked: int, total: int, wanted: int, replicas: int
):
    where = target(with_(asked, NEVER_READY, *unready), asked)
    found, current = await proposed(make("Value", wanted), where, value("other", total))
    assert (found, current["value"]) == (replicas, f"{total // 1000}" if total % 1000 == 0 else f"{total}m")


@pytest.mark.parametrize("make", [object_metric, external_metric])
@pytest.mark.parametrize(
    ("asked", "total", "wanted", "replicas", "average"),
    [
        (3, 20000, 5000, 4, "6667m"),
        (3, 8600, 2150, 4, "2867m"),
        (5, 6000, 2000, 3, "1200m"),
        (5, 8600, 2867, 3, "1720m"),
        (4, 20166, 5000, 4, "5042m"),
        (3, 8600, 2900, 3, "2867m"),
    ],
)
async def test_one_value_shared_by_all(make: Any, asked: int, total: int, wanted: int, replicas: int, average: str):
    found = await proposed(make("AverageValue", wanted), target(with_(asked, {}), asked), value("other", total))
    assert found == (replicas, {"averageValue": average})


async def test_a_value_for_pods_that_are_not_there():
    with pytest.raises(MetricError, match="unable to calculate ready pods: no pods returned by selector"):
        await proposed(external_metric("Value", 1000), target([], 3), value("other", 5000))


def usage(name: str, **containers: str | None) -> dict[str, Any]:
    told_ = [{"name": c, "usage": {"cpu": amount} if amount else {}} for c, amount in containers.items()]
    return {"metadata": {"name": name}, "timestamp": rfc3339(NOW), "window": "60s", "containers": told_}


async def test_nothing_changes_while_a_rollout_surges():
    """Eight are asked for, nine are there: load as it should be leaves eight, it does not make nine of them."""
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
    }
    items = [usage(f"p{i}", c="500m") for i in range(9)]
    assert (await proposed(metric, target(with_(9, {}), 8, 9), *items))[0] == 8
    assert (await proposed(pods_metric(1000), target(with_(9, {}), 8, 9), *[value(f"p{i}", 1000) for i in range(9)]))[
        0
    ] == 8
    shared = await proposed(external_metric("AverageValue", 1000), target(with_(9, {}), 8, 9), value("other", 9000))
    assert shared == (9, {"averageValue": "1"}), "what the pods share is shared by those that are there"


async def test_one_container_of_each_pod():
    metric = {
        "type": "ContainerResource",
        "containerResource": {
            "name": "cpu",
            "container": "c",
            "target": {"type": "Utilization", "averageUtilization": 50},
        },
    }
    items = [usage(f"p{i}", c="900m", proxy="5") for i in range(2)]
    assert await proposed(metric, target(with_(2, {}), 2), *items) == (
        4,
        {"averageUtilization": 90, "averageValue": "900m"},
    )
    silent = [usage("p0", c="900m"), usage("p1", c=None)]
    assert (await proposed(metric, target(with_(2, {}), 2), *silent))[0] == 2, "it is there and tells nothing"
    with pytest.raises(MetricError, match="container c not present in metrics for pod default/p1"):
        await proposed(metric, target(with_(2, {}), 2), usage("p0", c="900m"), usage("p1", proxy="5"))


async def test_metrics_that_tell_nothing_at_all():
    metric = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "1"}}}
    with pytest.raises(MetricError, match="no metrics returned from resource metrics API"):
        await proposed(metric, target(with_(1, {}), 1))
    with pytest.raises(MetricError, match=r"did not receive metrics for targeted pods \(pods might be unready\)"):
        await proposed(metric, target(with_(1, {}), 1), usage("p0", c=None))


# -- the target's scale ----------------------------------------------------------------------------------------


class Contested:
    """A scale that others write, too."""

    def __init__(self, conflicts: int) -> None:
        self.conflicts = conflicts
        self.version = 1
        self.replicas = 2

    async def get(self, gvr: Any, name: str, namespace: str, *, subresource: str) -> dict[str, Any]:
        metadata = {"name": name, "namespace": namespace, "resourceVersion": str(self.version)}
        return {"metadata": metadata, "spec": {"replicas": self.replicas}}

    async def update(self, gvr: Any, body: dict[str, Any], subresource: str) -> None:
        if self.conflicts:
            self.conflicts -= 1
            self.version += 1
        if body["metadata"]["resourceVersion"] != str(self.version):
            raise ApiError(409, "Conflict", "changed")
        self.replicas = body["spec"]["replicas"]


@pytest.mark.parametrize(("conflicts", "written"), [(0, True), (3, True), (50, False)])
async def test_others_may_write_the_target_meanwhile(house: House, client: Client, conflicts: int, written: bool):
    controller = HorizontalPodAutoscalerController(house.context())
    contested = Contested(conflicts)
    controller._client = contested  # type: ignore[assignment]
    scale = await contested.get(DEPLOYMENTS, "web", "default", subresource="scale")
    if written:
        await controller._write_scale(DEPLOYMENTS, scale, 7)
    else:
        with pytest.raises(ApiError):
            await controller._write_scale(DEPLOYMENTS, scale, 7)
    assert (contested.replicas == 7) is written
