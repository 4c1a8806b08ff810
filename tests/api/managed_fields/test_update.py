"""Ownership by ordinary writes, over the real types of pods and deployments."""

import orjson
import pytest

from shirube.api import managed_fields
from shirube.api.managed_fields import manager_of_user_agent, update_managers
from shirube.api.managed_fields.entries import MAX_UPDATE_MANAGERS
from shirube.api.schema import type_of

T1, T2, T3 = "2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z", "2026-01-01T00:00:03Z"


def copy(obj):
    return orjson.loads(orjson.dumps(obj))


def pod(**spec):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x", "namespace": "d", "uid": "u", "labels": {"app": "x"}, "creationTimestamp": T1},
        "spec": {
            "containers": [
                {
                    "name": "c",
                    "image": "i",
                    "args": ["a"],
                    "ports": [{"containerPort": 80}],
                    "env": [{"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                    "resources": {},
                }
            ],
            "nodeSelector": {"a": "b"},
            **spec,
        },
    }


POD = type_of("", "v1", "Pod")


def update(old, new, manager="m", type=POD, **more):
    update_managers(old, new, type, manager=manager, now=more.pop("now", T1), **more)
    return new["metadata"].get("managedFields")


def sets_of(obj):
    return {e["manager"]: e["fieldsV1"] for e in obj["metadata"].get("managedFields", ())}


def test_a_created_pod_belongs_to_its_creator():
    new = pod()
    assert update(None, new, "kubectl-create", now=1767225601) == [
        {
            "manager": "kubectl-create",
            "operation": "Update",
            "apiVersion": "v1",
            "time": T1,
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"c"}': {
                            ".": {},
                            "f:args": {},
                            "f:env": {
                                ".": {},
                                'k:{"name":"E"}': {".": {}, "f:name": {}, "f:valueFrom": {".": {}, "f:fieldRef": {}}},
                            },
                            "f:image": {},
                            "f:name": {},
                            "f:ports": {
                                ".": {},
                                'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}},
                            },
                            "f:resources": {},
                        }
                    },
                    "f:nodeSelector": {},
                },
            },
        }
    ]


def test_structs_that_exist_in_an_empty_object_belong_to_nobody():
    new = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "x"},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [], "volumes": [{"name": "v"}]}},
        },
    }
    update(None, new, type=type_of("apps", "v1", "Deployment"))
    assert sets_of(new)["m"] == {
        "f:spec": {
            "f:replicas": {},
            "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
            "f:template": {
                "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                "f:spec": {"f:volumes": {".": {}, 'k:{"name":"v"}': {".": {}, "f:name": {}}}},
            },
        }
    }


def test_objects_of_one_shape_share_their_set():
    one, two, three = pod(), pod(), pod()
    two["metadata"]["name"], two["spec"]["containers"][0]["image"] = "y", "other"
    three["spec"]["containers"][0]["name"] = "other"
    for obj in (one, two, three):
        update(None, obj)
    assert sets_of(one)["m"] is sets_of(two)["m"]
    assert 'k:{"name":"other"}' in sets_of(three)["m"]["f:spec"]["f:containers"]


def test_fragments_are_the_same_bytes():
    plain, ready = pod(), pod()
    update(None, plain)
    update(None, ready, fragments=True)
    assert orjson.dumps(ready) == orjson.dumps(plain)


def test_an_update_takes_what_it_changes_and_nothing_else():
    old = pod(priority=1, hostNetwork=True)
    update(None, old, "creator")
    new = copy(old)
    new["spec"]["containers"][0]["image"] = "new"
    new["metadata"]["labels"]["b"] = "c"
    new["metadata"]["resourceVersion"] = "77"
    new["metadata"]["generation"] = 2
    del new["spec"]["hostNetwork"]
    frozen = copy(old)
    update(old, new, "changer", now=T2)
    assert old == frozen
    creator, changer = sets_of(new)["creator"], sets_of(new)["changer"]
    assert changer == {
        "f:metadata": {"f:labels": {"f:b": {}}},
        "f:spec": {"f:containers": {'k:{"name":"c"}': {"f:image": {}}}},
    }
    assert "f:image" not in creator["f:spec"]["f:containers"]['k:{"name":"c"}']
    assert "f:name" in creator["f:spec"]["f:containers"]['k:{"name":"c"}']
    assert "f:hostNetwork" not in creator["f:spec"]
    assert [(e["manager"], e["time"]) for e in new["metadata"]["managedFields"]] == [("creator", T1), ("changer", T2)]


