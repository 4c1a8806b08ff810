"""Devices are allocated as the brute-force reference says, on random pools and claims."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scheduler.pods import node, pod
from tests.scheduler.reference import devices as reference

from shirube.foundation.chance import Chance
from shirube.scheduler.columns import NodeColumns
from shirube.scheduler.decide import Profile, decide, feasible
from shirube.scheduler.plugins.dynamic_resources import DynamicResources
from shirube.scheduler.pod import read
from shirube.scheduler.reserving import reserve

PROFILE = Profile.default()
PLUGIN = next(p for p in PROFILE.filters if isinstance(p, DynamicResources))
DRIVER = reference.DRIVER
NODES = [node(f"n{i}", labels={"rack": f"r{i % 2}"}) for i in range(3)]
GIB = [f"{n}Gi" for n in (1, 2, 4)]
selector_lists = st.lists(st.sampled_from(sorted(reference.SELECTORS)), max_size=1).map(
    lambda texts: [{"cel": {"expression": t}} for t in texts]
)
rack = st.sampled_from(["r0", "r1"]).map(
    lambda r: {"nodeSelectorTerms": [{"matchExpressions": [{"key": "rack", "operator": "In", "values": [r]}]}]}
)
places = st.one_of(
    st.sampled_from([n["metadata"]["name"] for n in NODES]).map(lambda n: {"nodeName": n}),
    st.just({"allNodes": True}),
    rack.map(lambda s: {"nodeSelector": s}),
)


@st.composite
def device(draw, name, counters):
    made = {"name": name, "attributes": {}, "capacity": {"memory": {"value": draw(st.sampled_from(GIB))}}}
    if draw(st.booleans()):
        made["attributes"]["model"] = {"string": draw(st.sampled_from(["a", "b"]))}
    if draw(st.integers(0, 4)):
        made["attributes"][f"{DRIVER}/numa"] = {"int": draw(st.integers(0, 1))}
    if draw(st.integers(0, 3)) == 0:
        effect = draw(st.sampled_from(["NoSchedule", "NoExecute", "None"]))
        made["taints"] = [{"key": "broken", "value": draw(st.sampled_from(["", "x"])), "effect": effect}]
    if draw(st.integers(0, 3)) == 0:
        made["allowMultipleAllocations"] = True
        if draw(st.booleans()):
            made["capacity"]["memory"]["requestPolicy"] = {"default": "1Gi", "validValues": ["1Gi", "2Gi"]}
    if counters and draw(st.integers(0, 3)):
        used = {"slots": {"value": str(draw(st.integers(1, 2)))}}
        made["consumesCounters"] = [{"counterSet": "card", "counters": used}]
    return made


@st.composite
def slices(draw):
    found = []
    for number in range(draw(st.integers(0, 3))):
        each, counters = draw(st.integers(0, 4)) == 0, draw(st.booleans())
        spec = {"driver": DRIVER, "pool": {"name": f"p{number}", "generation": 1, "resourceSliceCount": 1}}
        names = [f"d{i}" for i in range(draw(st.integers(0, 3)))]
        spec["devices"] = [draw(device(name, counters)) for name in names]
        if each:
            spec["perDeviceNodeSelection"] = True
            for one in spec["devices"]:
                one |= draw(places)
        else:
            spec |= draw(places)
        if counters:
            spec["sharedCounters"] = [{"name": "card", "counters": {"slots": {"value": "2"}}}]
        if draw(st.integers(0, 9)) == 0:
            spec["pool"]["resourceSliceCount"] = 2
        found.append({"metadata": {"name": f"s{number}"}, "spec": spec})
        if draw(st.integers(0, 9)) == 0:  # what a driver has replaced
            old = {**spec, "pool": {**spec["pool"], "generation": 0}}
            found.append({"metadata": {"name": f"s{number}-old"}, "spec": old})
    return found


@st.composite
def exact(draw, constrained):
    made = {"deviceClassName": draw(st.sampled_from(["any", "fast"])), "selectors": draw(selector_lists)}
    if not constrained and draw(st.integers(0, 3)) == 0:
        made["allocationMode"] = "All"
    else:
        made |= {"allocationMode": "ExactCount", "count": draw(st.integers(1 + constrained, 2))}
        if draw(st.integers(0, 3)) == 0:
            made["capacity"] = {"requests": {"memory": draw(st.sampled_from(GIB))}}
    if draw(st.integers(0, 2)) == 0:
        made["tolerations"] = [draw(st.sampled_from([{"operator": "Exists"}, {"key": "broken", "operator": "Equal"}]))]
    return made


@st.composite
def claim_specs(draw):
    constrained = draw(st.integers(0, 2)) == 0
    requests = []
    for number in range(draw(st.integers(1, 2))):
        if draw(st.booleans()):
            one = draw(exact(constrained))
            if draw(st.integers(0, 4)) == 0:
                one["adminAccess"] = True
            requests.append({"name": f"r{number}", "exactly": one})
        else:
            options = [{"name": f"o{i}", **draw(exact(constrained))} for i in range(draw(st.integers(1, 2)))]
            requests.append({"name": f"r{number}", "firstAvailable": options})
    made = {"requests": requests}
    if constrained:
        kind = draw(st.sampled_from(["matchAttribute", "distinctAttribute"]))
        made["constraints"] = [{kind: f"{DRIVER}/{draw(st.sampled_from(['numa', 'model']))}"}]
        if draw(st.booleans()):
            made["constraints"][0]["requests"] = [draw(st.sampled_from(["r0", "r0/o1"]))]
    return made


def claim(name, spec):
    return {"metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"}, "spec": {"devices": spec}}


def columns_of(found, specs):
    columns = NodeColumns()
    inventory = columns.around.devices
    classes = {
        "any": {"metadata": {"name": "any"}, "spec": {}},
        "fast": {
            "metadata": {"name": "fast"},
            "spec": {"selectors": [{"cel": {"expression": sorted(reference.SELECTORS)[-1]}}]},
        },
    }
    world = {"slices": found, "classes": classes, "claims": {}}
    for one in found:
        inventory.set_slice(one)
    for one in classes.values():
        inventory.set_class(one)
    for made in NODES:
        columns.set_node(made)
    for number, spec in enumerate(specs):
        made = claim(f"c{number}", spec)
        world["claims"][f"c{number}"] = made
        inventory.set_claim(made)
    return columns, world


def user(*names):
    return pod(resourceClaims=[{"name": n, "resourceClaimName": n} for n in names])


def agree(one, columns, world):
    info = read(one)
    mask = PLUGIN.fits(info, columns)
    mine = {name for name in columns.names() if mask[columns.index(name)]}
    theirs = [made for made in NODES if reference.fits(one, made, world)]
    assert mine == {made["metadata"]["name"] for made in theirs}
    together = feasible(info, columns, PROFILE)
    assert {name for name in columns.names() if together[columns.index(name)]} == mine
    points = PLUGIN.score(info, columns, mask)
    for name, expected in reference.score(one, theirs, world).items():
        assert (0 if points is None else points[columns.index(name)]) == expected


def written(claim_object, allocation):
    return {**claim_object, "status": {"allocation": allocation}}


@settings(max_examples=300)
@given(slices(), st.lists(claim_specs(), min_size=1, max_size=2))
def test_who_can_be_served_where_is_what_the_reference_says(found, specs):
    columns, world = columns_of(found, specs)
    agree(user(*world["claims"]), columns, world)


@settings(max_examples=150)
@given(slices(), st.lists(claim_specs(), min_size=1, max_size=4), st.integers(0, 2**32), st.data())
def test_one_after_the_other_nothing_is_given_twice(found, specs, seed, data):
    """Pods take devices, claims are freed and slices change; answers follow, and every allocation holds."""
    columns, world = columns_of(found, specs)
    chance, inventory = Chance(seed), columns.around.devices
    for name in list(world["claims"]):
        one = user(name)
        agree(one, columns, world)
        info = read(one)
        chosen = decide(info, columns, chance, PROFILE).node
        if chosen and not inventory.allocation(f"default/{name}"):
            steps = reference.search([world["claims"][name]["spec"]["devices"]], NODES[int(chosen[1:])], world)
            plan = reserve(info, columns, chosen, PROFILE, chance).devices
            ((key, allocation),) = plan.assumed(info)
            given = [(r["driver"], r["pool"], r["device"]) for r in allocation["devices"]["results"]]
            assert given == [s[4][0] for s in steps]
            assert PLUGIN.forbids(info, columns)  # until it is written
            world["claims"][name] = written(world["claims"][name], allocation)
            inventory.set_claim(world["claims"][name])
            inventory.forget(key)
        change = data.draw(st.sampled_from(["nothing", "free", "slice"]))
        if change == "free":
            back = data.draw(st.sampled_from(sorted(world["claims"])))
            world["claims"][back] = claim(back, world["claims"][back]["spec"]["devices"])
            inventory.set_claim(world["claims"][back])
        elif change == "slice" and world["slices"]:
            gone = world["slices"].pop()
            inventory.remove_slice(gone)
    alone, shared = reference.taken_of(world)
    assert set(inventory.taken) == alone
    assert {k: dict(v) for k, v in inventory.shared.items()} == shared
