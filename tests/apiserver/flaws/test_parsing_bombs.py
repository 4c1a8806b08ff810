"""YAML alias, depth and size bombs (as in CVE-2019-11253 and CVE-2019-11254), and their kin in JSON, protobuf and
patches: small bodies that would take the server's memory or time.
"""

from __future__ import annotations

import json

import pytest
from tests.apiserver.conftest import CONFIGMAPS, configmap

YAML, APPLY = "application/yaml", "application/apply-patch+yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"


def laughs() -> bytes:
    """Nine to the power of nine strings in half a kilobyte."""
    lines = ["apiVersion: v1", "kind: ConfigMap", "a: &a [web,web,web,web,web,web,web,web,web]"]
    lines += [f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    return "\n".join([*lines, "data: *i"]).encode()


def merged_laughs() -> bytes:
    """The same through merge keys."""
    lines = ["a0: &a0 {" + ", ".join(f"k{n}: v" for n in range(9)) + "}"]
    lines += [f"a{i}: &a{i} {{" + ", ".join(f"x{n}: *a{i - 1}" for n in range(9)) + "}" for i in range(1, 12)]
    return "\n".join([*lines, "<<: *a11"]).encode()


def long_alias() -> bytes:
    return b"data:\n  x: &x " + b"y" * 50_000 + b"\nlist: [" + b", ".join([b"*x"] * 5000) + b"]"


BODIES = {
    "yaml aliases": (YAML, laughs()),
    "yaml merge keys": (YAML, merged_laughs()),
    "yaml long aliases": (YAML, long_alias()),
    "yaml depth, flow": (YAML, b"data: " + b"[" * 500_000),
    "yaml depth, maps": (YAML, b"{a: " * 300_000),
    "yaml depth, blocks": (YAML, b"- " * 500_000 + b"x"),
    "yaml many documents": (YAML, b"---\na: b\n" * 100_000),
    "yaml recursive anchor": (YAML, b"a: &a {b: *a}"),
    "yaml long comment": (YAML, b"# " + b"x" * (4 << 20)),
    "yaml huge number": (YAML, b"data: {x: " + b"9" * 1_000_000 + b"}"),
    "yaml sexagesimal": (YAML, b"data: {x: " + b"1:" * 100_000 + b"1}"),
    "json depth, lists": ("application/json", b'{"data":' + b"[" * 1_000_000),
    "json depth, closed": ("application/json", b'{"data":' + b"[" * 5000 + b"]" * 5000 + b"}"),
    "json depth, objects": ("application/json", b'{"a":' * 400_000),
    "json huge number": ("application/json", b'{"data":{"x":' + b"9" * 2_000_000 + b"}}"),
    "json huge exponent": ("application/json", b'{"data":{"x":1e999999999}}'),
    "json size": ("application/json", b'{"data":{"x":"' + b"y" * (4 << 20) + b'"}}'),
    "protobuf depth": (PROTOBUF, b"k8s\x00" + b"\x12\x80\x80\x04" * 100_000),
    "protobuf length": (PROTOBUF, b"k8s\x00\x12\xff\xff\xff\xff\x0f"),
    "protobuf groups": (PROTOBUF, b"k8s\x00" + b"\x13" * 1_000_000),
    "protobuf varint": (PROTOBUF, b"k8s\x00\x12" + b"\xff" * 1_000_000),
}


# read as the texts that they are: nothing is wrong with them but their length
HARMLESS = ("yaml huge number", "yaml sexagesimal")


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_bodies(api, method):
    for name, (media, body) in BODIES.items():
        target = CONFIGMAPS if method == "POST" else f"{CONFIGMAPS}/x"
        answer = await api.call(method, target, raw=body, content_type=media)
        refused = answer.status in (400, 413, 415, 422) or (name in HARMLESS and answer.status == 404)
        assert refused, (name, answer.raw[:300])
        assert answer.json["kind"] == "Status" and len(answer.raw) < 64 * 1024, name


async def test_apply(api):
    for name, (media, body) in BODIES.items():
        if media == YAML:
            target = f"{CONFIGMAPS}/x?fieldManager=me&force=true"
            answer = await api.call("PATCH", target, raw=body, content_type=APPLY)
            assert answer.status in (400, 413, 422), (name, answer.raw[:300])


async def test_options_of_a_delete(api):
    await api.ok("POST", CONFIGMAPS, configmap("kept"))
    for name, (media, body) in BODIES.items():
        if name not in HARMLESS:
            answer = await api.call("DELETE", f"{CONFIGMAPS}/kept", raw=body, content_type=media)
            assert answer.status in (400, 413, 415, 422), (name, answer.raw[:300])
    assert (await api.get(f"{CONFIGMAPS}/kept")).status == 200


def doubling(times: int) -> list[dict]:
    """Each operation copies everything so far into itself."""
    return [{"op": "copy", "from": "/data", "path": f"/data/x{n}"} for n in range(times)]


PATCHES = {
    "copies that double": ("json-patch+json", doubling(64)),
    "too many operations": ("json-patch+json", [{"op": "test", "path": "/data/a", "value": "b"}] * 10_001),
    "deep value": ("json-patch+json", '[{"op":"add","path":"/data","value":' + "[" * 100_000 + "]" * 100_000 + "}]"),
    "deep merge": ("merge-patch+json", '{"data":' * 100_000 + "1" + "}" * 100_000),
    "deep strategic": ("strategic-merge-patch+json", '{"data":' * 100_000 + "1" + "}" * 100_000),
    "strategic directives": (
        "strategic-merge-patch+json",
        {"metadata": {"$patch": "replace", **{f"$setElementOrder/x{n}": ["a"] * 100 for n in range(1000)}}},
    ),
}


async def test_patches(api):
    await api.ok("POST", CONFIGMAPS, configmap("x", a="b"))
    for name, (kind, body) in PATCHES.items():
        raw = (body if isinstance(body, str) else json.dumps(body)).encode()
        answer = await api.call("PATCH", f"{CONFIGMAPS}/x", raw=raw, content_type=f"application/{kind}")
        assert answer.status in (400, 413, 422), (name, answer.raw[:300])
        assert (await api.ok("GET", f"{CONFIGMAPS}/x"))["data"] == {"a": "b"}, name


SELECTORS = [
    "labelSelector=" + ",".join(f"a{n}" for n in range(3000)),
    "labelSelector=" + "(" * 5000,
    "labelSelector=" + "a in (" + ",".join("x" * 63 for _ in range(300)),
    "fieldSelector=" + "a" * 20_000,
    "continue=" + "A" * 50_000,
    "continue=" + "%00" * 1000,
    "limit=" + "9" * 5000,
    "limit=-1",
    "resourceVersion=" + "9" * 5000,
    "timeoutSeconds=" + "9" * 5000,
]


async def test_queries(api):
    for query in SELECTORS:
        answer = await api.get(f"{CONFIGMAPS}?{query.replace(' ', '+')}")
        assert answer.status in (200, 400, 410, 422, 504), (query[:50], answer.raw[:300])
        assert answer.status != 200 or answer.json["items"] == [], query[:50]


async def test_names_and_headers(api):
    assert (await api.get(f"{CONFIGMAPS}/{'x' * 100_000}")).status == 404
    answer = await api.get(CONFIGMAPS, accept=",".join(["application/json;q=0.1;as=Table"] * 2000))
    assert answer.status in (200, 406)
    answer = await api.post(CONFIGMAPS, configmap("a"), content_type="application/json;" + "x=y;" * 5000)
    assert answer.status in (201, 400, 415)
