"""The volume plugins say what the plain reference says, on random claims, volumes, classes and limits."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scheduler.pods import node, pod
from tests.scheduler.reference import volumes as reference

from shirube.foundation.chance import Chance
from shirube.scheduler.columns import NodeColumns
from shirube.scheduler.decide import Profile, decide, feasible
from shirube.scheduler.plugins.volume_binding import VolumeBinding
from shirube.scheduler.pod import read

PROFILE = Profile.default()
NODES = ["n0", "n1", "n2"]
CLASSES = ["late", "static", "now"]
GIB = [f"{n}Gi" for n in (1, 2, 3)]
modes = st.sampled_from([["ReadWriteOnce"], ["ReadWriteOnce", "ReadOnlyMany"], ["ReadWriteOncePod"]])
zones = st.sampled_from(["z1", "z2"])


@st.composite
def nodes(draw):
    found = []
    for name in NODES:
        have = {}
        if draw(st.booleans()):
            have[draw(st.sampled_from([reference.ZONE, "failure-domain.beta.kubernetes.io/zone"]))] = draw(zones)
        found.append(node(name, labels=have))
    return found


@st.composite
def volumes(draw, name):
    spec = {
        "storageClassName": draw(st.sampled_from(CLASSES)),
        "accessModes": draw(modes),
        "capacity": {"storage": draw(st.sampled_from(GIB))},
    }
    if draw(st.booleans()):
        field = {"key": "metadata.name", "operator": "In", "values": draw(st.lists(st.sampled_from(NODES), min_size=1))}
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchFields": [field]}]}}
    if draw(st.booleans()):
        spec["csi"] = {"driver": "d", "volumeHandle": draw(st.sampled_from([name, "shared"]))}
    if draw(st.integers(0, 3)) == 0:
        spec["claimRef"] = {"namespace": "default", "name": draw(st.sampled_from(["c0", "c1", "other"]))}
    if draw(st.integers(0, 4)) == 0:
        spec["volumeMode"] = "Block"
    labels = {}
    if draw(st.integers(0, 2)) == 0:
        key = draw(st.sampled_from([reference.ZONE, "failure-domain.beta.kubernetes.io/zone"]))
        labels[key] = draw(st.sampled_from(["z1", "z1__z2"]))
    phase = draw(st.sampled_from(["Available", "Available", "Released"]))
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": {"phase": phase}}


@st.composite
def claims(draw, name):
    spec = {
        "storageClassName": draw(st.sampled_from([*CLASSES, "unknown"])),
        "accessModes": draw(modes),
        "resources": {"requests": {"storage": draw(st.sampled_from(GIB))}},
    }
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}"}
    if draw(st.booleans()):
        spec["volumeName"] = draw(st.sampled_from(["v0", "v1", "v2", "gone"]))
        metadata["annotations"] = reference.DONE
    elif draw(st.integers(0, 4)) == 0:
        metadata["annotations"] = {"volume.kubernetes.io/selected-node": draw(st.sampled_from(NODES))}
    return {"metadata": metadata, "spec": spec, "status": {}}


@st.composite
def worlds(draw):
    topology = [{"matchLabelExpressions": [{"key": reference.ZONE, "values": [draw(zones)]}]}]
    classes = {
        "late": {"provisioner": "d", "volumeBindingMode": "WaitForFirstConsumer"},
        "static": {"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"},
        "now": {"provisioner": "d", "volumeBindingMode": "Immediate"},
    }
    if draw(st.booleans()):
        classes["late"]["allowedTopologies"] = topology
    return {
        "volumes": {f"v{i}": draw(volumes(f"v{i}")) for i in range(draw(st.integers(0, 4)))},
        "claims": {f"c{i}": draw(claims(f"c{i}")) for i in range(draw(st.integers(1, 3)))},
        "classes": {name: {"metadata": {"name": name}, **kind} for name, kind in classes.items()},
        "csi_nodes": draw(st.dictionaries(st.sampled_from(NODES), st.fixed_dictionaries({"d": st.integers(0, 2)}))),
    }


def user(names):
    return pod(volumes=[{"name": n, "persistentVolumeClaim": {"claimName": n}} for n in names])


users = st.lists(st.sampled_from(["c0", "c1", "c2"]), min_size=1, max_size=2, unique=True).map(user)


def columns_of(world, cluster):
    columns = NodeColumns()
    around = columns.around
    around.volumes.update(world["volumes"])
    around.classes.update(world["classes"])
    around.claims.update({f"default/{name}": c for name, c in world["claims"].items()})
    for name, limits in world["csi_nodes"].items():
        drivers = [{"name": d, "allocatable": {"count": n}} for d, n in limits.items()]
        around.csi_nodes[name] = {"metadata": {"name": name}, "spec": {"drivers": drivers}}
    for made, there in cluster:
        columns.set_node(made)
        for one in there:
            columns.add_pod(made["metadata"]["name"], read(one))
    return columns


def verdict(name, one, made, there, world, cluster):
    everyone = [[p for _, pods in cluster for p in pods]] if name == "VolumeRestrictions" else []
    return reference.FILTERS[name](one, made, there, world, *everyone)


@settings(max_examples=300)
@given(worlds(), nodes(), st.lists(users, max_size=3), users)
def test_each_volume_plugin_and_all_together(world, made, there, one):
    cluster = [(n, [p for i, p in enumerate(there) if i % len(made) == at]) for at, n in enumerate(made)]
    columns, info = columns_of(world, cluster), read(one)
    fitting = set(NODES)
    for plugin in PROFILE.filters:
        if plugin.name not in reference.FILTERS:
            continue
        mine = set(NODES)
        if plugin.applies(info, columns):
            mask = plugin.fits(info, columns)
            mine = set() if plugin.forbids(info, columns) else {n for n in NODES if mask[columns.index(n)]}
        theirs = {n["metadata"]["name"] for n, pods in cluster if verdict(plugin.name, one, n, pods, world, cluster)}
        assert mine == theirs, plugin.name
        fitting &= theirs
    mask = feasible(info, columns, PROFILE)
    assert (set() if mask is None else {n for n in NODES if mask[columns.index(n)]}) == fitting
    chosen = decide(info, columns, Chance(1), PROFILE).node
    assert bool(chosen) == bool(fitting)
    if not chosen:
        return
    plan = next(p for p in PROFILE.filters if isinstance(p, VolumeBinding)).plan(info, columns, columns.index(chosen))
    target = next(n for n in made if n["metadata"]["name"] == chosen)
    assert len({volume for _, volume in plan.bind}) == len(plan.bind)
    for claim, volume in plan.bind:
        assert world["volumes"][volume] in reference.choices(world["claims"][claim], target, world)
    for claim in plan.provision:
        assert reference.can_be_made(world["claims"][claim], target, world)
