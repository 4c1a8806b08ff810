"""Whatever somebody writes into a pod or node: that pod is told, everything else goes on."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scheduler.pods import info, node, pod
from tests.waiting import until

from shirube.api import gvr
from shirube.foundation.chance import Chance
from shirube.scheduler.columns import NodeColumns
from shirube.scheduler.decide import Profile, decide
from shirube.scheduler.pod import project

PROFILE = Profile.default()
AFTER = "DuringSchedulingIgnoredDuringExecution"
HOST = "kubernetes.io/hostname"
HUGE = ["9223372036854775807", "9E", "1e30", "999999999999999999999999999999", "8Ei"]


def with_node(**more):
    columns = NodeColumns()
    columns.set_node(node("a", **more))
    return columns


def asking(**requests):
    return pod(containers=[{"name": "c", "resources": {"requests": requests}}])


@pytest.mark.parametrize("amount", HUGE)
def test_huge_amounts_fit_nowhere_and_overflow_nothing(amount):
    columns = with_node()
    huge = [project(asking(cpu=amount, memory=amount, **{"example.com/x": amount}))["info"] for _ in range(3)]
    message = decide(huge[0], columns, Chance(1), PROFILE).message
    assert message == (
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient example.com/x, 1 Insufficient memory."
    )
    for one in huge:  # somebody has bound them by hand
        columns.add_pod("a", one)
    assert columns.requested["memory"][columns.index("a")] > 0
    assert not decide(info(cpu="1m"), columns, Chance(1), PROFILE).node
    for one in huge:
        columns.remove_pod(one.uid)
    assert decide(info(cpu="1m"), columns, Chance(1), PROFILE).node == "a"


@pytest.mark.parametrize("amount", HUGE)
def test_huge_nodes_take_pods_and_are_scored(amount):
    columns = with_node(cpu=amount, memory=amount)
    columns.set_node(node("b"))
    columns.add_pod("a", info(cpu="1"))
    assert decide(info(cpu="1", memory="1Gi"), columns, Chance(1), PROFILE).node == "a"


def test_negative_amounts_count_as_nothing():
    columns = with_node(cpu="1")
    less = project(asking(cpu="-5", memory="-1Gi"))["info"]
    columns.add_pod("a", less)
    assert columns.requested["cpu"][columns.index("a")] == 0
    assert not decide(info(cpu="2"), columns, Chance(1), PROFILE).node
    broken = node("b", cpu="-4")
    columns.set_node(broken)
    assert decide(info(cpu="1"), columns, Chance(1), PROFILE).node == "a"


NONSENSE = [
    {"nodeSelector": {" ": "\x00", "ключ": "значение", "": "x" * 100_000}},
    {"tolerations": [{"operator": "Perhaps", "key": "\n", "effect": "NoEffect"}, {}]},
    {"affinity": {"nodeAffinity": {"required" + AFTER: {"nodeSelectorTerms": [{}, {"matchFields": []}]}}}},
    {"topologySpreadConstraints": [{"topologyKey": "", "maxSkew": -3, "whenUnsatisfiable": "Sometimes"}]},
    {"overhead": {"": "1", "cpu": "0"}},
    {"priority": -(2**31)},
]


@pytest.mark.parametrize("spec", NONSENSE)
def test_nonsense_is_decided_without_fuss(spec):
    columns = with_node(labels={"": "\x7f", " ": "x"})
    one = project(pod(labels={"\t": "…", "a" * 1000: ""}, **spec))
    assert one["info"] is not None, one["unreadable"]
    decision = decide(one["info"], columns, Chance(1), PROFILE)
    assert decision.node or decision.message
    assert decide(info(), columns, Chance(1), PROFILE).node == "a"


UNREADABLE = {
    "cannot use label selector": {
        "affinity": {
            "podAffinity": {
                "required" + AFTER: [
                    {
                        "topologyKey": HOST,
                        "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Near", "values": ["b"]}]},
                    }
                ]
            }
        }
    },
    "quantities must match": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "much"}}}]},
    "topologyKey": {"affinity": {"podAntiAffinity": {"required" + AFTER: [{"labelSelector": {}}]}}},
    "maxSkew": {"topologySpreadConstraints": [{"topologyKey": HOST}]},
}


@pytest.mark.parametrize("words", UNREADABLE)
async def test_what_cannot_be_read_is_told_and_the_loop_goes_on(stage, words):
    """The API server refuses such pods; a scheduler must not depend on it."""
    await stage.node("a")
    async with stage.scheduling() as scheduler:
        bad = project(pod("bad", **UNREADABLE[words]))
        assert words in bad["unreadable"]
        scheduler._pod_seen(bad)
        notes = await until(lambda: stage.events("bad", "FailedScheduling"))
        assert notes[0].startswith("cannot read the pod's requirements: ")
        await stage.pod("good")
        assert await until(lambda: stage.on("good")) == "a"


async def test_a_thousand_affinity_terms(stage):
    for name in ("a", "b"):
        await stage.node(name)

    def terms(words):
        return [{"labelSelector": {"matchLabels": {"app": f"{words}-{i}"}}, "topologyKey": HOST} for i in range(1000)]

    nodes = [{"matchExpressions": [{"key": f"label-{i}", "operator": "Exists"}]} for i in range(999)]
    nodes.append({"matchExpressions": [{"key": HOST, "operator": "Exists"}]})
    affinity = {
        "podAntiAffinity": {"required" + AFTER: terms("away")},
        "podAffinity": {"preferred" + AFTER: [{"weight": 1, "podAffinityTerm": t} for t in terms("near")]},
        "nodeAffinity": {"required" + AFTER: {"nodeSelectorTerms": nodes}},
    }
    async with stage.scheduling():
        await stage.pod("demanding", affinity=affinity)
        await stage.pod("plain")
        assert await until(lambda: stage.on("plain"))
        there = await until(lambda: stage.on("demanding"))
        body = {
            "metadata": {"name": "rival", "labels": {"app": "away-500"}},
            "spec": (await stage.get("plain"))["spec"],
        }
        body["spec"] = {"containers": [{"name": "c", "image": "x"}]}
        await stage.api.create(gvr.PODS, {"apiVersion": "v1", "kind": "Pod", **body}, "default")
        assert await until(lambda: stage.on("rival")) == {"a": "b", "b": "a"}[there]


def test_labels_that_no_node_has_cost_no_column():
    columns = NodeColumns()
    for i in range(100):
        columns.set_node(node(f"n{i}"))
    for i in range(5000):
        assert not decide(info(nodeSelector={f"label-{i}": "x"}), columns, Chance(1), PROFILE).node
    assert len(columns._label_columns) < 5
    columns.set_node(node("n7", labels={"label-7": "x"}))
    assert decide(info(nodeSelector={"label-7": "x"}), columns, Chance(1), PROFILE).node == "n7"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("affinity", "tolerations", "nodeSelector", "topologySpreadConstraints", "volumes", "overhead", "containers",
          "initContainers", "resources", "resourceClaims", "schedulingGates", "priority")  # fmt: skip


@settings(max_examples=300)
@given(st.sampled_from(FIELDS), anything)
def test_a_field_of_any_shape_is_read_or_said_to_be_unreadable(field, value):
    one = pod()
    one["spec"][field] = value
    found = project(one)
    assert found["info"] is not None or found["unreadable"]


async def test_one_that_never_fits_starves_nobody(stage):
    """Pods of a higher priority that fit nowhere do not keep others from being tried."""
    await stage.node("a", pods="60")
    body = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 1000}
    await stage.api.create(gvr.PRIORITYCLASSES, body)
    async with stage.scheduling():
        await asyncio.gather(*(stage.pod(f"never-{i}", cpu="100", priorityClassName="high") for i in range(5)))
        await until(lambda: stage.condition("never-4"))
        await asyncio.gather(*(stage.pod(f"p{i}", cpu="10m") for i in range(20)))
        for i in range(20):
            assert await until(lambda i=i: stage.on(f"p{i}")) == "a"
