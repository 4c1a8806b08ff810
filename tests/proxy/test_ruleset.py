"""The rules as text, and in a real kernel: a network namespace with a client, a node and two servers."""

import itertools
import subprocess
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shirube.proxy import ruleset
from shirube.proxy.endpoints import ServicePort

WEB = ServicePort(
    namespace="default",
    name="web",
    port_name="http",
    protocol="tcp",
    cluster_ip="10.96.0.7",
    external_ips=(),
    port=80,
    node_port=30080,
    internal=(("10.244.0.2", 8080), ("10.244.0.3", 8080)),
    external=(("10.244.0.2", 8080), ("10.244.0.3", 8080)),
    local_external=False,
    affinity_seconds=0,
)


def test_nothing_changed_is_no_transaction():
    rules = ruleset.build([WEB])
    assert ruleset.transaction(rules, ruleset.build([WEB])) == ""


def test_one_endpoint_more_touches_one_chain_and_one_element():
    more = replace(WEB, internal=(*WEB.internal, ("10.244.0.4", 8080)), external=(*WEB.external, ("10.244.0.4", 8080)))
    lines = ruleset.transaction(ruleset.build([WEB]), ruleset.build([more])).splitlines()
    assert len(lines) == 3
    assert sum("hairpin" in line for line in lines) == 1


def test_a_service_without_endpoints_is_refused():
    rules = ruleset.build([replace(WEB, internal=(), external=())])
    assert rules.elements["refused"] == {"10.96.0.7 . tcp . 80": ""}
    assert rules.elements["refused_node_ports"] == {"tcp . 30080": ""}
    assert rules.chains == {}


ports = st.builds(
    ServicePort,
    namespace=st.just("default"),
    name=st.sampled_from(["a", "b", "c"]),
    port_name=st.sampled_from(["", "x"]),
    protocol=st.sampled_from(["tcp", "udp"]),
    cluster_ip=st.sampled_from(["10.96.0.1", "10.96.0.2"]),
    external_ips=st.sampled_from([(), ("198.51.100.1",)]),
    port=st.sampled_from([80, 443]),
    node_port=st.sampled_from([0, 30080, 30081]),
    internal=st.sampled_from([(), (("10.244.0.2", 1),), (("10.244.0.2", 1), ("10.244.0.3", 2))]),
    external=st.sampled_from([(), (("10.244.0.2", 1),), (("10.244.0.2", 1), ("10.244.0.3", 2))]),
    local_external=st.booleans(),
    affinity_seconds=st.sampled_from([0, 10]),
)


@given(st.lists(ports, max_size=5))
def test_no_verdict_points_at_a_chain_that_is_not_there(some):
    rules = ruleset.build(some)
    for name in ("services", "node_ports"):
        for verdict in rules.elements[name].values():
            assert verdict.removeprefix("goto ") in rules.chains


@pytest.fixture
def namespace():
    name = "shirube-test-proxy"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield name
    subprocess.run(["ip", "netns", "del", name], check=True)


def nft(namespace, *arguments, script=None):
    command = ["nsenter", f"--net=/run/netns/{namespace}", "nft", *arguments]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}\n{script}"
    return done.stdout


@pytest.mark.cluster
def test_the_kernel_takes_every_change_and_ends_where_a_fresh_start_ends(namespace):
    affinity = replace(WEB, name="sticky", cluster_ip="10.96.0.8", node_port=30081, affinity_seconds=60)
    local = replace(WEB, external=(("10.244.0.2", 8080),), local_external=True, external_ips=("198.51.100.1",))
    states = [[], [WEB], [WEB, affinity], [local, affinity], [replace(WEB, internal=(), external=())], [affinity], []]
    old = None
    for new in itertools.chain(states, reversed(states)):
        rules = ruleset.build(new)
        if script := ruleset.transaction(old, rules):
            nft(namespace, "-f", "-", script=script)
        stepwise = nft(namespace, "-s", "list", "table", *ruleset.TABLE.split())
        nft(namespace, "-f", "-", script=ruleset.transaction(None, rules))
        afresh = nft(namespace, "-s", "list", "table", *ruleset.TABLE.split())
        assert sorted(stepwise.split()) == sorted(afresh.split())
        old = rules
