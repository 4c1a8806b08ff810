"""Which lines a change of a pod, a namespace or a policy makes, and what the node itself may always do."""

import pytest
from tests.network.lab import Lab, Probe, nft

from shirube.foundation.address_family import BOTH, IPV4, IPV6
from shirube.network.policy.compile import Pod, compile_policy
from shirube.network.policy.main import PolicyTable
from shirube.network.policy.ruleset import pod_of

NODE_ADDRESS = "172.30.0.2"


def policy(name="p", namespace="x", **spec):
    return {"metadata": {"namespace": namespace, "name": name}, "spec": {"podSelector": {}, **spec}}


FROM_FRONT = policy(ingress=[{"from": [{"podSelector": {"matchLabels": {"tier": "front"}}}], "ports": [{"port": 80}]}])
DENY_ALL = policy("deny", policyTypes=["Ingress", "Egress"])
DNS_ONLY = policy(
    "dns",
    policyTypes=["Egress"],
    egress=[
        {
            "to": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
            "ports": [{"protocol": "UDP", "port": 53}],
        }
    ],
)


def pod(name, address, node="here", **labels):
    return Pod("x", name, tuple(sorted(labels.items())), address, node)


def contents(*policies):
    made = PolicyTable("here", NODE_ADDRESS)
    made.set_namespace("x", {})
    made.set_namespace("kube-system", {})
    for obj in policies:
        made.set_policy(f"x/{obj['metadata']['name']}", obj)
    made.set_pod("x/a", pod("a", "10.244.0.10"))
    return made


def changes(made):
    made.table.settle()

    def lines():
        return [line for line in made.table.script().splitlines() if line]

    return lines


def test_a_pod_that_comes_and_goes_touches_elements_only():
    made = contents(FROM_FRONT, DENY_ALL)
    lines = changes(made)
    made.set_pod("x/b", pod("b", "10.244.0.11", tier="front"))
    assert {line.split()[1] for line in lines()} == {"element"}
    made.table.settle()
    made.set_pod("x/b", pod("b", "10.244.0.12"))
    assert {line.split()[1] for line in lines()} == {"element"}
    made.set_pod("x/b", pod("b", "10.244.0.11", tier="front"))
    assert lines() == []


def test_a_namespace_that_changes_its_labels_touches_elements_only():
    wide = policy(ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"team": "red"}}}]}])
    made = contents(wide)
    lines = changes(made)
    made.set_namespace("x", {"team": "red"})
    assert len(lines()) == 1 and "10.244.0.10" in lines()[0]


def test_the_last_policy_leaves_nothing_behind():
    made = contents()
    made.table.settle()
    made.set_policy("x/p", FROM_FRONT)
    made.set_policy("x/p", None)
    assert made.table.script() == ""
    assert list(made.table.owners()) == []


def test_a_policy_without_types_speaks_of_ingress_and_of_egress_when_it_has_rules():
    assert compile_policy(policy()).egress is None
    assert compile_policy(policy()).ingress == ()
    assert compile_policy(policy(egress=[{}])).egress is not None


@pytest.mark.parametrize(
    ("spec", "status"),
    [
        ({"hostNetwork": True}, {"podIP": "172.30.0.2"}),
        ({}, {}),
        ({}, {"phase": "Succeeded", "podIP": "10.244.0.3"}),
    ],
)
def test_pods_that_policies_do_not_know(spec, status):
    assert pod_of({"metadata": {"namespace": "x", "name": "a"}, "spec": spec, "status": status}, IPV4) is None


def test_a_pod_has_one_address_of_each_family():
    status = {"podIP": "10.244.0.3", "podIPs": [{"ip": "10.244.0.3"}, {"ip": "fd00:10:244::3"}]}
    made = {"metadata": {"namespace": "x", "name": "a"}, "spec": {}, "status": status}
    assert [pod_of(made, family).address for family in BOTH] == ["10.244.0.3", "fd00:10:244::3"]
    del status["podIPs"]
    assert pod_of(made, IPV6) is None


@pytest.fixture(scope="module")
def lab():
    with Lab("shirube-npn", (("tcp", 80), ("udp", 53))) as made:
        made.machine("a", "10.244.0.10")
        made.machine("b", "10.244.0.11")
        yield made


TO_POD = Probe("node", "10.244.0.10", "tcp", 80)
TO_NODE = Probe("a", NODE_ADDRESS, "tcp", 80, "10.244.0.10")
TO_DNS = Probe("a", NODE_ADDRESS, "udp", 53, "10.244.0.10")
TO_OTHER = Probe("a", "10.244.0.11", "tcp", 80, "10.244.0.10")


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("policies", "reached"),
    [
        ([], {TO_POD, TO_NODE, TO_DNS, TO_OTHER}),
        ([DENY_ALL], {TO_POD, TO_NODE}),
        ([DENY_ALL, DNS_ONLY], {TO_POD, TO_NODE, TO_DNS}),
        ([policy(policyTypes=["Egress"], egress=[{"ports": [{"protocol": "UDP", "port": 53}]}])],
         {TO_POD, TO_NODE, TO_DNS}),
    ],
    ids=["none", "deny", "dns", "port-53"],
)  # fmt: skip
def test_the_node_and_dns(lab, policies, reached):
    nft(lab.node, contents(*policies).table.script())
    assert lab.reached([TO_POD, TO_NODE, TO_DNS, TO_OTHER]).keys() == reached