def test_nothing_changed_nothing_owned():
    old = pod()
    update(None, old, "creator")
    new = copy(old)
    new["metadata"]["resourceVersion"] = "2"
    assert update(old, new, "other", now=T2) == old["metadata"]["managedFields"]


def test_subresources_are_managers_of_their_own():
    old = pod()
    update(None, old, "kubelet")
    new = copy(old)
    new["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    entries = update(old, new, "kubelet", subresource="status", now=T2)
    assert [(e["manager"], e.get("subresource")) for e in entries] == [("kubelet", None), ("kubelet", "status")]
    assert entries[1]["fieldsV1"] == {
        "f:status": {
            "f:conditions": {".": {}, 'k:{"type":"Ready"}': {".": {}, "f:status": {}, "f:type": {}}},
            "f:phase": {},
        }
    }


def test_removed_items_are_given_up_by_all():
    old = pod()
    update(None, old, "creator")
    new = copy(old)
    new["spec"]["containers"][0]["env"] = []
    new["spec"]["nodeSelector"] = {}
    update(old, new, "remover", now=T2)
    container = sets_of(new)["creator"]["f:spec"]["f:containers"]['k:{"name":"c"}']
    assert container["f:env"] == {}
    assert sets_of(new)["remover"] == {"f:spec": {"f:nodeSelector": {}}}


def test_a_manager_left_with_nothing_is_gone():
    old = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "1"}}
    config_map = type_of("", "v1", "ConfigMap")
    update(None, old, "one", config_map)
    assert sets_of(old) == {"one": {"f:data": {".": {}, "f:a": {}}}}
    new = {**copy(old)}
    del new["data"]
    assert update(old, new, "two", config_map) is None


def test_clients_that_leave_managed_fields_out_do_not_lose_them():
    old = pod()
    update(None, old, "creator")
    new = copy(old)
    del new["metadata"]["managedFields"]
    assert update(old, new) == old["metadata"]["managedFields"]


@pytest.mark.parametrize("given", [[], [{}]])
def test_resetting(given):
    old = pod()
    update(None, old, "creator")
    new = copy(old)
    new["metadata"]["managedFields"] = given
    assert update(old, new) is None
    later = copy(new)
    later["spec"]["priority"] = 7
    assert update(new, later) is None  # untracked until the next apply


@pytest.mark.parametrize(
    "given",
    [
        "x",
        [1],
        [{"manager": "x"}],
        [{"manager": "x", "operation": "Dance", "apiVersion": "v1"}],
        [{"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsV1": {"spec": {}}}],
        [{"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsV1": []}],
        [{"manager": 1, "operation": "Update", "apiVersion": "v1"}],
        [{"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV2"}],
    ],
)
def test_malformed_managed_fields_are_ignored(given):
    old = pod()
    update(None, old, "creator")
    new = copy(old)
    new["metadata"]["managedFields"] = given
    assert update(old, new) == old["metadata"]["managedFields"]


def test_clients_may_write_managed_fields():
    old = pod()
    update(None, old, "creator")
    new = copy(old)
    entry = {
        "manager": "mine",
        "operation": "Apply",
        "apiVersion": "v1",
        "time": T3,
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:priority": {}}},
    }
    new["metadata"]["managedFields"] = [entry]
    assert update(old, new) == [entry]
    via_status = copy(old)
    via_status["metadata"]["managedFields"] = [entry]
    assert update(old, via_status, subresource="status") == old["metadata"]["managedFields"]


