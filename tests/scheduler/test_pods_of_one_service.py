"""What random clusters rarely show: the cluster's default spreading, and required affinity counting in the score."""

import pytest
from tests.scheduler.pods import info, node

from shirube.foundation.chance import Chance
from shirube.scheduler.columns import NodeColumns
from shirube.scheduler.decide import Profile, decide

PROFILE = Profile.default()
WEB = {"app": "web"}


def columns():
    made = NodeColumns()
    for name in ("a", "b", "c"):
        made.set_node(node(name, labels={"topology.kubernetes.io/zone": name}))
    return made


def owned(name="web-1"):
    return [{"kind": "ReplicaSet", "name": name, "controller": True}]


@pytest.mark.parametrize("by", ["service", "owner"])
def test_replicas_spread_by_default(by):
    made = columns()
    if by == "service":
        service = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"selector": WEB}}
        made.around.set_service(service)
    else:
        owner = {"metadata": {"name": "web-1", "namespace": "default"}, "spec": {"selector": {"matchLabels": WEB}}}
        made.around.set_owner("ReplicaSet", owner)
    chosen = []
    for _ in range(6):
        one = info(labels=WEB, cpu="10m", ownerReferences=owned())
        chosen.append(decide(one, made, Chance(3), PROFILE).node)
        made.add_pod(chosen[-1], one)
    assert sorted(chosen) == ["a", "a", "b", "b", "c", "c"]


def test_who_requires_company_attracts_it():
    made = columns()
    term = {"labelSelector": {"matchLabels": WEB}, "topologyKey": "topology.kubernetes.io/zone"}
    near = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    made.add_pod("b", info(affinity=near, labels=WEB))
    for seed in range(5):
        assert decide(info(labels=WEB), made, Chance(seed), PROFILE).node == "b"


def test_a_resize_in_progress_holds_the_larger_amount():
    status = {"containerStatuses": [{"name": "c", "resources": {"requests": {"cpu": "3"}}}]}
    assert info(cpu="1", status=status).requests["cpu"] == 3000
    assert info(cpu="4", status=status).requests["cpu"] == 4000


def test_nonsense_amounts_stay_within_bounds():
    made = columns()
    huge = info(cpu="9" * 40)
    assert decide(huge, made, Chance(1), PROFILE).node == ""
    for _ in range(50):
        made.add_pod("a", info(cpu="9" * 40, memory="9" * 60))
    assert (made.requested["cpu"] >= 0).all()
    assert decide(info(cpu="1"), made, Chance(1), PROFILE).node in ("b", "c")


def test_a_thousand_terms():
    made = columns()
    terms = [
        {"labelSelector": {"matchLabels": {"app": f"x{i}"}}, "topologyKey": "kubernetes.io/hostname"}
        for i in range(1000)
    ]
    one = info(affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}})
    made.add_pod("a", info(labels={"app": "x999"}))
    assert decide(one, made, Chance(1), PROFILE).node in ("b", "c")
