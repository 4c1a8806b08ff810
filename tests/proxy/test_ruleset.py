"""The rules as text, and whether a kernel takes every change and ends where a fresh start ends."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.network.lab import Lab, nft, run

from shirube.proxy import ruleset
from shirube.proxy.endpoints import ServicePort

PODS = "10.244.0.0/16"
TABLE = "ip shirube_proxy"
TWO = (("10.244.0.2", 8080), ("10.244.0.3", 8080))
WEB = ServicePort(
    namespace="default",
    name="web",
    port_name="http",
    protocol="tcp",
    cluster_ip="10.96.0.7",
    port=80,
    node_port=30080,
    internal=TWO,
    everywhere=TWO,
    here=TWO,
)


def put(table, *ports):
    wanted = {}
    for port in ports:
        wanted.setdefault(f"{port.namespace}/{port.name}", []).append(port)
    for owner in [o for o in table.owners() if o not in wanted]:
        table.put(owner, None)
    for owner, listed in wanted.items():
        table.put(owner, ruleset.fragment(listed, PODS))


def programmed(*ports):
    table = ruleset.table(PODS)
    put(table, *ports)
    table.settle()
    return table


def test_nothing_changed_is_no_transaction():
    table = programmed(WEB)
    put(table, replace(WEB))
    assert table.script() == ""


def test_one_endpoint_more_touches_one_chain_and_one_element():
    more = (*TWO, ("10.244.0.4", 8080))
    table = programmed(WEB)
    put(table, replace(WEB, internal=more, everywhere=more, here=more))
    lines = table.script().splitlines()
    assert len(lines) == 3
    assert sum("hairpin" in line for line in lines) == 1


def test_a_service_inside_only_needs_no_chain():
    inside = replace(WEB, node_port=0)
    table = programmed(inside)
    more = (*TWO, ("10.244.0.4", 8080))
    put(table, replace(inside, internal=more, everywhere=more, here=TWO))
    assert sorted(table.script().splitlines()) == [
        f"add element {TABLE} endpoints {{ 10.96.0.7 . tcp . 80 . 2 : 10.244.0.4 . 8080 }}",
        f"add element {TABLE} services {{ 10.96.0.7 . tcp . 80 : goto pick-3 }}",
        f"delete element {TABLE} services {{ 10.96.0.7 . tcp . 80 }}",
    ]


def test_a_service_without_endpoints_is_refused():
    wanted = ruleset.fragment([replace(WEB, internal=(), everywhere=(), here=())], PODS)
    assert wanted.elements["refused"] == {"10.96.0.7 . tcp . 80": ""}
    assert wanted.elements["refused_node_ports"] == {"tcp . 30080": ""}
    assert wanted.chains == {}


def test_of_two_services_with_one_address_the_first_by_name_wins_whatever_came_first():
    other = replace(WEB, name="zzz", node_port=30081)
    one, two = programmed(WEB, other), programmed(other, WEB)
    put(one, WEB)
    put(two, WEB)
    assert "10.96.0.7 . tcp" not in one.script() and "10.96.0.7 . tcp" not in two.script()


endpoints = st.sampled_from([(), TWO[:1], TWO])
ports = st.builds(
    ServicePort,
    namespace=st.just("default"),
    name=st.sampled_from(["a", "b", "c"]),
    port_name=st.sampled_from(["", "x"]),
    protocol=st.sampled_from(["tcp", "udp"]),
    cluster_ip=st.sampled_from(["10.96.0.1", "10.96.0.2"]),
    external_ips=st.sampled_from([(), ("198.51.100.1",)]),
    load_balancer_ips=st.sampled_from([(), ("198.51.100.2",)]),
    source_ranges=st.sampled_from([(), ("192.0.2.0/24",)]),
    port=st.sampled_from([80, 443]),
    node_port=st.sampled_from([0, 30080, 30081]),
    internal=endpoints,
    everywhere=endpoints,
    here=endpoints,
    local_external=st.booleans(),
    affinity_seconds=st.sampled_from([0, 10]),
)


@given(st.lists(ports, max_size=5))
def test_no_verdict_points_at_a_chain_that_is_not_there(some):
    wanted = ruleset.fragment(some, PODS)
    for name in ("services", "node_ports"):
        for verdict in wanted.elements.get(name, {}).values():
            chain = verdict.removeprefix("goto ")
            assert chain in wanted.chains or chain in ("pick-1", "pick-2")
    for rules in wanted.chains.values():
        for rule in rules:
            words = rule.split()
            for at, word in enumerate(words):
                if word == "goto":
                    assert words[at + 1].rstrip(",") in wanted.chains


@given(st.lists(st.lists(ports, max_size=4), max_size=5))
def test_steps_lead_where_a_fresh_start_leads(states):
    stepwise = ruleset.table(PODS)
    for state in states:
        put(stepwise, *state)
        stepwise.settle()
    fresh = ruleset.table(PODS)
    put(fresh, *(states[-1] if states else []))
    stepwise.distrust()
    assert sorted(words(stepwise.script())) == sorted(words(fresh.script()))


def words(script):
    return script.replace(",", " ").split()


@pytest.mark.cluster
def test_the_kernel_takes_every_change_and_ends_where_a_fresh_start_ends():
    affinity = replace(WEB, name="sticky", cluster_ip="10.96.0.8", node_port=30081, affinity_seconds=60)
    local = replace(WEB, here=TWO[:1], local_external=True, external_ips=("198.51.100.1",))
    guarded = replace(WEB, load_balancer_ips=("198.51.100.2",), source_ranges=("192.0.2.0/24",))
    none = replace(WEB, internal=(), everywhere=(), here=())
    inside = replace(WEB, name="inside", cluster_ip="10.96.0.9", node_port=0)
    states = [
        [],
        [WEB],
        [WEB, inside],
        [replace(inside, internal=TWO[:1])],
        [WEB],
        [WEB, affinity],
        [local, affinity],
        [none],
        [affinity, guarded],
        [],
    ]
    with Lab("shirube-prt", ()) as lab:
        table = ruleset.table(PODS)
        for state in itertools.chain(states, reversed(states)):
            put(table, *state)
            nft(lab.node, table.script())
            table.settle()
            stepwise = run(lab.node, "nft", "-s", "list", "table", *TABLE.split())
            fresh = ruleset.table(PODS)
            put(fresh, *state)
            nft(lab.node, fresh.script())
            afresh = run(lab.node, "nft", "-s", "list", "table", *TABLE.split())
            assert sorted(words(stepwise)) == sorted(words(afresh))
