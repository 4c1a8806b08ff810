"""Custom resources for these tests: a definition of its own group for each test, gone when the test is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.cluster.conformance.api import Api, Collection, Obj
from tests.cluster.conformance.objects import condition
from tests.waiting import eventually

V1 = "apiextensions.k8s.io/v1"
ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_numbers = itertools.count(1)


def version(name: str, schema: Obj = ANYTHING, storage: bool = True, served: bool = True, **more: Any) -> Obj:
    return {"name": name, "served": served, "storage": storage, "schema": {"openAPIV3Schema": schema}, **more}


def definition(*versions: Obj, group: str = "", kind: str = "E2eTest", **spec: Any) -> Obj:
    group = group or f"conformance-{next(_numbers)}.example.com"
    plural = f"{kind.lower()}s"
    names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    return {
        "apiVersion": V1,
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": names,
            "versions": list(versions) or [version("v1")],
            **spec,
        },
    }


def established(api: Api, made: Obj) -> Obj:
    """Creates it and waits until it is Established and served."""
    definitions, name = api.at(V1, "customresourcedefinitions"), made["metadata"]["name"]
    definitions.create(made)

    def done():
        found = definitions.get(name)
        said = condition(found, "Established")
        return found if said and said["status"] == "True" else None

    found = eventually(done, f"{name} is established", 15)
    spec = made["spec"]
    for one in (v["name"] for v in spec["versions"] if v["served"]):
        path = f"/apis/{spec['group']}/{one}/{spec['names']['plural']}"
        eventually(lambda path=path: api.call("GET", path).code == 200, f"{path} is served", 15)
    return dict(found)


@contextmanager
def defined(api: Api, *versions: Obj, **spec: Any) -> Iterator[Obj]:
    made = definition(*versions, **spec)
    try:
        yield established(api, made)
    finally:
        api.at(V1, "customresourcedefinitions").delete(made["metadata"]["name"])


def objects_of(api: Api, made: Obj, ns: str, which: str = "") -> Collection:
    spec = made["spec"]
    return api.at(f"{spec['group']}/{which or spec['versions'][0]['name']}", spec["names"]["plural"], ns)


def custom(made: Obj, name: str, which: str = "", **fields: Any) -> Obj:
    spec = made["spec"]
    return {
        "apiVersion": f"{spec['group']}/{which or spec['versions'][0]['name']}",
        "kind": spec["names"]["kind"],
        "metadata": {"name": name},
        **fields,
    }
