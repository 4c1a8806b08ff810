import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scheduler.pods import info, node

from shirube.foundation.chance import Chance
from shirube.scheduler.columns import NodeColumns
from shirube.scheduler.decide import Profile, decide
from shirube.scheduler.preemption import preempt

PROFILE = Profile.default()
HOST = "kubernetes.io/hostname"


def cluster(*nodes):
    columns = NodeColumns()
    for one in nodes:
        columns.set_node(one)
    return columns


def attempt(columns, one, leaving=frozenset()):
    decision = decide(one, columns, Chance(1), PROFILE)
    assert decision.diagnosis is not None, "it fits without preemption"
    found = preempt(one, columns, PROFILE, decision.diagnosis, Chance(1), leaving)
    decision.diagnosis.preemption = found.message
    return found, decision.diagnosis.message


def victims(found):
    return [v.name for v in found.victims]


def budget(allowed, **match):
    return {
        "metadata": {"name": "b", "namespace": "default"},
        "spec": {"selector": {"matchLabels": match}},
        "status": {"disruptionsAllowed": allowed},
    }


def test_the_lowest_priority_goes_and_no_more_than_needed():
    columns = cluster(node("a", cpu="4"))
    for name, priority in (("low", 1), ("lower", 0), ("same", 10)):
        columns.add_pod("a", info(name, cpu="1", priority=priority))
    found, _ = attempt(columns, info(cpu="2", priority=10))
    assert (found.node, victims(found)) == ("a", ["lower"])


def test_of_equals_the_one_that_started_last_goes():
    columns = cluster(node("a", cpu="2"))
    columns.add_pod("a", info("old", cpu="1", status={"startTime": "2026-01-01T00:00:00Z"}))
    columns.add_pod("a", info("new", cpu="1", status={"startTime": "2026-02-01T00:00:00Z"}))
    found, _ = attempt(columns, info(cpu="1", priority=1))
    assert victims(found) == ["new"]


@pytest.mark.parametrize(
    ("first", "second", "chosen"),
    [
        ([(5, "")], [(3, "")], "b"),  # the lowest highest victim
        ([(3, ""), (3, "")], [(3, "")], "b"),  # the fewest
        ([(3, "2026-01-01T00:00:00Z")], [(3, "2026-02-01T00:00:00Z")], "b"),  # the latest started
    ],
)
def test_the_node_where_least_is_lost(first, second, chosen):
    columns = cluster(node("a", cpu="2"), node("b", cpu="2"))
    for name, pods in (("a", first), ("b", second)):
        for priority, started in pods:
            status = {"startTime": started} if started else {}
            columns.add_pod(name, info(cpu=f"{2 // len(pods)}", priority=priority, status=status))
    found, _ = attempt(columns, info(cpu="2", priority=10))
    assert found.node == chosen


def test_a_budget_is_broken_only_where_nothing_else_helps():
    columns = cluster(node("a", cpu="1"), node("b", cpu="1"))
    columns.around.budgets["default/b"] = budget(0, app="kept")
    columns.add_pod("a", info("kept", cpu="1", labels={"app": "kept"}))
    columns.add_pod("b", info("other", cpu="1", priority=5))
    assert victims(attempt(columns, info(cpu="1", priority=10))[0]) == ["other"]
    columns.remove_node("b")
    assert victims(attempt(columns, info(cpu="1", priority=10))[0]) == ["kept"]


