"""What a pod's claims get of one node's devices: a case a rule."""

import pytest
from tests.scheduler.pods import node, pod

from shirube.foundation.chance import Chance
from shirube.scheduler.columns import NodeColumns
from shirube.scheduler.decide import Profile, decide
from shirube.scheduler.plugins.dynamic_resources import DynamicResources
from shirube.scheduler.pod import read
from shirube.scheduler.reserving import give_back, reserve

PROFILE = Profile.default()
DRIVER = "gpu.example.com"


def cel(text):
    return [{"cel": {"expression": text}}]


def columns(*devices, **spec):
    made = NodeColumns()
    made.set_node(node("a"))
    inventory = made.around.devices
    inventory.set_class({"metadata": {"name": "gpu"}, "spec": {"selectors": cel(f'device.driver == "{DRIVER}"')}})
    pool = {"name": "p", "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": DRIVER, "nodeName": "a", "pool": pool, "devices": list(devices), **spec}
    inventory.set_slice({"metadata": {"name": "s"}, "spec": spec})
    return made


def exactly(count=1, **more):
    return {"name": "r", "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": count, **more}}


def everything(**more):
    return {"name": "r", "exactly": {"deviceClassName": "gpu", "allocationMode": "All", **more}}


def put(made, name, *requests, **devices):
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}"}
    made.around.devices.set_claim({"metadata": metadata, "spec": {"devices": {"requests": list(requests), **devices}}})


def user(*names):
    return read(pod(resourceClaims=[{"name": n, "resourceClaimName": n} for n in names]))


def taken(made, *names, chance=None):
    """The results of the claims' allocation, or why there is none."""
    info, chance = user(*names), chance or Chance(1)
    decision = decide(info, made, chance, PROFILE)
    if not decision.node:
        return decision.message
    plan = reserve(info, made, decision.node, PROFILE, chance)
    return [r for _, allocation in plan.devices.assumed(info) for r in allocation["devices"]["results"]]


def names(results):
    return results if isinstance(results, str) else [r["device"] for r in results]


IMPOSSIBLE = "0/1 nodes are available: 1 cannot allocate all claims."
ONE, TWO = {"name": "d0"}, {"name": "d1"}


def tainted(effect, **more):
    return {"name": "d0", "taints": [{"key": "broken", "effect": effect, **more}]}


def numa(name, number):
    return {"name": name, "attributes": {"numa": {"int": number}}}


def partition(name, slots):
    return {"name": name, "consumesCounters": [{"counterSet": "card", "counters": {"slots": {"value": slots}}}]}


