import pytest
from tests.scheduler.pods import node, pod

from shirube.cli.commands.why import lines
from shirube.scheduler.configuration import parse
from shirube.scheduler.decide import Profile
from shirube.scheduler.explaining import World, explain

GPU = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}
SPREAD = {
    "topologyKey": "topology.kubernetes.io/zone",
    "maxSkew": 1,
    "whenUnsatisfiable": "DoNotSchedule",
    "labelSelector": {"matchLabels": {"app": "web"}},
}


DEFAULT = {"default-scheduler": Profile.default()}


def zone(name):
    return {"topology.kubernetes.io/zone": name}


def on(name, **spec):
    return pod(**spec, nodeName=name)


def why(waiting, nodes, pods=()):
    return explain(waiting, World(nodes=list(nodes), pods=list(pods)), DEFAULT)


CASES = [
    (pod(cpu="5"), [node("a"), node("b", cpu="3")], "lower its requests of cpu from 5 to 4"),
    (pod(), [node("a", taints=[GPU])], "tolerate dedicated=gpu:NoSchedule"),
    (pod(nodeSelector={"disk": "ssd"}), [node("a")], "label node a with disk=ssd"),
    (pod(nodeSelector={"disk": "ssd"}), [node("a")], "drop disk=ssd from its nodeSelector"),
    (pod(), [node("a", unschedulable=True)], "uncordon a"),
    (pod(schedulingGates=[{"name": "x"}]), [node("a")], "take its scheduling gates away"),
    (pod(cpu="5", tolerations=[]), [node("a", taints=[GPU])], "add a node with at least 5 cpu left and no taints"),
]


@pytest.mark.parametrize(("waiting", "nodes", "change"), CASES)
def test_the_smallest_change_is_named_and_tried(waiting, nodes, change):
    found = why(waiting, nodes)
    assert change in [c["change"] for c in found["changes"]]
    assert change in "\n".join(lines(found))


def test_two_changes_where_one_is_not_enough():
    found = why(pod(cpu="5"), [node("a", taints=[GPU])])
    first = found["changes"][0]
    assert first["steps"] == 2
    assert first["change"] == "lower its requests of cpu from 5 to 4 and tolerate dedicated=gpu:NoSchedule"


def test_verdicts_are_grouped_by_plugin_and_reason():
    nodes = [node("a"), node("b"), node("c", taints=[GPU]), node("d", pods="0")]
    found = why(pod(cpu="5"), nodes)
    assert found["state"] == "waiting"
    assert [(v["plugin"], v["reasons"], v["nodes"]) for v in found["verdicts"]] == [
        ("TaintToleration", ["node(s) had untolerated taint(s)"], ["c"]),
        ("NodeResourcesFit", ["Insufficient cpu"], ["a", "b"]),
        ("NodeResourcesFit", ["Too many pods", "Insufficient cpu"], ["d"]),
    ]


def test_spread_and_anti_affinity():
    nodes = [node("a", labels=zone("z1")), node("b", labels=zone("z2"), cpu="0")]
    web = {"app": "web"}
    waiting = pod(labels=web, cpu="1", topologySpreadConstraints=[SPREAD])
    found = why(waiting, nodes, [on("a", labels=web)])
    assert "allow its spread over topology.kubernetes.io/zone a maxSkew of 2" in [c["change"] for c in found["changes"]]
    term = {"labelSelector": {"matchLabels": web}, "topologyKey": "kubernetes.io/hostname"}
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    found = why(pod(labels=web, affinity=apart), nodes[:1], [on("a", labels=web)])
    assert found["changes"][0]["change"] == "make its required pod anti-affinity a preference"


def test_a_placed_pod_shows_the_points_that_decided():
    there = on("a", cpu="1")
    found = why(there, [node("a"), node("b")], [there, on("b", cpu="2")])
    assert (found["state"], found["node"]) == ("placed", "a")
    best = found["scores"][0]
    assert (best["node"], best["rank"]) == ("a", 1)
    assert best["total"] == sum(best["plugins"].values())
    assert "* a" in "\n".join(lines(found))


def test_another_schedulers_pod():
    found = why(pod(schedulerName="mine"), [node("a")])
    assert "called 'mine'" in found["note"]


def test_a_profile_of_another_name_decides_by_its_own_plugins():
    profiles = parse(
        {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "profiles": [
                {},
                {"schedulerName": "brave", "plugins": {"filter": {"disabled": [{"name": "TaintToleration"}]}}},
            ],
        }
    ).profiles
    world = World(nodes=[node("a", taints=[GPU])])
    careful, brave = (explain(pod(schedulerName=name), world, profiles) for name in ("default-scheduler", "brave"))
    assert (careful["state"], brave["state"]) == ("waiting", "fits")
    assert "note" not in brave


def test_devices_that_are_lacking():
    request = {"name": "gpu", "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1}}
    claim = {
        "metadata": {"name": "c", "namespace": "default", "uid": "u"},
        "spec": {"devices": {"requests": [request]}},
    }
    world = World(nodes=[node("a")], device_claims=[claim], device_classes=[{"metadata": {"name": "gpu"}}])
    waiting = pod(resourceClaims=[{"name": "gpu", "resourceClaimName": "c"}])
    (verdict,) = explain(waiting, world, DEFAULT)["verdicts"]
    assert (verdict["plugin"], verdict["reasons"]) == ("DynamicResources", ["cannot allocate all claims"])
    pool = {"name": "p", "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": "gpu.example.com", "nodeName": "a", "pool": pool, "devices": [{"name": "d"}]}
    world.slices.append({"metadata": {"name": "s"}, "spec": spec})
    assert explain(waiting, world, DEFAULT)["state"] == "fits"


def test_asking_changes_nothing():
    nodes = [node("a", unschedulable=True), node("b", cpu="1")]
    world = World(nodes=nodes, pods=[])
    waiting = pod(cpu="2", nodeSelector={"disk": "ssd"})
    assert explain(waiting, world, DEFAULT) == explain(waiting, world, DEFAULT)
