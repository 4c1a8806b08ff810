"""Server-side apply: merging, ownership, conflicts, removal; and its laws."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shirube.api.errors import ApiError
from shirube.api.managed_fields import apply_patch, update_managers
from shirube.api.schema import type_of
from shirube.api.schema.types import Type

T1, T2, T3 = "2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z", "2026-01-01T00:00:03Z"
DEPLOYMENT = type_of("apps", "v1", "Deployment")


def copy(obj):
    return orjson.loads(orjson.dumps(obj))


def deployment(spec=None, labels=None):
    obj = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x", "namespace": "d"}}
    if labels is not None:
        obj["metadata"]["labels"] = labels
    if spec is not None:
        obj["spec"] = spec
    return obj


def with_containers(*containers):
    return deployment({"template": {"spec": {"containers": list(containers)}}})


def containers_of(obj):
    return obj["spec"]["template"]["spec"]["containers"]


def apply(live, applied, manager="a", now=T1, type=DEPLOYMENT, **more):
    before = orjson.dumps([live, applied])
    result = apply_patch(live, applied, type, manager=manager, now=now, **more)
    assert orjson.dumps([live, applied]) == before
    return result


def owners(obj):
    return {(e["manager"], e["operation"]): e["fieldsV1"] for e in obj["metadata"].get("managedFields", ())}


def refused(*args, **more):
    with pytest.raises(ApiError) as caught:
        apply(*args, **more)
    return caught.value


def test_applying_what_is_not_there_creates_it():
    made = apply(None, deployment({"replicas": 3, "paused": None}, {"app": "x"}))
    assert made["spec"] == {"replicas": 3}
    assert made["metadata"]["managedFields"] == [
        {
            "manager": "a",
            "operation": "Apply",
            "apiVersion": "apps/v1",
            "time": T1,
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": {"f:paused": {}, "f:replicas": {}}},
        }
    ]


def test_applying_again_changes_nothing():
    made = apply(None, deployment({"replicas": 3}, {"app": "x"}))
    assert apply(made, deployment({"replicas": 3}, {"app": "x"}), now=T2) == made


def test_time_changes_when_the_object_or_the_set_does():
    made = apply(None, deployment({"replicas": 3}))
    value = apply(made, deployment({"replicas": 4}), now=T2)
    assert value["metadata"]["managedFields"][0]["time"] == T2
    fields = apply(value, deployment({"replicas": 4, "minReadySeconds": 1}), now=T3)
    assert fields["metadata"]["managedFields"][0]["time"] == T3


def test_fields_that_are_no_longer_applied_go():
    made = apply(None, deployment({"replicas": 3, "paused": True}, {"a": "1", "b": "2"}))
    result = apply(made, deployment({"replicas": 3}, {"a": "1"}))
    assert (result["spec"], result["metadata"]["labels"]) == ({"replicas": 3}, {"a": "1"})
    assert owners(result) == {("a", "Apply"): {"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:replicas": {}}}}


def test_fields_of_others_stay():
    made = apply(None, deployment({"replicas": 3, "paused": True}))
    both = apply(made, deployment({"paused": True, "minReadySeconds": 5}), "b")
    assert both["spec"] == {"replicas": 3, "paused": True, "minReadySeconds": 5}
    left = apply(both, deployment({"replicas": 3}))
    assert left["spec"] == {"replicas": 3, "paused": True, "minReadySeconds": 5}
    gone = apply(left, deployment({"minReadySeconds": 5}), "b")
    assert gone["spec"] == {"replicas": 3, "minReadySeconds": 5}


def test_fields_of_nobody_stay():
    made = apply(None, with_containers({"name": "c", "image": "i", "env": [{"name": "E", "value": "v"}]}))
    containers_of(made)[0]["imagePullPolicy"] = "Always"  # a default
    made["spec"]["replicas"] = 1
    result = apply(made, with_containers({"name": "c", "image": "i"}))
    assert containers_of(result) == [{"name": "c", "image": "i", "imagePullPolicy": "Always"}]
    assert result["spec"]["replicas"] == 1


def test_an_item_goes_with_what_nobody_owns_in_it():
    made = apply(None, with_containers({"name": "c", "image": "i"}, {"name": "d", "image": "j"}))
    containers_of(made)[1]["imagePullPolicy"] = "Always"
    result = apply(made, with_containers({"name": "c", "image": "i"}))
    assert [c["name"] for c in containers_of(result)] == ["c"]


def test_an_item_stays_with_its_key_while_others_own_part_of_it():
    made = apply(None, with_containers({"name": "c", "image": "i", "tty": True}))
    changed = copy(made)
    containers_of(changed)[0]["image"] = "new"
    update_managers(made, changed, DEPLOYMENT, manager="u", now=T2)
    result = apply(changed, with_containers())
    assert containers_of(result) == [{"name": "c", "image": "new"}]


def test_emptied_structs_go():
    made = apply(None, deployment({"strategy": {"type": "Recreate"}, "replicas": 1}))
    assert apply(made, deployment({"replicas": 1}))["spec"] == {"replicas": 1}


def test_conflicts():
    live = deployment({"replicas": 1}, {"app": "x"})
    update_managers(None, live, DEPLOYMENT, manager="kubectl-client-side-apply", now=T1)
    error = refused(live, deployment({"replicas": 2}))
    assert (error.code, error.reason) == (409, "Conflict")
    assert error.message == (
        'Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using apps/v1: .spec.replicas'
    )
    assert error.causes == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl-client-side-apply" using apps/v1',
            "field": ".spec.replicas",
        }
    ]
    forced = apply(live, deployment({"replicas": 2}), force=True)
    assert forced["spec"] == {"replicas": 2}
    assert owners(forced) == {
        ("a", "Apply"): {"f:spec": {"f:replicas": {}}},
        ("kubectl-client-side-apply", "Update"): {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}},
    }


def test_conflicts_with_appliers_and_subresources():
    live = apply(None, deployment({"replicas": 1}), "other")
    assert refused(live, deployment({"replicas": 2})).causes[0]["message"] == 'conflict with "other"'
    scaled = copy(live)
    scaled["spec"]["replicas"] = 5
    update_managers(live, scaled, DEPLOYMENT, manager="hpa", subresource="scale", now=T2)
    assert refused(scaled, deployment({"replicas": 2})).causes[0]["message"] == (
        'conflict with "hpa" with subresource "scale" using apps/v1'
    )


def test_the_same_value_is_shared():
    live = deployment({"replicas": 1})
    update_managers(None, live, DEPLOYMENT, manager="u", now=T1)
    shared = apply(live, deployment({"replicas": 1}), now=T2)
    assert owners(shared).keys() == {("a", "Apply"), ("u", "Update")}
    assert owners(apply(shared, deployment({})))[("u", "Update")] == {"f:spec": {"f:replicas": {}}}


def test_objects_from_before_have_an_owner():
    live = deployment({"replicas": 1}, {"app": "x"})
    error = refused(live, deployment({"replicas": 2}))
    assert error.causes[0]["message"] == 'conflict with "before-first-apply" using apps/v1'
    forced = apply(live, deployment({"replicas": 2}), force=True)
    assert owners(forced)["before-first-apply", "Update"] == {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}}


def test_lists_merge_by_key_with_defaults():
    service = type_of("", "v1", "Service")

    def svc(*ports):
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"ports": list(ports)}}

    live = apply(None, svc({"port": 80}), type=service)
    live["spec"]["ports"][0].update(protocol="TCP", targetPort=80)
    result = apply(live, svc({"port": 80, "name": "http"}, {"port": 80, "protocol": "UDP"}), type=service)
    assert result["spec"]["ports"] == [
        {"port": 80, "protocol": "TCP", "targetPort": 80, "name": "http"},
        {"port": 80, "protocol": "UDP"},
    ]
    fields = owners(result)["a", "Apply"]["f:spec"]["f:ports"]
    assert list(fields) == ['k:{"port":80,"protocol":"TCP"}', 'k:{"port":80,"protocol":"UDP"}']


@pytest.mark.parametrize(
    ("live", "applied", "merged"),
    [
        ("abc", "cx", "abcx"),
        ("ab", "bna", "bna"),
        ("", "ab", "ab"),
        ("ab", "", "ab"),
        ("abcd", "db", "adbc"),
        ("ab", "xy", "abxy"),
    ],
)
def test_order_of_merged_lists(live, applied, merged):
    """The object's own items stand before the next one that both have."""
    obj = with_containers(*({"name": n} for n in live))
    result = apply(obj, with_containers(*({"name": n} for n in applied)))
    assert "".join(c["name"] for c in containers_of(result)) == merged


