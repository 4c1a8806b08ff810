"""Every combination of generated policies, pods, protocols and ports, with real packets of both address families,
against the model."""

from __future__ import annotations

import random
import socket

import pytest
from tests.network.lab import NODE_ADDRESS, NODE_ADDRESS_6, Lab, Probe, has_sctp, inside, nft
from tests.network.policy import model

from shirube.foundation import conntrack
from shirube.network.policy.compile import Pod
from shirube.network.policy.main import PolicyTable

pytestmark = pytest.mark.cluster

NAMESPACES = {"x": {"team": "red", "kubernetes.io/metadata.name": "x"}, "y": {"team": "blue"}}
PORTS = (("tcp", 80), ("tcp", 81), ("udp", 80), ("udp", 81)) + ((("sctp", 80),) if has_sctp() else ())
NODE, ELSEWHERE = "here", "there"


def pod(namespace, name, address, node=NODE, web=80, **labels):
    named = (("web", "tcp", web), ("web", "udp", 80), ("talk", "sctp", 80))
    return {
        "namespace": namespace,
        "name": name,
        "labels": {"app": name, **labels},
        "address": address,
        "node": node,
        "ports": named,
    }


SIX = {"10.244.0": "fd00:10:244::", "10.244.1": "fd00:10:244:1::", "192.0.2": "2001:db8::"}


def six(address):
    """The IPv6 address of the machine that has this IPv4 address."""
    prefix, last = address.rsplit(".", 1)
    return SIX[prefix] + last


PODS = {
    p["address"]: p
    for p in (
        pod("x", "a", "10.244.0.10", tier="front"),
        pod("x", "b", "10.244.0.11"),
        pod("x", "c", "10.244.0.12", web=81),
        pod("y", "a", "10.244.0.20"),
        pod("y", "b", "10.244.0.21", tier="front"),
        pod("y", "c", "10.244.1.5", node=ELSEWHERE, web=81),
    )
}
PODS |= {six(address): p for address, p in PODS.items()}
OUTSIDE = tuple(a for four in ("10.244.1.5", "192.0.2.5", "192.0.2.77") for a in (four, six(four)))
SCENARIOS = 150


def chosen(chance, options, most):
    return chance.sample(options, chance.randint(1, most))


def a_selector(chance, labels):
    key = chance.choice(labels)
    return chance.choice(
        [
            {},
            {"matchLabels": {key[0]: key[1]}},
            {"matchExpressions": [{"key": key[0], "operator": "In", "values": [key[1], "other"]}]},
            {"matchExpressions": [{"key": key[0], "operator": "NotIn", "values": [key[1]]}]},
            {"matchExpressions": [{"key": key[0], "operator": chance.choice(["Exists", "DoesNotExist"])}]},
        ]
    )


def a_peer(chance):
    pods = a_selector(chance, [("app", "a"), ("app", "b"), ("app", "c"), ("tier", "front")])
    namespaces = a_selector(chance, [("team", "red"), ("team", "blue")])
    blocks = [
        {"cidr": "0.0.0.0/0"},
        {"cidr": "0.0.0.0/0", "except": ["192.0.2.64/26", "10.244.0.10/32"]},
        {"cidr": "10.244.0.0/16", "except": ["10.244.0.16/28"]},
        {"cidr": "192.0.2.0/24", "except": ["192.0.2.0/25"]},
        {"cidr": "10.244.0.11/32"},
        {"cidr": "192.0.2.0/24"},
        {"cidr": "::/0"},
        {"cidr": "::/0", "except": ["2001:db8::70/124", "fd00:10:244::10/128"]},
        {"cidr": "fd00:10:244::/56", "except": ["fd00:10:244::20/124"]},
        {"cidr": "2001:db8::/64", "except": ["2001:db8::/122"]},
        {"cidr": "fd00:10:244::11/128"},
    ]
    return chance.choice(
        [
            {"podSelector": pods},
            {"namespaceSelector": namespaces},
            {"namespaceSelector": namespaces, "podSelector": pods},
            {"ipBlock": chance.choice(blocks)},
        ]
    )


def a_port(chance):
    return chance.choice(
        [
            {"port": 80},
            {"protocol": "UDP", "port": 81},
            {"protocol": "UDP"},
            {"protocol": "TCP", "port": 80, "endPort": 90},
            {"protocol": "TCP", "port": 1, "endPort": 80},
            {"protocol": "TCP", "port": "web"},
            {"protocol": "UDP", "port": "web"},
            {"protocol": "SCTP", "port": "talk"},
            {"protocol": "SCTP", "port": 80},
            {},
        ]
    )