CARD = [{"name": "card", "counters": {"slots": {"value": "4"}}}]
TOGETHER = [{"matchAttribute": f"{DRIVER}/numa"}]
CASES = {
    "as many as are asked for": ([ONE, TWO], [exactly(2)], {}, ["d0", "d1"]),
    "no more than there are": ([ONE], [exactly(2)], {}, IMPOSSIBLE),
    "all": ([ONE, TWO], [everything()], {}, ["d0", "d1"]),
    "all of none are none": ([], [everything()], {}, IMPOSSIBLE),
    "who only looks on takes nothing": (
        [ONE],
        [exactly(), {**exactly(adminAccess=True), "name": "look"}],
        {},
        IMPOSSIBLE,  # but not twice in one claim
    ),
    "a selector": (
        [ONE, {**TWO, "attributes": {"model": {"string": "b"}}}],
        [exactly(selectors=cel(f'device.attributes["{DRIVER}"].?model.orValue("") == "b"'))],
        {},
        ["d1"],
    ),
    "versions compare": (
        [
            {"name": "d0", "attributes": {"v": {"version": "1.2.0"}}},
            {"name": "d1", "attributes": {"v": {"version": "1.10.0"}}},
        ],
        [exactly(selectors=cel(f'device.attributes["{DRIVER}"].v.isGreaterThan(semver("1.9.0"))'))],
        {},
        ["d1"],
    ),
    "a tainted device": ([tainted("NoSchedule")], [exactly()], {}, IMPOSSIBLE),
    "a tolerated one": (
        [tainted("NoExecute")],
        [exactly(tolerations=[{"key": "broken", "operator": "Exists"}])],
        {},
        ["d0"],
    ),
    "a taint that says nothing": ([tainted("None")], [exactly()], {}, ["d0"]),
    "the same attribute": (
        [numa("d0", 0), numa("d1", 1), numa("d2", 1)],
        [exactly(2)],
        {"constraints": TOGETHER},
        ["d1", "d2"],
    ),
    "no attribute is not the same": ([ONE, TWO], [exactly(2)], {"constraints": TOGETHER}, IMPOSSIBLE),
    "distinct attributes": (
        [numa("d0", 0), numa("d1", 0), numa("d2", 1)],
        [exactly(2)],
        {"constraints": [{"distinctAttribute": f"{DRIVER}/numa"}]},
        ["d0", "d2"],
    ),
    "partitions share counters": (
        [partition("whole", "4"), partition("half", "2"), partition("other", "2")],
        [exactly(), {**exactly(), "name": "more"}],
        {},
        ["half", "other"],
    ),
    "of alternatives the first that can be had": (
        [ONE],
        [
            {
                "name": "r",
                "firstAvailable": [{"name": "two", **exactly(2)["exactly"]}, {"name": "one", **exactly()["exactly"]}],
            }
        ],
        {},
        ["d0"],
    ),
    "an unknown class": (
        [ONE],
        [{"name": "r", "exactly": {"deviceClassName": "tpu"}}],
        {},
        "0/1 nodes are available: request r: device class tpu does not exist.",
    ),
    "a selector that fails": (
        [ONE],
        [exactly(selectors=cel('device.attributes["other"].model == "a"'))],
        {},
        "0/1 nodes are available: 1 claim default/c: selector #0 on device gpu.example.com/d0: CEL runtime error: "
        "no such key: model.",
    ),
    "a selector that is none": (
        [ONE],
        [exactly(selectors=cel("device.driver"))],
        {},
        "0/1 nodes are available: 1 claim default/c: selector #0: must evaluate to bool, not str.",
    ),
    "more than a claim may have": (
        [ONE],
        [exactly(33)],
        {},
        "0/1 nodes are available: 1 claim default/c: number of requested devices 33 exceeds the claim limit of 32.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_claim_gets(case):
    devices, requests, more, expected = CASES[case]
    spec = {"sharedCounters": CARD} if "counters" in case else {}
    made = columns(*devices, **spec)
    put(made, "c", *requests, **more)
    assert names(taken(made, "c")) == expected


def test_alternatives_are_named_and_liked_in_their_order():
    made = columns(ONE)
    made.set_node(node("b"))
    pool = {"name": "q", "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": DRIVER, "nodeName": "b", "pool": pool, "devices": [ONE, TWO]}
    made.around.devices.set_slice({"metadata": {"name": "t"}, "spec": spec})
    options = [{"name": "two", **exactly(2)["exactly"]}, {"name": "one", **exactly()["exactly"]}]
    put(made, "c", {"name": "r", "firstAvailable": options})
    assert [(r["pool"], r["request"]) for r in taken(made, "c")] == [("q", "r/two"), ("q", "r/two")]


def test_who_looks_on_sees_devices_in_use_and_hides_none():
    made = columns(ONE)
    put(made, "mine", exactly())
    put(made, "look", exactly(adminAccess=True))
    put(made, "too", exactly(adminAccess=True))
    put(made, "late", exactly())
    assert names(taken(made, "look")) == ["d0"]
    assert names(taken(made, "mine")) == ["d0"]
    assert [r.get("adminAccess") for r in taken(made, "too")] == [True]
    assert taken(made, "late") == IMPOSSIBLE


def test_capacity_is_shared_until_it_is_used_up():
    policy = {"default": "2Gi", "validRange": {"min": "1Gi", "step": "1Gi", "max": "4Gi"}}
    device = {"name": "d0", "allowMultipleAllocations": True}
    made = columns({**device, "capacity": {"memory": {"value": "8Gi", "requestPolicy": policy}}})
    for name, amount in (("a", "1500Mi"), ("b", None), ("c", "4Gi"), ("d", "1Gi"), ("e", "5Gi")):
        asked = {"capacity": {"requests": {"memory": amount}}} if amount else {}
        put(made, name, exactly(**asked))
    assert taken(made, "e") == IMPOSSIBLE  # more than the policy lets one have
    chance = Chance(1)
    given = [taken(made, name, chance=chance)[0] for name in "abc"]
    assert [g["consumedCapacity"] for g in given] == [{"memory": "2Gi"}, {"memory": "2Gi"}, {"memory": "4Gi"}]
    assert len({g["shareID"] for g in given}) == 3
    assert taken(made, "d") == IMPOSSIBLE


def test_pools_in_the_making_give_nothing():
    made = columns(ONE, pool={"name": "p", "generation": 1, "resourceSliceCount": 2})
    put(made, "c", exactly())
    put(made, "all", everything())
    assert taken(made, "c") == IMPOSSIBLE
    assert taken(made, "all") == (
        "0/1 nodes are available: 1 claim default/all, request r: asks for all devices, "
        "but resource pool gpu.example.com/p is currently being updated."
    )
    more = {"driver": DRIVER, "nodeName": "a", "pool": {"name": "p", "generation": 2, "resourceSliceCount": 1}}
    made.around.devices.set_slice({"metadata": {"name": "t"}, "spec": {**more, "devices": [TWO]}})
    assert names(taken(made, "c")) == ["d1"]


def test_two_devices_of_one_name_make_a_pool_useless():
    made = columns(ONE, ONE)
    put(made, "c", exactly())
    assert taken(made, "c") == "0/1 nodes are available: 1 invalid resource pools were encountered."


def test_configuration_of_class_and_claim_comes_along():
    made = columns(ONE)
    opaque = {"opaque": {"driver": DRIVER, "parameters": {"a": 1}}}
    made.around.devices.set_class({"metadata": {"name": "gpu"}, "spec": {"config": [opaque]}})
    config = [{**opaque, "requests": ["r"]}, {**opaque, "requests": ["other"]}]
    put(made, "c", exactly(), config=config)
    info = user("c")
    plan = reserve(info, made, "a", PROFILE, Chance(1))
    ((_, allocation),) = plan.devices.assumed(info)
    assert allocation["devices"]["config"] == [{"source": "FromClass", **opaque}, {"source": "FromClaim", **opaque}]


def test_what_is_assumed_can_be_given_back():
    made = columns(ONE)
    put(made, "c", exactly())
    put(made, "d", exactly())
    info = user("c")
    plan = reserve(info, made, "a", PROFILE, Chance(1))
    assert taken(made, "d") == IMPOSSIBLE
    assert taken(made, "c") == "0/1 nodes are available: resource claim default/c is in the process of being allocated."
    assert give_back(info, made, plan)
    assert names(taken(made, "d")) == ["d0"]


def test_a_search_without_an_end_is_given_up():
    devices = [{"name": f"d{i}", "attributes": {"n": {"int": i}}} for i in range(40)]
    made = columns(*devices)
    put(made, "c", exactly(20), constraints=[{"matchAttribute": f"{DRIVER}/n"}])
    assert taken(made, "c") == IMPOSSIBLE
    put(
        made,
        "d",
        *({**exactly(), "name": f"r{i}"} for i in range(9)),
        constraints=[
            {"distinctAttribute": f"{DRIVER}/n"},
            {"matchAttribute": f"{DRIVER}/n", "requests": ["r7", "r8"]},
        ],
    )
    assert taken(made, "d") == "0/1 nodes are available: 1 timed out trying to allocate devices."


def test_endless_searches_do_not_stop_everybody():
    devices = [{"name": f"d{i}", "attributes": {"n": {"int": i}}} for i in range(40)]
    made = columns(*devices)
    for i in range(7):
        made.set_node(node(f"n{i}"))
        pool = {"name": f"p{i}", "generation": 1, "resourceSliceCount": 1}
        spec = {"driver": DRIVER, "nodeName": f"n{i}", "pool": pool, "devices": devices}
        made.around.devices.set_slice({"metadata": {"name": f"s{i}"}, "spec": spec})
    distinct, match = {"distinctAttribute": f"{DRIVER}/n"}, {"matchAttribute": f"{DRIVER}/n", "requests": ["r7", "r8"]}
    put(made, "c", *({**exactly(), "name": f"r{i}"} for i in range(9)), constraints=[distinct, match])
    plugin, tried = DynamicResources(), []
    search = plugin._search
    plugin._search = lambda *args: tried.append(args[-1]) or search(*args)
    assert not plugin.fits(user("c"), made).any()
    first = len(tried)
    assert first < 8
    while len(set(tried)) < 8:  # the others have their turn when the pod is tried again
        before = len(tried)
        plugin.fits(user("c"), made)
        assert len(tried) > before


EXTENDED = "example.com/gpu"


def with_extended():
    made = columns(ONE, TWO)
    spec = {"selectors": cel(f'device.driver == "{DRIVER}"'), "extendedResourceName": EXTENDED}
    made.around.devices.set_class({"metadata": {"name": "gpu"}, "spec": spec})
    return made


def asking(*amounts, init=(), resource=EXTENDED):
    def containers(names, counts):
        return [{"name": f"{names}{i}", "resources": {"requests": {resource: str(n)}}} for i, n in enumerate(counts)]

    return read(pod(containers=containers("c", amounts), initContainers=containers("i", init)))


def test_extended_resources_become_requests_and_init_containers_take_what_comes_later():
    made = with_extended()
    info = asking(1, init=[2])
    plan = reserve(info, made, "a", PROFILE, Chance(1)).devices
    asked = [(r["name"], r["exactly"]["count"]) for r in plan.special["requests"]]
    assert asked == [("container-1-request-0", 1), ("container-0-request-0", 1)]
    assert [(m.container, m.request) for m in plan.mappings] == [
        ("c0", "container-1-request-0"),
        ("i0", "container-1-request-0"),
        ("i0", "container-0-request-0"),
    ]


def test_where_a_device_plugin_has_the_resource_it_serves():
    made = with_extended()
    made.set_node(node("b"))
    plugged = node("b")
    plugged["status"]["allocatable"][EXTENDED] = "3"
    made.set_node(plugged)
    assert decide(asking(3), made, Chance(1), PROFILE).node == "b"
    assert reserve(asking(3), made, "b", PROFILE, Chance(1)).devices is None
    made.add_pod("b", asking(2))
    assert decide(asking(2), made, Chance(1), PROFILE).node == "a"
    message = decide(asking(3), made, Chance(1), PROFILE).message
    assert message == "0/2 nodes are available: 1 Insufficient example.com/gpu, 1 cannot allocate all claims."


def test_every_class_has_a_resource_of_its_own_name():
    made = columns(ONE)
    resource = "deviceclass.resource.kubernetes.io/gpu"
    assert decide(asking(1, resource=resource), made, Chance(1), PROFILE).node == "a"
    assert not decide(asking(1, resource="deviceclass.resource.kubernetes.io/tpu"), made, Chance(1), PROFILE).node


def test_a_claim_that_many_use_is_full():
    made = columns(ONE)
    put(made, "c", exactly())
    claim = made.around.devices.claims["default/c"]
    users = [{"resource": "pods", "name": f"p{i}", "uid": str(i)} for i in range(256)]
    held = {"allocation": {"devices": {"results": []}}, "reservedFor": users}
    made.around.devices.set_claim({**claim, "status": held})
    assert taken(made, "c") == "0/1 nodes are available: resourceclaim in use."


def test_answers_are_kept_where_nothing_changed():
    made = columns(ONE)
    for i in range(20):
        made.set_node(node(f"n{i}"))
    put(made, "c", exactly())
    plugin = DynamicResources()
    asked = []
    search = plugin._search
    plugin._search = lambda *args: asked.append(args[-1]) or search(*args)
    plugin.fits(user("c"), made)
    assert len(asked) == 21
    asked.clear()
    plugin.fits(user("c"), made)
    assert not asked
    put(made, "d", exactly())
    reserve(user("d"), made, "a", PROFILE, Chance(1))
    assert not plugin.fits(user("c"), made).any()
    assert set(asked) == {made.index("a")}
