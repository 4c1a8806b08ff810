import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.scheduler.pods import info, node

from shirube.foundation.chance import Chance
from shirube.scheduler.columns import NodeColumns
from shirube.scheduler.decide import Profile, decide

PROFILE = Profile.default()


def nodes(*some):
    columns = NodeColumns()
    for one in some:
        columns.set_node(one)
    return columns


def term(key, operator, *values):
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


def required(*terms):
    wanted = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    return {"nodeAffinity": wanted}


TAINT = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}

CASES = [
    ({"cpu": "5"}, {}, "0/1 nodes are available: 1 Insufficient cpu."),
    ({"cpu": "5", "memory": "9Gi"}, {}, "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."),
    ({}, {"pods": "0"}, "0/1 nodes are available: 1 Too many pods."),
    ({}, {"unschedulable": True}, "0/1 nodes are available: 1 node(s) were unschedulable."),
    ({}, {"taints": [TAINT]}, "0/1 nodes are available: 1 node(s) had untolerated taint(s)."),
    ({"tolerations": [{"key": "dedicated", "operator": "Exists"}]}, {"taints": [TAINT]}, None),
    ({"tolerations": [{"key": "dedicated", "value": "gpu"}]}, {"taints": [TAINT]}, None),
    ({"tolerations": [{"operator": "Exists"}]}, {"taints": [TAINT], "unschedulable": True}, None),
    (
        {"nodeSelector": {"disk": "ssd"}},
        {},
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
    ),
    ({"nodeSelector": {"disk": "ssd"}}, {"labels": {"disk": "ssd"}}, None),
    ({"affinity": required(term("disk", "In", "ssd", "nvme"))}, {"labels": {"disk": "nvme"}}, None),
    ({"affinity": required(term("cores", "Gt", "4"))}, {"labels": {"cores": "8"}}, None),
    (
        {"affinity": required(term("cores", "Lt", "4"))},
        {"labels": {"cores": "8"}},
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
    ),
    ({"affinity": required(term("gone", "DoesNotExist"))}, {}, None),
    ({"affinity": required()}, {}, "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."),
]


@pytest.mark.parametrize(("spec", "shape", "message"), CASES)
def test_filters_say_upstreams_words(spec, shape, message):
    decision = decide(info(**spec), nodes(node("a", **shape)), Chance(1), PROFILE)
    if message is None:
        assert decision.node == "a"
    else:
        assert (decision.node, decision.message) == ("", message)


def test_no_nodes_at_all():
    assert decide(info(), nodes(), Chance(1), PROFILE).message == "no nodes available to schedule pods"


@pytest.mark.parametrize(
    ("first", "second", "fits"), [("", "", False), ("10.0.0.1", "10.0.0.2", True), ("", "10.0.0.2", False)]
)
def test_host_ports(first, second, fits):
    def with_port(ip):
        return info(containers=[{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80, "hostIP": ip}]}])

    columns = nodes(node("a"))
    columns.add_pod("a", with_port(first))
    assert bool(decide(with_port(second), columns, Chance(1), PROFILE).node) is fits


def test_the_emptier_node_and_the_preferred_node_win():
    columns = nodes(node("a"), node("b"))
    columns.add_pod("a", info(cpu="2", memory="4Gi"))
    assert decide(info(cpu="1", memory="1Gi"), columns, Chance(1), PROFILE).node == "b"
    preferred = {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 100, "preference": term("kubernetes.io/hostname", "In", "a")}
            ]
        }
    }
    assert decide(info(affinity=preferred), columns, Chance(1), PROFILE).node == "a"


def test_init_containers_count_by_their_peak_and_sidecars_stay():
    def container(cpu, **more):
        return {"name": "c", "resources": {"requests": {"cpu": cpu}}, **more}

    made = info(
        containers=[container("1")],
        initContainers=[container("500m", restartPolicy="Always"), container("3")],
        overhead={"cpu": "100m"},
    )
    assert made.requests["cpu"] == 3600


def test_a_node_that_goes_and_comes_back_counts_its_pods_again():
    columns = nodes(node("a", cpu="2"))
    columns.add_pod("a", info("one", cpu="2"))
    columns.remove_node("a")
    columns.set_node(node("a", cpu="2"))
    assert decide(info(cpu="1"), columns, Chance(1), PROFILE).node == ""


@given(st.lists(st.sampled_from(["100m", "1", "1500m", "3"]), max_size=40), st.integers(0, 2**32))
def test_no_node_is_ever_overcommitted(requests, seed):
    chance = Chance(seed)
    columns = nodes(node("a"), node("b", cpu="2"), node("c", pods="3"))
    for cpu in requests:
        one = info(cpu=cpu)
        decision = decide(one, columns, chance, PROFILE)
        if decision.node:
            columns.add_pod(decision.node, one)
    for resource in ("cpu", "pods"):
        assert (columns.requested[resource] <= columns.allocatable[resource]).all()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_adding_and_removing_leaves_nothing_behind(order):
    columns = nodes(node("a"), node("b"))
    infos = [info(cpu="100m", memory="64Mi") for _ in range(6)]
    on = set()
    for i in order:
        if i in on:
            assert columns.remove_pod(infos[i].uid)
            on.remove(i)
        else:
            columns.add_pod("a" if i % 2 else "b", infos[i])
            on.add(i)
    for i in on:
        columns.remove_pod(infos[i].uid)
    assert (
        not columns.requested["cpu"].any() and not columns.requested["pods"].any() and not columns.nonzero_memory.any()
    )


def test_the_same_seed_decides_the_same_again():
    def placements(seed):
        columns, chance = NodeColumns(), Chance(seed)
        for i in range(50):
            columns.set_node(node(f"n{i:02}"))
        found = []
        for number in range(100):
            one = info(f"p{number}", cpu="10m", labels={"app": f"a{number % 3}"})
            found.append(decide(one, columns, chance, PROFILE).node)
            columns.add_pod(found[-1], one)
        return found

    assert placements(7) == placements(7)
    assert placements(7) != placements(8)
