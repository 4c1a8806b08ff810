"""Volumes that a pod reads once: emptyDir, configMap, secret, downwardAPI, projected, with every mode and user."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from tests.cluster.conformance.api import Obj
from tests.cluster.conformance.batch import Batch, Case, Expected, tool, tool_pod

from shirube.api import quantity

S = "[sig-storage] "
N = " [NodeConformance] [Conformance]"
L = " [LinuxOnly] [NodeConformance] [Conformance]"

DEEP = "path/to/data-2"
MAPPED = [{"key": "data-2", "path": DEEP}]
MAPPED_0400 = [{"key": "data-2", "path": DEEP, "mode": 0o400}]
USER = {"runAsUser": 1000}
GROUP = {"runAsUser": 1000, "fsGroup": 1001}
RESOURCES = {"requests": {"cpu": "25m", "memory": "32Mi"}, "limits": {"cpu": "1250m", "memory": "64Mi"}}


def config_map(name: str, data: Any = None, **more: Any) -> Obj:
    data = {"data-1": "value-1", "data-2": "value-2", "data-3": "value-3"} if data is None else data
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data, **more}


def secret(name: str, data: Any = None) -> Obj:
    data = {"data-1": "value-1", "data-2": "value-2"} if data is None else data
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded}


NEEDS = (config_map("config"), secret("hidden"))


def volume(kind: str, name: str = "v", **more: Any) -> Obj:
    """Of a ConfigMap or Secret; "projected configMap" has it as the one source (defaultMode belongs to the whole)."""
    projected, plain = kind.startswith("projected "), kind.removeprefix("projected ")
    which = {"configMap": "config", "secret": "hidden"}[plain]
    if not projected:
        return {"name": name, plain: {"secretName" if plain == "secret" else "name": which, **more}}
    whole = {"defaultMode": more.pop("defaultMode")} if "defaultMode" in more else {}
    return {"name": name, "projected": {"sources": [{plain: {"name": which, **more}}], **whole}}


def show(label: str, path: str) -> str:
    """Shell that prints one line: LABEL: CONTENT mode MODE owner UID:GID."""
    return f"echo {label}: $(cat {path}) $(stat -L -c 'mode %a owner %u:%g' {path})"


def shows(
    *volumes: Obj, path: str = "data-1", value: str = "value-1", mode: str = "644", owner: str = "0:0", user: Any = None
) -> Case:
    """A pod that shows the file `path` of each of the volumes."""
    mounts = [{"name": v["name"], "mountPath": f"/etc/{v['name']}", "readOnly": True} for v in volumes]
    script = "; ".join(show(v["name"], f"/etc/{v['name']}/{path}") for v in volumes)
    made = tool_pod(tool(script, volumeMounts=mounts), volumes=list(volumes), securityContext=user or {})
    return Case(made, tuple(f"{v['name']}: {value} mode {mode} owner {owner}" for v in volumes), NEEDS)


def two(kind: str) -> tuple[Obj, Obj]:
    return volume(kind), volume(kind, "w")


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            shows(volume("configMap")),
            marks=pytest.mark.conformance(f"{S}ConfigMap should be consumable from pods in volume{N}"),
        ),
        pytest.param(
            shows(volume("configMap"), user=USER),
            marks=pytest.mark.conformance(f"{S}ConfigMap should be consumable from pods in volume as non-root{N}"),
        ),
        pytest.param(
            shows(volume("configMap", defaultMode=0o400), mode="400"),
            marks=pytest.mark.conformance(
                f"{S}ConfigMap should be consumable from pods in volume with defaultMode set{L}"
            ),
        ),
        pytest.param(
            shows(volume("configMap", items=MAPPED), path=DEEP, value="value-2"),
            marks=pytest.mark.conformance(f"{S}ConfigMap should be consumable from pods in volume with mappings{N}"),
        ),
        pytest.param(
            shows(volume("configMap", items=MAPPED_0400), path=DEEP, value="value-2", mode="400"),
            marks=pytest.mark.conformance(
                f"{S}ConfigMap should be consumable from pods in volume with mappings and Item mode set{L}"
            ),
        ),
        pytest.param(
            shows(volume("configMap", items=MAPPED), path=DEEP, value="value-2", user=USER),
            marks=pytest.mark.conformance(
                f"{S}ConfigMap should be consumable from pods in volume with mappings as non-root{N}"
            ),
        ),
        pytest.param(
            shows(*two("configMap")),
            marks=pytest.mark.conformance(f"{S}ConfigMap should be consumable in multiple volumes in the same pod{N}"),
        ),
        pytest.param(
            shows(volume("projected configMap")),
            marks=pytest.mark.conformance(f"{S}Projected configMap should be consumable from pods in volume{N}"),
        ),
        pytest.param(
            shows(volume("projected configMap"), user=USER),
            marks=pytest.mark.conformance(
                f"{S}Projected configMap should be consumable from pods in volume as non-root{N}"
            ),
        ),
        pytest.param(
            shows(volume("projected configMap", defaultMode=0o400), mode="400"),
            marks=pytest.mark.conformance(
                f"{S}Projected configMap should be consumable from pods in volume with defaultMode set{L}"
            ),
        ),
        pytest.param(
            shows(volume("projected configMap", items=MAPPED), path=DEEP, value="value-2"),
            marks=pytest.mark.conformance(
                f"{S}Projected configMap should be consumable from pods in volume with mappings{N}"
            ),
        ),
        pytest.param(
            shows(volume("projected configMap", items=MAPPED_0400), path=DEEP, value="value-2", mode="400"),
            marks=pytest.mark.conformance(
                f"{S}Projected configMap should be consumable from pods in volume with mappings and Item mode set{L}"
            ),
        ),
        pytest.param(
            shows(volume("projected configMap", items=MAPPED), path=DEEP, value="value-2", user=USER),
            marks=pytest.mark.conformance(
                f"{S}Projected configMap should be consumable from pods in volume with mappings as non-root{N}"
            ),
        ),
        pytest.param(
            shows(*two("projected configMap")),
            marks=pytest.mark.conformance(
                f"{S}Projected configMap should be consumable in multiple volumes in the same pod{N}"
            ),
        ),
        pytest.param(
            shows(volume("secret")),
            marks=pytest.mark.conformance(f"{S}Secrets should be consumable from pods in volume{N}"),
        ),
        pytest.param(
            shows(volume("secret", defaultMode=0o440), mode="440", owner="0:1001", user=GROUP),
            marks=pytest.mark.conformance(
                f"{S}Secrets should be consumable from pods in volume as non-root with defaultMode and fsGroup set{L}"
            ),
        ),
        pytest.param(
            shows(volume("secret", defaultMode=0o400), mode="400"),
            marks=pytest.mark.conformance(
                f"{S}Secrets should be consumable from pods in volume with defaultMode set{L}"
            ),
        ),
        pytest.param(
            shows(volume("secret", items=MAPPED), path=DEEP, value="value-2"),
            marks=pytest.mark.conformance(f"{S}Secrets should be consumable from pods in volume with mappings{N}"),
        ),
        pytest.param(
            shows(volume("secret", items=MAPPED_0400), path=DEEP, value="value-2", mode="400"),
            marks=pytest.mark.conformance(
                f"{S}Secrets should be consumable from pods in volume with mappings and Item Mode set{L}"
            ),
        ),
        pytest.param(
            shows(*two("secret")),
            marks=pytest.mark.conformance(f"{S}Secrets should be consumable in multiple volumes in a pod{N}"),
        ),
        pytest.param(
            shows(volume("projected secret")),
            marks=pytest.mark.conformance(f"{S}Projected secret should be consumable from pods in volume{N}"),
        ),
        pytest.param(
            shows(volume("projected secret", defaultMode=0o440), mode="440", owner="0:1001", user=GROUP),
            marks=pytest.mark.conformance(
                f"{S}Projected secret should be consumable from pods in volume as non-root with defaultMode and "
                f"fsGroup set{L}"
            ),
        ),
        pytest.param(
            shows(volume("projected secret", defaultMode=0o400), mode="400"),
            marks=pytest.mark.conformance(
                f"{S}Projected secret should be consumable from pods in volume with defaultMode set{L}"
            ),
        ),
        pytest.param(
            shows(volume("projected secret", items=MAPPED), path=DEEP, value="value-2"),
            marks=pytest.mark.conformance(
                f"{S}Projected secret should be consumable from pods in volume with mappings{N}"
            ),
        ),
        pytest.param(
            shows(volume("projected secret", items=MAPPED_0400), path=DEEP, value="value-2", mode="400"),
            marks=pytest.mark.conformance(
                f"{S}Projected secret should be consumable from pods in volume with mappings and Item Mode set{L}"
            ),
        ),
        pytest.param(
            shows(*two("projected secret")),
            marks=pytest.mark.conformance(f"{S}Projected secret should be consumable in multiple volumes in a pod{N}"),
        ),
    ],
)
def test_files(batch: Batch, case: Case):
    batch.check(case)


# -- downwardAPI


def field(path: str, **more: Any) -> Obj:
    return {"path": "file", "fieldRef": {"fieldPath": path}, **more}


def resource(name: str) -> Obj:
    return {"path": "file", "resourceFieldRef": {"containerName": "main", "resource": name}}


def downward(
    item: Obj, value: Expected, mode: str = "644", projected: bool = False, limited: bool = True, **more: Any
) -> Case:
    """A pod that shows one file of the downward API, whose value is `value`."""
    source = {"items": [item]}
    shown = {"projected": {"sources": [{"downwardAPI": source}], **more}} if projected else {}
    resources = {"resources": RESOURCES} if limited else {}
    container = tool(show("v", "/etc/v/file"), volumeMounts=[{"name": "v", "mountPath": "/etc/v"}], **resources)

    def line(pod: Obj, node: Obj) -> str:
        said = value if isinstance(value, str) else value(pod, node)
        return f"v: {said} mode {mode} owner 0:0"

    return Case(tool_pod(container, volumes=[{"name": "v", **(shown or {"downwardAPI": {**source, **more}})}]), (line,))


def own_name(pod: Obj, node: Obj) -> str:
    return str(pod["metadata"]["name"])


def allocatable(what: str) -> Callable[[Obj, Obj], str]:
    return lambda _, node: str(quantity.value(node["status"]["allocatable"][what]))


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            downward(field("metadata.name"), own_name),
            marks=pytest.mark.conformance(f"{S}Downward API volume should provide podname only{N}"),
        ),
        pytest.param(
            downward(field("metadata.name"), own_name, "400", defaultMode=0o400),
            marks=pytest.mark.conformance(f"{S}Downward API volume should set DefaultMode on files{L}"),
        ),
        pytest.param(
            downward(field("metadata.name", mode=0o400), own_name, "400"),
            marks=pytest.mark.conformance(f"{S}Downward API volume should set mode on item file{L}"),
        ),
        pytest.param(
            downward(resource("limits.cpu"), "2"),
            marks=pytest.mark.conformance(f"{S}Downward API volume should provide container's cpu limit{N}"),
        ),
        pytest.param(
            downward(resource("requests.cpu"), "1"),
            marks=pytest.mark.conformance(f"{S}Downward API volume should provide container's cpu request{N}"),
        ),
        pytest.param(
            downward(resource("limits.memory"), "67108864"),
            marks=pytest.mark.conformance(f"{S}Downward API volume should provide container's memory limit{N}"),
        ),
        pytest.param(
            downward(resource("requests.memory"), "33554432"),
            marks=pytest.mark.conformance(f"{S}Downward API volume should provide container's memory request{N}"),
        ),
        pytest.param(
            downward(resource("limits.cpu"), allocatable("cpu"), limited=False),
            marks=pytest.mark.conformance(
                f"{S}Downward API volume should provide node allocatable (cpu) as default cpu limit if the limit is "
                f"not set{N}"
            ),
        ),
        pytest.param(
            downward(resource("limits.memory"), allocatable("memory"), limited=False),
            marks=pytest.mark.conformance(
                f"{S}Downward API volume should provide node allocatable (memory) as default memory limit if the limit "
                f"is not set{N}"
            ),
        ),
        pytest.param(
            downward(field("metadata.name"), own_name, projected=True),
            marks=pytest.mark.conformance(f"{S}Projected downwardAPI should provide podname only{N}"),
        ),
        pytest.param(
            downward(field("metadata.name"), own_name, "400", projected=True, defaultMode=0o400),
            marks=pytest.mark.conformance(f"{S}Projected downwardAPI should set DefaultMode on files{L}"),
        ),
        pytest.param(
            downward(field("metadata.name", mode=0o400), own_name, "400", projected=True),
            marks=pytest.mark.conformance(f"{S}Projected downwardAPI should set mode on item file{L}"),
        ),
        pytest.param(
            downward(resource("limits.cpu"), "2", projected=True),
            marks=pytest.mark.conformance(f"{S}Projected downwardAPI should provide container's cpu limit{N}"),
        ),
        pytest.param(
            downward(resource("requests.cpu"), "1", projected=True),
            marks=pytest.mark.conformance(f"{S}Projected downwardAPI should provide container's cpu request{N}"),
        ),
        pytest.param(
            downward(resource("limits.memory"), "67108864", projected=True),
            marks=pytest.mark.conformance(f"{S}Projected downwardAPI should provide container's memory limit{N}"),
        ),
        pytest.param(
            downward(resource("requests.memory"), "33554432", projected=True),
            marks=pytest.mark.conformance(f"{S}Projected downwardAPI should provide container's memory request{N}"),
        ),
        pytest.param(
            downward(resource("limits.cpu"), allocatable("cpu"), projected=True, limited=False),
            marks=pytest.mark.conformance(
                f"{S}Projected downwardAPI should provide node allocatable (cpu) as default cpu limit if the limit is "
                f"not set{N}"
            ),
        ),
        pytest.param(
            downward(resource("limits.memory"), allocatable("memory"), projected=True, limited=False),
            marks=pytest.mark.conformance(
                f"{S}Projected downwardAPI should provide node allocatable (memory) as default memory limit if the "
                f"limit is not set{N}"
            ),
        ),
    ],
)
def test_downward(batch: Batch, case: Case):
    batch.check(case)


# -- emptyDir


def writes(user: int, mode: str, medium: str) -> Case:
    """A pod that makes a file of the mode in an emptyDir and shows it, and what is mounted there."""
    script = f"""
        echo mount-tester new file > /test-volume/file
        chmod {mode} /test-volume/file
        {show("file", "/test-volume/file")}
        echo volume $(stat -f -c %T /test-volume) $(stat -c %a /test-volume)
        grep -q ' /test-volume ' /proc/mounts && echo mounted
    """
    container = tool(script, volumeMounts=[{"name": "v", "mountPath": "/test-volume"}])
    context = {"runAsUser": user} if user else {}
    volumes = [{"name": "v", "emptyDir": {"medium": medium} if medium else {}}]
    owner = f"{user}:{0}"
    expected = [f"file: mount-tester new file mode {mode} owner {owner}", "mounted"]
    if medium:
        expected.append("volume tmpfs 777")
    return Case(tool_pod(container, volumes=volumes, securityContext=context), tuple(expected))


def of_mode(medium: str) -> Case:
    script = "stat -f -c %T /test-volume; stat -c %a /test-volume"
    container = tool(script, volumeMounts=[{"name": "v", "mountPath": "/test-volume"}])
    volumes = [{"name": "v", "emptyDir": {"medium": medium} if medium else {}}]
    return Case(tool_pod(container, volumes=volumes), ("777", *(["tmpfs"] if medium else [])))


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            writes(0, "644", ""),
            marks=pytest.mark.conformance(f"{S}EmptyDir volumes should support (root,0644,default){L}"),
        ),
        pytest.param(
            writes(0, "666", ""),
            marks=pytest.mark.conformance(f"{S}EmptyDir volumes should support (root,0666,default){L}"),
        ),
        pytest.param(
            writes(0, "777", ""),
            marks=pytest.mark.conformance(f"{S}EmptyDir volumes should support (root,0777,default){L}"),
        ),
        pytest.param(
            writes(1001, "644", ""),
            marks=pytest.mark.conformance(f"{S}EmptyDir volumes should support (non-root,0644,default){L}"),
        ),
        pytest.param(
            writes(1001, "666", ""),
            marks=pytest.mark.conformance(f"{S}EmptyDir volumes should support (non-root,0666,default){L}"),
        ),
        pytest.param(
            writes(1001, "777", ""),
            marks=pytest.mark.conformance(f"{S}EmptyDir volumes should support (non-root,0777,default){L}"),
        ),
        pytest.param(
            writes(0, "644", "Memory"),
            marks=pytest.mark.conformance(f"{S}EmptyDir volumes should support (root,0644,tmpfs){L}"),
        ),
        pytest.param(
            writes(0, "666", "Memory"),
            marks=pytest.mark.conformance(f"{S}EmptyDir volumes should support (root,0666,tmpfs){L}"),
        ),
        pytest.param(
            writes(0, "777", "Memory"),
            marks=pytest.mark.conformance(f"{S}EmptyDir volumes should support (root,0777,tmpfs){L}"),
        ),
        pytest.param(
            writes(1001, "644", "Memory"),
            marks=pytest.mark.conformance(f"{S}EmptyDir volumes should support (non-root,0644,tmpfs){L}"),
        ),
        pytest.param(
            writes(1001, "666", "Memory"),
            marks=pytest.mark.conformance(f"{S}EmptyDir volumes should support (non-root,0666,tmpfs){L}"),
        ),
        pytest.param(
            writes(1001, "777", "Memory"),
            marks=pytest.mark.conformance(f"{S}EmptyDir volumes should support (non-root,0777,tmpfs){L}"),
        ),
        pytest.param(
            of_mode(""),
            marks=pytest.mark.conformance(
                f"{S}EmptyDir volumes volume on default medium should have the correct mode{L}"
            ),
        ),
        pytest.param(
            of_mode("Memory"),
            marks=pytest.mark.conformance(f"{S}EmptyDir volumes volume on tmpfs should have the correct mode{L}"),
        ),
    ],
)
def test_empty_dir(batch: Batch, case: Case):
    batch.check(case)


# -- several things in one pod


def shared() -> Case:
    mounts = [{"name": "v", "mountPath": "/data"}]
    waits = "until [ -e /data/done ]; do sleep 0.1; done; cat /data/shared.txt"
    writer = "echo Hello from the sub container > /data/shared.txt; touch /data/done"
    containers = tool(waits, volumeMounts=mounts), tool(writer, "sub", volumeMounts=mounts)
    return Case(tool_pod(*containers, volumes=[{"name": "v", "emptyDir": {}}]), ("Hello from the sub container",))


def binary() -> Case:
    data = bytes(range(250, 256)) + b"\x00\x01"
    more = {"binaryData": {"dump.bin": base64.b64encode(data).decode()}}
    script = "cat /etc/v/text; echo; od -An -tx1 /etc/v/dump.bin | tr -d ' '"
    made = tool_pod(
        tool(script, volumeMounts=[{"name": "v", "mountPath": "/etc/v"}]),
        volumes=[{"name": "v", "configMap": {"name": "binary"}}],
    )
    return Case(made, ("value-1", data.hex()), (config_map("binary", {"text": "value-1"}, **more),))


def everything() -> Case:
    items = [{"path": "podname", "fieldRef": {"fieldPath": "metadata.name"}}]
    sources = [
        {"configMap": {"name": "config", "items": [{"key": "data-1", "path": "configmap-data"}]}},
        {"secret": {"name": "hidden", "items": [{"key": "data-2", "path": "secret-data"}]}},
        {"downwardAPI": {"items": items}},
    ]
    script = "cd /all; echo $(cat podname) $(cat secret-data) $(cat configmap-data)"
    made = tool_pod(
        tool(script, volumeMounts=[{"name": "v", "mountPath": "/all", "readOnly": True}]),
        volumes=[{"name": "v", "projected": {"sources": sources}}],
    )
    return Case(made, (lambda pod, _: f"{pod['metadata']['name']} value-2 value-1",), NEEDS)


def wrapped() -> Case:
    """A ConfigMap, a Secret and an emptyDir beside each other: each has its own directory on the node."""
    volumes = [volume("configMap", "c"), volume("secret", "s"), {"name": "e", "emptyDir": {}}]
    mounts = [{"name": v["name"], "mountPath": f"/etc/{v['name']}"} for v in volumes]
    script = "echo $(ls /etc/c) and $(ls /etc/s) and $(ls /etc/e)"
    made = tool_pod(tool(script, volumeMounts=mounts), volumes=volumes)
    return Case(made, ("data-1 data-2 data-3 and data-1 data-2 and",), NEEDS)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            shared(),
            marks=pytest.mark.conformance(
                f"{S}EmptyDir volumes pod should support shared volumes between containers [Conformance]"
            ),
        ),
        pytest.param(
            binary(), marks=pytest.mark.conformance(f"{S}ConfigMap binary data should be reflected in volume{N}")
        ),
        pytest.param(
            everything(),
            marks=pytest.mark.conformance(
                f"{S}Projected combined should project all components that make up the projection API [Projection]{N}"
            ),
        ),
        pytest.param(
            wrapped(),
            marks=pytest.mark.conformance(f"{S}EmptyDir wrapper volumes should not conflict [Conformance]"),
        ),
    ],
)
def test_combined(batch: Batch, case: Case):
    batch.check(case)


@pytest.mark.conformance(
    f"{S}Secrets should be able to mount in a volume regardless of a different secret existing with same name in "
    f"different namespace{N}"
)
def test_secret_of_the_same_name_elsewhere(api, batch: Batch, ns: str):
    api.at("v1", "secrets", ns).create(secret("hidden", {"this_should_not_match_content_of_other_secret": "similar"}))
    made = shows(volume("secret"))
    batch.create([made])
    batch.check(made)