def test_anti_affinity_can_be_resolved_by_evicting():
    columns = cluster(node("a"))
    columns.add_pod("a", info("rival", labels={"app": "web"}))
    columns.add_pod("a", info("bystander"))
    term = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": HOST}
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    found, _ = attempt(columns, info(priority=1, affinity=apart))
    assert victims(found) == ["rival"]
    assert len(columns.rows[columns.index("a")].pods) == 2  # trying changed nothing


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (
            {"cpu": "8", "priority": 10},
            "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: "
            "0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
        ),
        (
            {"cpu": "1"},
            "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: "
            "0/1 nodes are available: 1 No preemption victims found for incoming pod.",
        ),
        (
            {"cpu": "1", "priority": 10, "preemptionPolicy": "Never"},
            "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: "
            "not eligible due to preemptionPolicy=Never.",
        ),
    ],
)
def test_the_message_says_what_preemption_found(one, message):
    columns = cluster(node("a", cpu="4"))
    columns.add_pod("a", info(cpu="4"))
    assert attempt(columns, info(**one)) == (attempt(columns, info(**one))[0], message)


def test_who_has_been_promised_a_place_waits_for_its_victims():
    columns = cluster(node("a", cpu="1"))
    victim, one = info(cpu="1"), info(cpu="1", priority=10)
    columns.add_pod("a", victim)
    columns.nominate("a", one)
    found, message = attempt(columns, one, {victim.uid})
    assert not found.node
    assert message.endswith("not eligible due to a terminating pod on the nominated node.")


def test_a_promised_place_is_not_given_to_somebody_less_important():
    columns = cluster(node("a", cpu="1"))
    promised, other = info(cpu="1", priority=10), info(cpu="1", priority=5)
    columns.nominate("a", promised)
    assert decide(other, columns, Chance(1), PROFILE).node == ""
    assert decide(promised, columns, Chance(1), PROFILE).node == "a"
    assert decide(info(cpu="1", priority=11), columns, Chance(1), PROFILE).node == "a"


def test_two_who_preempt_at_once_take_different_victims():
    columns = cluster(node("a", cpu="2"), node("b", cpu="1"))
    for where, name in (("a", "one"), ("a", "two"), ("b", "three")):
        columns.add_pod(where, info(name, cpu="1"))
    chosen = []
    for _ in range(3):  # nobody has left yet
        one = info(cpu="1", priority=10)
        found, _ = attempt(columns, one)
        columns.nominate(found.node, one)
        chosen.append(found)
    assert sorted(f.node for f in chosen) == ["a", "a", "b"]
    found, message = attempt(columns, info(cpu="1", priority=10))
    assert not found.node, message
    found, _ = attempt(columns, info(cpu="1", priority=11))
    assert found.node  # a more important one may


sizes = st.sampled_from(["500m", "1", "2"])
running = st.lists(st.tuples(st.integers(0, 3), sizes, st.integers(0, 5), st.booleans()), max_size=16)


@settings(max_examples=150, deadline=None)
@given(running, sizes, st.integers(0, 6), st.integers(0, 3))
def test_evicting_the_victims_makes_room_and_each_of_them_is_needed(pods, cpu, priority, allowed):
    columns = cluster(*(node(f"n{i}", cpu="2", pods="3") for i in range(4)))
    columns.around.budgets["default/b"] = budget(allowed, app="kept")
    for at, size, of, kept in pods:
        columns.add_pod(f"n{at}", info(cpu=size, priority=of, labels={"app": "kept"} if kept else {}))
    one = info(cpu=cpu, priority=priority)
    decision = decide(one, columns, Chance(1), PROFILE)
    if decision.node:
        return
    found = preempt(one, columns, PROFILE, decision.diagnosis, Chance(1))
    if not found.node:
        return
    assert found.victims
    assert all(v.priority < priority for v in found.victims)
    for victim in found.victims:
        columns.remove_pod(victim.uid)
    assert decide(one, columns, Chance(1), PROFILE).node
    columns.add_pod(found.node, one)
    at = columns.index(found.node)
    assert columns.requested["cpu"][at] <= columns.allocatable["cpu"][at]
    for victim in found.victims:  # none could have stayed
        row_free = columns.allocatable["cpu"][at] - columns.requested["cpu"][at]
        assert victim.requests["cpu"] > row_free or columns.requested["pods"][at] >= columns.allocatable["pods"][at]
