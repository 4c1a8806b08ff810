import pytest
from tests.scheduler.pods import info, node

from shirube.foundation.chance import Chance
from shirube.scheduler.columns import NodeColumns
from shirube.scheduler.decide import Profile, decide
from shirube.scheduler.plugins.volume_binding import VolumeBinding
from shirube.scheduler.reserving import give_back, reserve

ZONE = "topology.kubernetes.io/zone"
DONE = {"pv.kubernetes.io/bind-completed": "yes"}
PROFILE = Profile.default()


def columns():
    made = NodeColumns()
    for name, zone in (("a", "z1"), ("b", "z2")):
        made.set_node(node(name, labels={ZONE: zone}))
    return made


def claim(made, name="data", *, volume="", kind="late", modes=("ReadWriteOnce",), size="1Gi"):
    spec = {"accessModes": list(modes), "storageClassName": kind, "resources": {"requests": {"storage": size}}}
    if volume:
        spec["volumeName"] = volume
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}", "annotations": DONE if volume else {}}
    made.around.claims[f"default/{name}"] = {"metadata": metadata, "spec": spec, "status": {}}


def volume(made, name, *, zone="", labels=None, kind="late", size="1Gi", csi=None, phase="Available"):
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": kind, "capacity": {"storage": size}}
    if zone:
        term = {"matchExpressions": [{"key": ZONE, "operator": "In", "values": [zone]}]}
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [term]}}
    if csi:
        spec["csi"] = {"driver": csi, "volumeHandle": name}
    metadata = {"name": name, "labels": labels or {}}
    made.around.volumes[name] = {"metadata": metadata, "spec": spec, "status": {"phase": phase}}


def storage_class(made, name="late", *, provisioner="example.com/p", mode="WaitForFirstConsumer", **more):
    made.around.classes[name] = {
        "metadata": {"name": name},
        "provisioner": provisioner,
        "volumeBindingMode": mode,
        **more,
    }


def user(*claims, **spec):
    return info(volumes=[{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims], **spec)


def placed(made, one):
    return decide(one, made, Chance(1), PROFILE)


def test_a_bound_claim_goes_where_its_volume_is():
    made = columns()
    volume(made, "pv", zone="z2")
    claim(made, volume="pv")
    assert placed(made, user("data")).node == "b"
    decision = placed(made, user("data", nodeSelector={ZONE: "z1"}))
    assert "1 node(s) didn't match PersistentVolume's node affinity" in decision.message


def test_a_volumes_zone_label():
    made = columns()
    volume(made, "pv", labels={ZONE: "z1"})
    claim(made, volume="pv")
    assert placed(made, user("data")).node == "a"
    decision = placed(made, user("data", nodeSelector={ZONE: "z2"}))
    assert "1 node(s) had no available volume zone" in decision.message


@pytest.mark.parametrize(
    ("mode", "there", "message"),
    [
        ("Immediate", True, "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
        ("Immediate", False, '0/2 nodes are available: persistentvolumeclaim "data" not found.'),
    ],
)
def test_no_node_will_do_until_the_claim_is_bound(mode, there, message):
    made = columns()
    storage_class(made, mode=mode)
    if there:
        claim(made)
    decision = placed(made, user("data"))
    assert decision.message == message
    assert decision.diagnosis.plugins == {"VolumeBinding"}


def test_a_claim_that_waits_takes_the_smallest_free_volume_in_reach():
    made = columns()
    storage_class(made, provisioner="kubernetes.io/no-provisioner")
    claim(made)
    volume(made, "large", zone="z2", size="9Gi")
    volume(made, "small", zone="z2", size="2Gi")
    volume(made, "tiny", zone="z1", size="1Mi")
    decision = placed(made, user("data"))
    assert decision.node == "b"
    plan = VolumeBinding().plan(user("data"), made, made.index("b"))
    assert (plan.bind, plan.provision) == ((("data", "small"),), ())


def test_two_claims_do_not_share_one_volume():
    made = columns()
    storage_class(made, provisioner="kubernetes.io/no-provisioner")
    claim(made, "one")
    claim(made, "two")
    volume(made, "pv", zone="z2")
    assert placed(made, user("one", "two")).node == ""
    volume(made, "more", zone="z2")
    assert placed(made, user("one", "two")).node == "b"


def test_provisioning_follows_topology_and_room():
    made = columns()
    topology = [{"matchLabelExpressions": [{"key": ZONE, "values": ["z1"]}]}]
    storage_class(made, allowedTopologies=topology)
    claim(made)
    assert placed(made, user("data")).node == "a"
    assert VolumeBinding().plan(user("data"), made, made.index("a")).provision == ("data",)
    made.around.csi_drivers["example.com/p"] = {"metadata": {"name": "p"}, "spec": {"storageCapacity": True}}
    assert "did not have enough free storage" in placed(made, user("data")).message
    made.around.capacities["x"] = {
        "metadata": {"name": "x"},
        "storageClassName": "late",
        "nodeTopology": {"matchLabels": {ZONE: "z1"}},
        "capacity": "5Gi",
    }
    assert placed(made, user("data")).node == "a"


def test_a_claim_for_one_pod_only():
    made = columns()
    volume(made, "pv")
    claim(made, volume="pv", modes=["ReadWriteOncePod"])
    first = user("data")
    made.add_pod("a", first)
    decision = placed(made, user("data"))
    assert decision.node == ""
    assert "ReadWriteOncePod" in decision.message
    made.remove_pod(first.uid)
    assert placed(made, user("data")).node


def test_no_more_volumes_than_a_node_attaches():
    made = columns()
    for name in ("one", "two"):
        volume(made, f"pv-{name}", zone="z1", csi="example.com/p")
        claim(made, name, volume=f"pv-{name}")
    driver = {"name": "example.com/p", "allocatable": {"count": 1}}
    made.around.csi_nodes["a"] = {"metadata": {"name": "a"}, "spec": {"drivers": [driver]}}
    made.add_pod("a", user("one"))
    assert "1 node(s) exceed max volume count" in placed(made, user("two")).message
    assert placed(made, user("one")).node == "a"  # attached already


def test_volumes_on_their_way_are_not_given_twice():
    made = columns()
    storage_class(made, provisioner="kubernetes.io/no-provisioner")
    for name in ("one", "two"):
        claim(made, name)
    volume(made, "pv", size="2Gi")
    first = user("one")
    plan = reserve(first, made, "a", PROFILE, Chance(1))
    assert plan.volumes.bind == (("one", "pv"),)
    assert "2 node(s) didn't find available persistent volumes to bind" in placed(made, user("two")).message
    give_back(first, made, plan)
    assert placed(made, user("two")).node


def test_a_claim_whose_volume_is_being_made_keeps_its_pods_together():
    made = columns()
    storage_class(made)
    claim(made, "shared")
    first = user("shared")
    plan = reserve(first, made, "b", PROFILE, Chance(1))
    assert plan.volumes.provision == ("shared",)
    assert {placed(made, user("shared")).node for _ in range(5)} == {"b"}
    give_back(first, made, plan)
    made.around.claims["default/shared"]["metadata"]["annotations"] = {"volume.kubernetes.io/selected-node": "a"}
    assert {placed(made, user("shared")).node for _ in range(5)} == {"a"}