def test_atomic_things_are_replaced():
    live = apply(None, with_containers({"name": "c", "args": ["a", "b"]}))
    result = apply(live, with_containers({"name": "c", "args": ["c"]}))
    assert containers_of(result) == [{"name": "c", "args": ["c"]}]
    selector = apply(None, deployment({"selector": {"matchLabels": {"a": "b"}}}))
    assert owners(selector)["a", "Apply"] == {"f:spec": {"f:selector": {}}}


def test_sets():
    live = deployment()
    live["metadata"]["finalizers"] = ["a"]
    wanted = deployment()
    wanted["metadata"]["finalizers"] = ["b"]
    result = apply(live, wanted)
    assert result["metadata"]["finalizers"] == ["a", "b"]
    assert owners(result)["a", "Apply"] == {"f:metadata": {"f:finalizers": {'v:"b"': {}}}}
    assert apply(result, deployment())["metadata"]["finalizers"] == ["a"]


def test_ignored_fields_are_not_owned():
    wanted = deployment({"replicas": 1})
    wanted["status"] = {"replicas": 7}
    made = apply(None, wanted, reset_fields=(("status",),))
    assert "status" not in made
    assert owners(made) == {("a", "Apply"): {"f:spec": {"f:replicas": {}}}}


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            deployment({"replicaz": 1}),
            "failed to create typed patch object (d/x; apps/v1, Kind=Deployment): .spec.replicaz: field not declared",
        ),
        (
            with_containers({"image": "x"}),
            'an element that omits key field "name"',
        ),
        (with_containers({"name": "c"}, {"name": "c"}), 'duplicate entries for key [name="c"]'),
        (
            with_containers({"name": "c", "imagez": 1}),
            '.spec.template.spec.containers[name="c"].imagez: field not declared',
        ),
        (deployment([]), ".spec: expected map, got list"),
        (
            deployment({"template": {"spec": {"containers": {}}}}),
            ".spec.template.spec.containers: expected list, got map",
        ),
        ({**deployment(), "metadata": {"managedFields": [{}]}}, "metadata.managedFields must be nil"),
    ],
)
def test_bad_configurations(wanted, message):
    error = refused(None, wanted)
    assert error.code == 400
    assert message in error.message


