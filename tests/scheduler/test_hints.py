"""An event wakes only pods that it can help."""

import pytest
from tests.scheduler.pods import info, node

from shirube.scheduler.columns import NodeColumns
from shirube.scheduler.decide import Profile, diagnose
from shirube.scheduler.hints import (
    CLAIM,
    DEVICES,
    HINTS,
    NODE,
    NODE_REMOVED,
    NOMINATION,
    POD_ASSIGNED,
    POD_REMOVED,
    STORAGE,
    Event,
    helps,
)
from shirube.scheduler.plugins import FILTERS

PROFILE = Profile.default()
HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
WEB = {"matchLabels": {"app": "web"}}
SPREAD = {"topologyKey": HOST, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": WEB}


def affinity(kind):
    term = {"labelSelector": WEB, "topologyKey": HOST}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def refused(one, columns):
    return diagnose(one, columns, PROFILE).plugins


def test_every_hint_is_of_a_plugin():
    assert set(HINTS) <= {kind.name for kind in FILTERS}


def test_room_must_be_enough():
    columns = NodeColumns()
    columns.set_node(node("a", cpu="2"))
    small, rest = info(cpu="500m"), info(cpu="1500m")
    for one in (small, rest):
        columns.add_pod("a", one)
    waiting = info(cpu="1")
    by = refused(waiting, columns)
    columns.remove_pod(small.uid)
    assert not helps(waiting, by, Event(POD_REMOVED, columns.index("a"), small), columns, PROFILE)
    columns.remove_pod(rest.uid)
    assert helps(waiting, by, Event(POD_REMOVED, columns.index("a"), rest), columns, PROFILE)


@pytest.mark.parametrize(("labels", "woken"), [({"disk": "hdd"}, False), ({"disk": "ssd"}, True)])
def test_a_node_must_have_what_was_missing(labels, woken):
    columns = NodeColumns()
    columns.set_node(node("a"))
    waiting = info(nodeSelector={"disk": "ssd"})
    by = refused(waiting, columns)
    columns.set_node(node("b", labels=labels))
    assert helps(waiting, by, Event(NODE, columns.index("b")), columns, PROFILE) is woken
    assert not helps(waiting, by, Event(STORAGE), columns, PROFILE)


@pytest.mark.parametrize(("app", "woken"), [("web", True), ("db", False)])
def test_only_a_rival_that_leaves_or_a_friend_that_comes(app, woken):
    columns = NodeColumns()
    columns.set_node(node("a"))
    apart, near = info(affinity=affinity("podAntiAffinity")), info(affinity=affinity("podAffinity"))
    by = frozenset(["InterPodAffinity"])
    other = info(labels={"app": app})
    assert helps(apart, by, Event(POD_REMOVED, 0, other), columns, PROFILE) is woken
    assert not helps(apart, by, Event(POD_ASSIGNED, 0, other), columns, PROFILE)
    assert helps(near, by, Event(POD_ASSIGNED, 0, other), columns, PROFILE) is woken
    assert not helps(near, by, Event(POD_REMOVED, 0, other), columns, PROFILE)
    spread = info(labels={"app": "web"}, topologySpreadConstraints=[SPREAD])
    assert helps(spread, frozenset(["PodTopologySpread"]), Event(POD_REMOVED, 0, other), columns, PROFILE) is woken


def test_a_host_port_must_come_free():
    def on(port):
        return info(containers=[{"name": "c", "ports": [{"containerPort": 1, "hostPort": port}]}])

    columns, by = NodeColumns(), frozenset(["NodePorts"])
    assert helps(on(80), by, Event(POD_REMOVED, 0, on(80)), columns, PROFILE)
    assert not helps(on(80), by, Event(POD_REMOVED, 0, on(81)), columns, PROFILE)


def test_without_any_node_only_a_node_helps():
    columns = NodeColumns()
    assert helps(info(), frozenset(), Event(NODE, 0), columns, PROFILE)
    assert not helps(info(), frozenset(), Event(POD_REMOVED, 0, info()), columns, PROFILE)


def using(*claims, **spec):
    return info(volumes=[{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims], **spec)


def claiming(*names):
    return info(resourceClaims=[{"name": n, "resourceClaimName": n} for n in names])


DISK = {"name": "d", "gcePersistentDisk": {"pdName": "disk"}}
ANY = NodeColumns()
HELP = [
    # (who waits, refused by, the event, whether it may help)
    (using("mine"), "VolumeBinding", Event(STORAGE, key="default/mine", table="claims"), True),
    (using("mine"), "VolumeBinding", Event(STORAGE, key="default/other", table="claims"), False),
    (using("mine"), "VolumeBinding", Event(STORAGE, key="elsewhere/mine", table="claims"), False),
    (using("mine"), "VolumeBinding", Event(STORAGE, key="pv", table="volumes"), True),
    (using("mine"), "VolumeZone", Event(STORAGE, key="default/other", table="claims"), False),
    (using("mine"), "VolumeZone", Event(STORAGE, key="slow", table="classes"), True),
    (using("mine"), "VolumeRestrictions", Event(POD_REMOVED, 0, using("mine")), True),
    (using("mine"), "VolumeRestrictions", Event(POD_REMOVED, 0, using("other")), False),
    (using("mine"), "VolumeRestrictions", Event(POD_REMOVED, 0, using("mine", namespace="other")), False),
    (info(volumes=[DISK]), "VolumeRestrictions", Event(POD_REMOVED, 0, info(volumes=[DISK])), True),
    (using("mine"), "NodeVolumeLimits", Event(POD_REMOVED, 0, using("other")), True),
    (using("mine"), "NodeVolumeLimits", Event(POD_REMOVED, 0, info()), False),
    (using("mine"), "NodeVolumeLimits", Event(STORAGE, key="a", table="csi_nodes"), True),
    (using("mine"), "NodeVolumeLimits", Event(STORAGE, key="default/other", table="claims"), False),
    (info(topologySpreadConstraints=[SPREAD]), "PodTopologySpread", Event(NODE_REMOVED, labels={HOST: "a"}), True),
    (info(topologySpreadConstraints=[SPREAD]), "PodTopologySpread", Event(NODE_REMOVED, labels={}), False),
    (info(cpu="1"), "NodeResourcesFit", Event(NODE_REMOVED, labels={HOST: "a"}), False),
    (info(cpu="1"), "NodeResourcesFit", Event(NOMINATION), True),
    (info(cpu="1"), "NodeResourcesFit", Event(POD_ASSIGNED, 0, info()), False),
    (info(cpu="1"), "NodeResourcesFit", Event(STORAGE, key="pv", table="volumes"), False),
    (info(cpu="1"), "NodeResourcesFit", Event(DEVICES), False),
    (claiming("c"), "DynamicResources", Event(CLAIM, key="default/c"), True),
    (claiming("c"), "DynamicResources", Event(CLAIM, key="default/other"), False),
    (claiming("c"), "DynamicResources", Event(CLAIM, key="default/other", freed=True), True),
    (claiming("c"), "DynamicResources", Event(DEVICES), True),
    (claiming("c"), "DynamicResources", Event(POD_REMOVED, 0, info()), False),
    (info(nodeSelector={"disk": "ssd"}), "NodeAffinity", Event(POD_REMOVED, 0, info()), False),
    (info(), "TaintToleration", Event(STORAGE, key="pv", table="volumes"), False),
    (info(), "NodeUnschedulable", Event(POD_REMOVED, 0, info()), False),
]


@pytest.mark.parametrize(("waiting", "by", "event", "woken"), HELP, ids=[f"{h[1]}-{h[2].kind}-{h[3]}" for h in HELP])
def test_each_plugins_hints(waiting, by, event, woken):
    assert helps(waiting, frozenset([by]), event, ANY, PROFILE) is woken