def a_policy(chance, number):
    def rules(peers):
        made = []
        for _ in range(chance.randint(0, 2)):
            rule = {}
            if chance.random() < 0.8:
                rule[peers] = [a_peer(chance) for _ in range(chance.randint(1, 2))]
            if chance.random() < 0.6:
                rule["ports"] = [a_port(chance) for _ in range(chance.randint(1, 2))]
            made.append(rule)
        return made

    types = chosen(chance, ["Ingress", "Egress"], 2)
    selector = a_selector(chance, [("app", "a"), ("app", "b"), ("tier", "front")])
    spec = {"podSelector": selector, "policyTypes": types, "ingress": rules("from"), "egress": rules("to")}
    return {"metadata": {"namespace": chance.choice(["x", "y"]), "name": f"p{number}"}, "spec": spec}


def expected(probe, policies):
    source, target = PODS.get(probe.source_address), PODS.get(probe.address)
    if probe.source_address == probe.address:
        return True
    what = (probe.protocol, probe.port, target, policies, NAMESPACES)
    if source and source["node"] == NODE and not model.direction_allows("Egress", source, target, probe.address, *what):
        return False
    return not (
        target
        and target["node"] == NODE
        and not model.direction_allows("Ingress", target, source, probe.source_address, *what)
    )


def machine_of(address):
    return "outside" if address in OUTSIDE else "pod" + address.replace(":", ".").split(".")[-1]


def probes():
    everybody = sorted({*PODS, *OUTSIDE})
    return [
        Probe(machine_of(source), target, protocol, port, source)
        for source in everybody
        for target in everybody
        if not (source in OUTSIDE and target in OUTSIDE) and (":" in source) == (":" in target)
        for protocol, port in PORTS
    ]


@pytest.fixture(scope="module")
def lab():
    with Lab("shirube-np", PORTS) as made:
        for address, p in PODS.items():
            if p["node"] == NODE and ":" not in address:
                made.machine(machine_of(address), address, six(address))
        made.machine("outside", *OUTSIDE)
        yield made


def as_pod(p, address):
    return Pod(p["namespace"], p["name"], tuple(sorted(p["labels"].items())), address, p["node"], p["ports"])


def test_generated_policies_allow_exactly_what_the_model_allows(lab):
    chance = random.Random(20240601)
    families = [PolicyTable(NODE, a) for a in (NODE_ADDRESS, NODE_ADDRESS_6)]
    for contents in families:
        for name, labels in NAMESPACES.items():
            contents.set_namespace(name, labels)
        for address in contents.family.among(sorted(PODS)):
            p = PODS[address]
            contents.set_pod(f"{p['namespace']}/{p['name']}", as_pod(p, address))
    everything = probes()
    assert lab.reached(everything).keys() == set(everything), "the lab itself does not let everything through"
    applied: set[str] = set()
    checked = denied = 0
    for scenario in range(SCENARIOS):
        policies = [a_policy(chance, number) for number in range(chance.randint(1, 3))]
        wanted = {f"{p['metadata']['namespace']}/{p['metadata']['name']}": p for p in policies}
        for contents in families:
            for key in sorted(applied - wanted.keys()):
                contents.set_policy(key, None)
            for key, policy in wanted.items():
                contents.set_policy(key, policy)
        applied = set(wanted)
        if script := "".join(contents.table.script() for contents in families):
            nft(lab.node, script)
        for contents in families:
            contents.table.settle()
        with inside(lab.node):
            conntrack.flush()
            conntrack.flush(socket.AF_INET6)
        some = chance.sample(everything, 160)
        allowed = {p for p in some if expected(p, list(wanted.values()))}
        reached = set(lab.reached(some))
        assert not reached - allowed, f"scenario {scenario}: came through: {reached - allowed}\n{policies}"
        for _ in range(3):  # a busy machine may be late; what is denied stays denied
            if missing := allowed - reached:
                reached |= lab.reached(missing).keys()
        assert not allowed - reached, f"scenario {scenario}: did not come through: {allowed - reached}\n{policies}"
        checked += len(some)
        denied += len(some) - len(allowed)
    assert denied > checked / 10 and denied < checked * 9 / 10, f"a poor matrix: {denied} of {checked} denied"
