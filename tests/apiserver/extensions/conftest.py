"""Definitions to test with, and waiting until they are served."""

from __future__ import annotations

from typing import Any

import pytest
from tests.waiting import until

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GROUP = "stable.example.com"
CRONTABS = f"/apis/{GROUP}/v1/namespaces/default/crontabs"


def version(name: str = "v1", schema: dict | None = None, *, storage: bool = True, **more: Any) -> dict:
    schema = schema or {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": schema}, **more}


def spec_schema(**properties: Any) -> dict:
    """A schema with these properties in `spec`, and any status."""
    status = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    spec = {"type": "object", "properties": properties}
    return {"type": "object", "properties": {"spec": spec, "status": status}}


def definition(*versions: dict, scope: str = "Namespaced", plural: str = "crontabs", **more: Any) -> dict:
    names = {"plural": plural, "singular": plural[:-1], "kind": plural[:-1].capitalize()}
    names |= more.pop("names", {})
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": scope, "names": names, "versions": list(versions) or [version()], **more},
    }


def crontab(name: str, api_version: str = f"{GROUP}/v1", **more: Any) -> dict:
    return {"apiVersion": api_version, "kind": "Crontab", "metadata": {"name": name}, **more}


@pytest.fixture
def install(api: Any) -> Any:
    """Create a definition and wait until it is established."""

    async def create(obj: dict) -> dict:
        await api.ok("POST", CRDS, obj)
        return await established(api, obj["metadata"]["name"])

    return create


async def established(api: Any, name: str) -> dict:
    async def look() -> dict | None:
        obj = (await api.get(f"{CRDS}/{name}")).json
        conditions = {c["type"]: c["status"] for c in obj["status"]["conditions"]}
        return obj if conditions.get("Established") == "True" else None

    return await until(look)
