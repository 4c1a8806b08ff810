from __future__ import annotations

from typing import Any

from shirube.api.gvr import CONFIGMAPS, GVR, SECRETS
from shirube.controllers.owner_graph import FOREGROUND, ORPHAN, OwnerGraph, Work


def obj(uid: str, *owners: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """As a metadata-only watch shows it: its kind is not told."""
    return {
        "apiVersion": "meta.k8s.io/v1",
        "kind": "PartialObjectMetadata",
        "metadata": {
            "uid": uid,
            "name": uid,
            "namespace": "ns",
            "ownerReferences": list(owners),
            **metadata,
        },
    }


def owned_by(uid: str, **changes: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "name": uid, "uid": uid, **changes}


def seen(graph: OwnerGraph, one: dict[str, Any], gvr: GVR = CONFIGMAPS) -> Work:
    return graph.seen(gvr, {CONFIGMAPS: "ConfigMap", SECRETS: "Secret"}[gvr], one)


def test_an_owner_seen_first_needs_no_look():
    graph = OwnerGraph()
    seen(graph, obj("owner"))
    assert seen(graph, obj("child", owned_by("owner")), SECRETS) == Work()


def test_an_owner_not_seen_is_looked_for_and_forgotten_with_its_last_dependent():
    graph = OwnerGraph()
    assert seen(graph, obj("child", owned_by("owner"))).delete == ["owner"]
    assert graph.nodes["owner"].virtual
    assert seen(graph, obj("owner")) == Work()
    assert not graph.nodes["owner"].virtual
    graph = OwnerGraph()
    seen(graph, obj("child", owned_by("owner")))
    graph.gone("child")
    assert graph.nodes == {}


def test_wrong_references_are_looked_at():
    graph = OwnerGraph()
    seen(graph, obj("owner"))
    for wrong in ({"kind": "Secret"}, {"name": "other"}, {"apiVersion": "apps/v1"}):
        child = obj(f"child-{wrong}", owned_by("owner", **wrong))
        assert seen(graph, child).delete == [child["metadata"]["uid"]]
    elsewhere = obj("far", owned_by("owner"), namespace="else")
    assert seen(graph, elsewhere).delete == ["far"]


def test_dependents_that_mean_another_owner_of_that_uid_ask_for_themselves():
    """A name that somebody gave wrongly must neither hide a right one nor speak for it."""
    for wrong in ({"kind": "Secret"}, {"name": "other"}, {"apiVersion": "extensions/v1"}):
        graph = OwnerGraph()
        assert seen(graph, obj("bad", owned_by("owner", **wrong))).delete == ["owner"]
        assert graph.agreed(graph.nodes["owner"])
        assert seen(graph, obj("good", owned_by("owner"))).delete == ["good"]
        assert not graph.agreed(graph.nodes["owner"])
        assert seen(graph, obj("owner")).delete == ["bad"]
    for first, second in (("", "ns"), ("ns", ""), ("ns", "else")):
        graph = OwnerGraph()
        seen(graph, obj("first", owned_by("owner"), namespace=first))
        assert seen(graph, obj("second", owned_by("owner"), namespace=second)).delete == ["second"]
        assert not graph.agreed(graph.nodes["owner"])


def test_an_object_is_known_by_the_version_that_is_served_now():
    graph = OwnerGraph()
    graph.seen(GVR("example.com", "v1alpha1", "widgets"), "Widget", obj("w"))
    assert graph.seen(GVR("example.com", "v1", "widgets"), "Widget", obj("w")) == Work()
    assert graph.nodes["w"].api_version == "example.com/v1"


def test_the_dependents_of_what_is_gone_are_looked_at():
    graph = OwnerGraph()
    seen(graph, obj("owner"))
    seen(graph, obj("a", owned_by("owner")))
    seen(graph, obj("b", owned_by("owner")))
    assert graph.gone("owner").delete == ["a", "b"]


def test_foreground_and_orphan_start_once():
    graph = OwnerGraph()
    seen(graph, obj("owner"))
    seen(graph, obj("child", owned_by("owner", blockOwnerDeletion=True)))
    leaving = obj("owner", deletionTimestamp="t", finalizers=[FOREGROUND])
    assert seen(graph, leaving).delete == ["owner", "child"]
    assert seen(graph, leaving) == Work()
    assert [d.uid for d in graph.nodes["owner"].blocking_dependents()] == ["child"]
    assert seen(graph, obj("child", owned_by("owner"))).delete == ["owner"], "it blocks no more"
    assert seen(graph, obj("o", deletionTimestamp="t", finalizers=[ORPHAN])).orphan == ["o"]