def test_an_applied_object_without_fields_owns_nothing():
    assert "managedFields" not in apply(None, deployment())["metadata"]


# ---------------------------------------------------------------------------------- laws

STRING = Type("string")
ITEM = Type("object", properties={"name": STRING, "v": STRING, "w": STRING})
SPEC = Type(
    "object",
    properties={
        "a": STRING,
        "b": STRING,
        "map": Type("map", items=STRING),
        "set": Type("list", items=STRING, list_type="set"),
        "items": Type("list", items=ITEM, list_type="map", list_map_keys=("name",)),
        "whole": Type("list", items=STRING),
        "deep": Type("object", properties={"x": STRING, "y": Type("object", properties={"z": STRING})}),
    },
)
METADATA = Type("object", properties={"name": STRING, "managedFields": Type("list", items=Type("any"))})
ROOT = Type("object", properties={"apiVersion": STRING, "kind": STRING, "metadata": METADATA, "spec": SPEC})

text = st.sampled_from(["0", "1"])
specs = st.fixed_dictionaries(
    {},
    optional={
        "a": text,
        "b": text,
        "map": st.dictionaries(st.sampled_from("pq"), text),
        "set": st.lists(st.sampled_from("pqr"), unique=True, min_size=1),
        "items": st.lists(st.sampled_from("pq"), unique=True, min_size=1, max_size=2).flatmap(
            lambda names: st.tuples(
                *(st.fixed_dictionaries({"name": st.just(n)}, optional={"v": text, "w": text}) for n in names)
            ).map(list)
        ),
        "whole": st.lists(text, max_size=2),
        "deep": st.fixed_dictionaries({}, optional={"x": text, "y": st.fixed_dictionaries({"z": text})}),
    },
)


