"""Volumes whose files follow the API while the pod runs, subPaths of them, and many of them at once."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from tests.cluster.conformance.api import MERGE, Api, Obj
from tests.cluster.conformance.batch import Batch, tool, tool_pod
from tests.cluster.conformance.objects import workload
from tests.waiting import eventually

S = "[sig-storage] "
N = " [NodeConformance] [Conformance]"
# Upstream allows minutes (the agent's sync period and a cache's time to live).
PROMPT = 10.0
# Prints every file of the volumes /etc/… whenever it changed, as NAME=CONTENT.
FOLLOW = """
    old=
    while true; do
        new=$(for f in /etc/v*/*; do [ -e "$f" ] && echo "$f=$(cat "$f")"; done)
        [ "$new" = "$old" ] || { echo "$new"; echo --; old=$new; }
        sleep 0.1
    done
"""

PLURALS = {"configMap": "configmaps", "secret": "secrets"}


def content(kind: str, **data: str) -> Obj:
    encoded = {k: base64.b64encode(v.encode()).decode() for k, v in data.items()} if kind == "secret" else data
    return {"kind": {"configMap": "ConfigMap", "secret": "Secret"}[kind], "data": encoded}


def volume(kind: str, projected: bool, name: str, which: str, **more: Any) -> Obj:
    if projected:
        return {"name": name, "projected": {"sources": [{kind: {"name": which, **more}}]}}
    return {"name": name, kind: {"secretName" if kind == "secret" else "name": which, **more}}


class Follower:
    """A pod that tells what it sees in its volumes."""

    def __init__(self, batch: Batch, name: str, *volumes: Obj, metadata: Any = None) -> None:
        self.batch, self.name = batch, name
        mounts = [{"name": v["name"], "mountPath": f"/etc/{v['name']}", "readOnly": True} for v in volumes]
        container = tool(FOLLOW, volumeMounts=mounts)
        batch.create_all([tool_pod(container, name=name, metadata=metadata, volumes=list(volumes))])

    def sees(self) -> dict[str, str]:
        """The files as last told."""
        told = self.batch.log(self.name).split("--\n")
        last = told[-2] if len(told) > 1 else ""
        return dict(line.split("=", 1) for line in last.splitlines() if line.startswith("/etc/"))

    def until(self, condition: Callable[[dict[str, str]], Any], seconds: float = PROMPT) -> None:
        def holds() -> bool:
            seen = self.sees()
            assert condition(seen), seen
            return True

        eventually(holds, "the pod sees it", seconds)


def made(batch: Batch, kind: str, name: str, **data: str) -> None:
    batch.create_all([{"apiVersion": "v1", "metadata": {"name": name}, **content(kind, **data)}])


def follows_updates(batch: Batch, kind: str, projected: bool) -> None:
    name = f"update-{kind.lower()}-{projected}".lower()
    made(batch, kind, name, **{"data-1": "value-1"})
    pod = Follower(batch, name, volume(kind, projected, "v", name))
    batch.running(name)
    pod.until(lambda seen: seen == {"/etc/v/data-1": "value-1"})
    changed = content(kind, **{"data-1": "value-2", "data-2": "value-3"})["data"]
    batch.api.at("v1", PLURALS[kind], batch.ns).patch(name, {"data": changed}, MERGE)
    pod.until(lambda seen: seen == {"/etc/v/data-1": "value-2", "/etc/v/data-2": "value-3"})


@pytest.mark.conformance(f"{S}ConfigMap updates should be reflected in volume{N}")
def test_config_map(batch):
    follows_updates(batch, "configMap", False)


@pytest.mark.conformance(f"{S}Projected configMap updates should be reflected in volume{N}")
def test_projected_config_map(batch):
    follows_updates(batch, "configMap", True)


def follows_what_comes_and_goes(batch: Batch, kind: str, projected: bool) -> None:
    """Three optional objects: one is deleted, one changed, one created while the pod runs."""
    name = f"optional-{kind.lower()}-{projected}".lower()
    gone, changed, new = (f"{name}-{what}" for what in ("del", "upd", "create"))
    made(batch, kind, gone, **{"data-1": "value-1"})
    made(batch, kind, changed, **{"data-1": "value-1"})
    whiches = {"v-del": gone, "v-upd": changed, "v-create": new}
    pod = Follower(batch, name, *(volume(kind, projected, v, which, optional=True) for v, which in whiches.items()))
    batch.running(name)
    pod.until(lambda seen: seen == {"/etc/v-del/data-1": "value-1", "/etc/v-upd/data-1": "value-1"})
    collection = batch.api.at("v1", PLURALS[kind], batch.ns)
    collection.delete(gone)
    update = content(kind, **{"data-3": "value-3"})["data"]
    collection.patch(changed, {"data": {**update, "data-1": None}}, MERGE)
    made(batch, kind, new, **{"data-1": "value-1"})
    pod.until(lambda seen: seen == {"/etc/v-upd/data-3": "value-3", "/etc/v-create/data-1": "value-1"})


@pytest.mark.conformance(f"{S}ConfigMap optional updates should be reflected in volume{N}")
def test_optional_config_maps(batch):
    follows_what_comes_and_goes(batch, "configMap", False)


@pytest.mark.conformance(f"{S}Projected configMap optional updates should be reflected in volume{N}")
def test_optional_projected_config_maps(batch):
    follows_what_comes_and_goes(batch, "configMap", True)


@pytest.mark.conformance(f"{S}Secrets optional updates should be reflected in volume{N}")
def test_optional_secrets(batch):
    follows_what_comes_and_goes(batch, "secret", False)


@pytest.mark.conformance(f"{S}Projected secret optional updates should be reflected in volume{N}")
def test_optional_projected_secrets(batch):
    follows_what_comes_and_goes(batch, "secret", True)


def follows_its_metadata(batch: Batch, what: str, projected: bool) -> None:
    name = f"follow-{what}-{projected}".lower()
    source = {"items": [{"path": what, "fieldRef": {"fieldPath": f"metadata.{what}"}}]}
    shown = {"projected": {"sources": [{"downwardAPI": source}]}} if projected else {"downwardAPI": source}
    pod = Follower(batch, name, {"name": "v", **shown}, metadata={what: {"key1": "value1", "key2": "value2"}})
    batch.running(name)
    # (What else is in there is the cluster's own.)
    pod.until(lambda seen: 'key1="value1"' in seen.get(f"/etc/v/{what}", ""))
    batch.pods.patch(name, {"metadata": {what: {"key1": "value1", "key2": "changed", "key3": "value3"}}}, MERGE)
    lines = ('key1="value1"', 'key2="changed"', 'key3="value3"')
    eventually(lambda: "\n".join(lines) in batch.log(name), "the pod sees its new metadata", PROMPT)


@pytest.mark.conformance(f"{S}Downward API volume should update labels on modification{N}")
def test_labels(batch):
    follows_its_metadata(batch, "labels", False)


@pytest.mark.conformance(f"{S}Downward API volume should update annotations on modification{N}")
def test_annotations(batch):
    follows_its_metadata(batch, "annotations", False)


@pytest.mark.conformance(f"{S}Projected downwardAPI should update labels on modification{N}")
def test_projected_labels(batch):
    follows_its_metadata(batch, "labels", True)


@pytest.mark.conformance(f"{S}Projected downwardAPI should update annotations on modification{N}")
def test_projected_annotations(batch):
    follows_its_metadata(batch, "annotations", True)


# -- subPath

ITEM = {"path": "sub/file", "fieldRef": {"fieldPath": "metadata.name"}}


def reads_by_sub_path(batch: Batch, name: str, source: Obj, expected: str, path: str = "/probe/file") -> None:
    """A container that sees one file of a volume, by a subPath that names a directory or the very file."""
    whole = path == "/probe/file"
    mount = {"name": "v", "mountPath": "/probe" if whole else path, "subPath": "sub" if whole else "sub/file"}
    # Again and again, as a file that is replaced under a reader would show.
    script = f"for i in 1 2 3 4 5; do cat {path}; echo; sleep 0.1; done"
    batch.create_all([tool_pod(tool(script, volumeMounts=[mount]), name=name, volumes=[{"name": "v", **source}])])
    batch.ended(name)
    assert batch.log(name).split() == [expected] * 5


@pytest.mark.conformance(f"{S}Subpath Atomic writer volumes should support subpaths with configmap pod [Conformance]")
def test_sub_path_of_a_config_map(batch):
    made(batch, "configMap", "sub-config", file="configmap-value")
    items = [{"key": "file", "path": "sub/file"}]
    reads_by_sub_path(batch, "sub-config", {"configMap": {"name": "sub-config", "items": items}}, "configmap-value")


@pytest.mark.conformance(
    f"{S}Subpath Atomic writer volumes should support subpaths with configmap pod with mountPath of existing file "
    "[Conformance]"
)
def test_sub_path_over_a_file_of_the_image(batch):
    made(batch, "configMap", "over-config", file="configmap-value")
    source = {"configMap": {"name": "over-config", "items": [{"key": "file", "path": "sub/file"}]}}
    reads_by_sub_path(batch, "over-config", source, "configmap-value", "/etc/example")


@pytest.mark.conformance(f"{S}Subpath Atomic writer volumes should support subpaths with secret pod [Conformance]")
def test_sub_path_of_a_secret(batch):
    made(batch, "secret", "sub-secret", file="secret-value")
    source = {"secret": {"secretName": "sub-secret", "items": [{"key": "file", "path": "sub/file"}]}}
    reads_by_sub_path(batch, "sub-secret", source, "secret-value")


@pytest.mark.conformance(f"{S}Subpath Atomic writer volumes should support subpaths with downward pod [Conformance]")
def test_sub_path_of_the_downward_api(batch):
    reads_by_sub_path(batch, "sub-downward", {"downwardAPI": {"items": [ITEM]}}, "sub-downward")


@pytest.mark.conformance(f"{S}Subpath Atomic writer volumes should support subpaths with projected pod [Conformance]")
def test_sub_path_of_a_projected_volume(batch):
    source = {"projected": {"sources": [{"downwardAPI": {"items": [ITEM]}}]}}
    reads_by_sub_path(batch, "sub-projected", source, "sub-projected")


# -- many


@pytest.mark.conformance(
    f"{S}EmptyDir wrapper volumes should not cause race condition when used for configmaps [Serial] [Conformance]"
)
def test_fifty_volumes_in_each_of_five_pods(api: Api, ns: str, batch: Batch):
    names = [f"racey-configmap-{n}" for n in range(50)]
    mine = Batch(api, ns)
    mine.create_all({"apiVersion": "v1", "metadata": {"name": n}, **content("configMap", data=n)} for n in names)
    volumes = [{"name": n, "configMap": {"name": n, "items": [{"key": "data", "path": "data"}]}} for n in names]
    mounts = [{"name": n, "mountPath": f"/etc/{n}"} for n in names]
    controller = workload(
        "ReplicationController", "racey", {"name": "racey"}, 5, tool("sleep 3600", volumeMounts=mounts)
    )
    controller["spec"]["template"]["spec"]["volumes"] = volumes
    api.at("v1", "replicationcontrollers", ns).create(controller)

    def all_run() -> bool:
        found = api.pods(ns).items("name=racey")
        states = [p["status"]["phase"] for p in found]
        assert states == ["Running"] * 5, states
        return True

    eventually(all_run, "all five run", 60)
    failed = [e["message"] for e in api.at("v1", "events", ns).items() if e["reason"] in ("FailedMount", "Failed")]
    assert failed == []