def test_old_updates_are_merged():
    obj = pod()
    update(None, obj, "creator", now="2026-01-01T00:00:00Z")
    for i in range(1, 25):
        new = copy(obj)
        new["metadata"]["labels"][f"l{i}"] = "x"
        update(obj, new, f"m{i}", now=f"2026-01-01T00:00:{i:02d}Z")
        obj = new
    entries = obj["metadata"]["managedFields"]
    assert len(entries) == MAX_UPDATE_MANAGERS
    assert entries[0]["manager"] == "ancient-changes"
    assert [e["manager"] for e in entries[1:]] == [f"m{i}" for i in range(16, 25)]
    assert {"f:l1", "f:l15", "f:app"} <= entries[0]["fieldsV1"]["f:metadata"]["f:labels"].keys()


def test_repeated_keys_are_owned_together():
    old = pod()
    old["spec"]["containers"][0]["env"] = [{"name": "E", "value": "1"}, {"name": "E", "value": "2"}]
    update(None, old, "creator")
    env = sets_of(old)["creator"]["f:spec"]["f:containers"]['k:{"name":"c"}']["f:env"]
    assert env == {".": {}, 'k:{"name":"E"}': {}}
    new = copy(old)
    new["spec"]["containers"][0]["env"][1]["value"] = "3"
    update(old, new, "changer")
    changed = sets_of(new)["changer"]["f:spec"]["f:containers"]['k:{"name":"c"}']
    assert changed == {"f:env": {'k:{"name":"E"}': {}}}


def test_finalizers_and_owners():
    old = pod()
    old["metadata"]["finalizers"] = ["a/b"]
    old["metadata"]["ownerReferences"] = [{"uid": "u1", "name": "n"}]
    update(None, old, "creator")
    assert sets_of(old)["creator"]["f:metadata"] == {
        "f:finalizers": {".": {}, 'v:"a/b"': {}},
        "f:labels": {".": {}, "f:app": {}},
        "f:ownerReferences": {".": {}, 'k:{"uid":"u1"}': {}},
    }
    new = copy(old)
    new["metadata"]["finalizers"].append("c/d")
    update(old, new, "other")
    assert sets_of(new)["other"] == {"f:metadata": {"f:finalizers": {'v:"c/d"': {}}}}


def test_odd_values_are_no_crash():
    new = pod()
    new["spec"]["containers"][0]["ports"] = [{"containerPort": {"x": 1}}, "y"]
    new["spec"]["volumes"] = "text"
    new["metadata"]["labels"] = None
    assert update(None, new)
    again = copy(new)
    again["spec"]["containers"][0]["ports"] = None
    again["spec"]["volumes"] = [{"name": "v"}]
    assert update(new, again, "other")


def test_every_shape_is_remembered_within_bounds():
    for i in range(300):
        update(None, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {f"k{i}": ""}})
    assert len(managed_fields._shapes) <= managed_fields._MAX_SHAPES


@pytest.mark.parametrize(
    ("user_agent", "manager"),
    [
        ("kubectl/v1.36.0 (linux/amd64) kubernetes/abc", "kubectl"),
        ("curl", "curl"),
        ("", ""),
        ("a\nb/1", "ab"),
        ("é" * 100, "é" * 64),
    ],
)
def test_the_default_manager(user_agent, manager):
    assert manager_of_user_agent(user_agent) == manager


def test_objects_that_differ_in_metadata_alone_share_their_set_when_its_shape_is_the_same():
    one, two, three = pod(), pod(), pod()
    two["metadata"]["name"] = "y"
    three["metadata"]["labels"] = {**three["metadata"].get("labels", {}), "more": "x"}
    for obj in (one, two, three):
        update(None, obj)
    assert sets_of(one)["m"] is sets_of(two)["m"]
    assert "f:more" in sets_of(three)["m"]["f:metadata"]["f:labels"]