def obj(spec):
    return {"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "x"}, "spec": spec}


def run(live, spec, manager, now=T1):
    return apply_patch(live, obj(spec), ROOT, manager=manager, force=True, now=now)


def leaves(fields, path=()):
    for key, child in fields.items():
        if key != ".":
            yield from leaves(child, (*path, key))
    if not fields or "." in fields:
        yield path


@settings(max_examples=120)
@given(st.lists(st.tuples(st.sampled_from("mno"), specs), max_size=4), specs)
def test_applying_twice_is_applying_once(history, spec):
    live = None
    for manager, other in history:
        live = run(live, other, manager)
    once = run(live, spec, "m", T2)
    assert run(once, spec, "m", T3) == once


@settings(max_examples=120)
@given(st.lists(st.tuples(st.sampled_from("mno"), specs), max_size=4), specs)
def test_what_is_applied_is_there_and_owned(history, spec):
    live = None
    for manager, other in history:
        live = run(live, other, manager)
    result = run(live, spec, "m")
    assert (
        run(None, spec, "m")["metadata"].get("managedFields")
        == [e for e in result["metadata"].get("managedFields", []) if e["manager"] == "m"]
        or not spec
    )
    for key in ("a", "b", "whole"):
        if key in spec:
            assert result["spec"][key] == spec[key]
    for key, value in spec.get("map", {}).items():
        assert result["spec"]["map"][key] == value
    for item in spec.get("items", ()):
        held = next(i for i in result["spec"]["items"] if i["name"] == item["name"])
        assert item.items() <= held.items()


@settings(max_examples=120)
@given(st.lists(specs, max_size=4))
def test_a_single_applier_has_what_it_applied_last(history):
    """With nobody else, the object is the configuration."""
    live = None
    for spec in history:
        live = run(live, spec, "m")
        fresh = run(None, spec, "m")
        assert _sorted(live["spec"]) == _sorted(fresh["spec"])
        assert live["metadata"].get("managedFields") == fresh["metadata"].get("managedFields")


def _sorted(spec):
    out = dict(spec)
    if "items" in out:
        out["items"] = sorted(out["items"], key=lambda item: item["name"])
    if "set" in out:
        out["set"] = sorted(out["set"])
    return out


@settings(max_examples=120)
@given(st.lists(st.tuples(st.sampled_from("mn"), specs), min_size=1, max_size=4))
def test_giving_everything_up_leaves_no_owner(history):
    live = None
    for manager, spec in history:
        live = run(live, spec, manager)
    for manager in "mn":
        live = apply_patch(
            live, {k: v for k, v in obj({}).items() if k != "spec"}, ROOT, manager=manager, force=True, now=T2
        )
    assert "managedFields" not in live["metadata"]


@settings(max_examples=120)
@given(specs, st.lists(st.tuples(st.sampled_from("uv"), specs), max_size=4))
def test_updates_partition_the_leaves(first, history):
    """With updates alone every leaf of the object has one owner, and nothing else is owned."""
    live = obj(first)
    update_managers(None, live, ROOT, manager="u", now=T1)
    for manager, spec in history:
        new = obj(spec)
        update_managers(live, new, ROOT, manager=manager, now=T2)
        if "managedFields" not in live["metadata"]:
            return  # untracked
        live = new
    owned = [leaf for e in live["metadata"].get("managedFields", ()) for leaf in leaves(e["fieldsV1"])]
    assert len(owned) == len(set(owned))
    fresh = obj(live["spec"])
    update_managers(None, fresh, ROOT, manager="u", now=T1)
    everything = {leaf for e in fresh["metadata"].get("managedFields", ()) for leaf in leaves(e["fieldsV1"])}
    containers = {("f:spec", f"f:{c}") for c in ("map", "set", "items", "deep")} | {
        ("f:spec",),
        ("f:spec", "f:deep", "f:y"),
    }
    assert set(owned) - containers == everything - containers
