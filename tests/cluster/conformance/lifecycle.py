"""What upstream's "should support … API operations" tests do with a resource: every verb once, and what it answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.cluster.conformance.api import MERGE, Api, Collection, Obj, refused


def is_discovered(api: Api, version: str, *resources: str) -> None:
    """The group is at /apis, the version at the group, and the resources (and subresources) at the version."""
    group = version.split("/")[0]
    found = next(g for g in api.get("/apis")["groups"] if g["name"] == group)
    wanted = {"groupVersion": version, "version": version.split("/")[1]}
    assert wanted in found["versions"] and wanted in api.get(f"/apis/{group}")["versions"]
    assert set(resources) <= {r["name"] for r in api.get(f"/apis/{version}")["resources"]}


def every_verb(
    collection: Collection, make: Callable[[str], Obj], change: Callable[[Obj], Any], changed: Callable[[Obj], bool]
) -> None:
    """create, get, list, watch, patch, update, delete and deletecollection on three objects with one label."""
    label = {"conformance": f"every-verb-{collection.resource}"}
    selector = "conformance=" + label["conformance"]

    def labelled(name: str) -> Obj:
        obj = make(name)
        obj["metadata"]["labels"] = {**obj["metadata"].get("labels", {}), **label}
        return obj

    names = [f"e2e-example-{collection.resource}-{n}" for n in (1, 2, 3)]
    first = names[0]
    made = [collection.create(labelled(name)) for name in names]
    with refused(409, "AlreadyExists"):
        collection.create(labelled(first))
    found = collection.get(first)
    assert found["metadata"]["uid"] == made[0]["metadata"]["uid"]
    listed = collection.list(selector)
    assert [o["metadata"]["name"] for o in listed["items"]] == names
    if collection.namespace:
        assert len(collection.everywhere().items(selector)) == 3
    with collection.watch(selector, resourceVersion=listed["metadata"]["resourceVersion"]) as watch:
        patched = collection.patch(first, {"metadata": {"annotations": {"patched": "true"}}}, MERGE)
        assert patched["metadata"]["annotations"]["patched"] == "true"
        updated = collection.edit(first, lambda o: (o["metadata"]["annotations"].update(updated="true"), change(o)))
        assert updated["metadata"]["annotations"]["updated"] == "true" and changed(updated)
        assert changed(collection.get(first))
        watch.until("MODIFIED", lambda o: o["metadata"].get("annotations", {}).get("patched") == "true")
        watch.until("MODIFIED", lambda o: o["metadata"].get("annotations", {}).get("updated") == "true")
        collection.delete(first)
        watch.until("DELETED", lambda o: o["metadata"]["name"] == first)
        with refused(404, "NotFound"):
            collection.get(first)
        assert [o["metadata"]["name"] for o in collection.items(selector)] == names[1:]
        collection.delete_all(selector)
        gone = {watch.until("DELETED")["metadata"]["name"] for _ in (2, 3)}
        assert gone == set(names[1:])
    assert collection.items(selector) == []


def status_verbs(collection: Collection, name: str, patch: Obj, change: Callable[[Obj], Any]) -> Obj:
    """get, patch and update of the status subresource; the object after them. The spec must not move."""
    before = collection.get(name, "status")
    assert before["metadata"]["name"] == name
    annotated = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": patch}
    patched = collection.patch(name, annotated, MERGE, "status")
    assert patched["metadata"]["annotations"]["patchedstatus"] == "true"
    assert {k: patched["status"][k] for k in patch} == patch
    sent: list[Obj] = []

    def edit(obj: Obj) -> None:
        change(obj["status"])
        sent.append(json.loads(json.dumps(obj["status"])))

    updated = collection.edit(name, edit, "status")
    assert updated["status"] == sent[-1]
    # What a controller owns it puts right at once, so the object as it is now says nothing of the update.
    assert collection.get(name, "status").get("spec") == before.get("spec")
    return updated
