"""The root CA in every namespace: whatever people do to it or beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.client.memory_api import MemoryApi
from tests.controllers.conftest import House

from shirube.api.gvr import CONFIGMAPS, NAMESPACES
from shirube.client.rest import Client
from shirube.controllers.root_ca import NAME, RootCAController

DESCRIBED = "kubernetes.io/description"


def made(name: str = NAME, data: dict[str, str] | None = None, **annotations: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "annotations": annotations}, "data": data or {}}


def writes(api: MemoryApi) -> int:
    return sum(1 for method, path in api.requests if method != "GET" and "/configmaps" in path)


@pytest.mark.parametrize(
    ("there", "changed", "kept"),
    [
        (None, True, {}),
        (made("other", {"a": "b"}), True, {}),
        (made(data={"ca.crt": "the CA"}, **{DESCRIBED: "in our words"}), False, {DESCRIBED: "in our words"}),
        (made(data={"ca.crt": "the CA"}), True, {}),
        (made(data={"ca.crt": "another"}, **{DESCRIBED: "words", "own": "1"}), True, {"own": "1"}),
        (made(data={"ca.crt": "the CA", "more": "x"}, **{DESCRIBED: "words"}), True, {}),
        (made(), True, {}),
    ],
    ids=["missing", "another map", "as it should be", "not described", "another CA", "more beside it", "empty"],
)
async def test_what_is_there_becomes_what_should_be(
    house: House, client: Client, api: MemoryApi, tmp_path: Path, there: Any, changed: bool, kept: dict[str, str]
):
    ca = tmp_path / "ca.crt"
    ca.write_text("the CA")
    await client.create(NAMESPACES, {"metadata": {"name": "team"}})
    if there is not None:
        await client.create(CONFIGMAPS, there, "team")
    before = writes(api)
    async with house.running(RootCAController, context=house.context(root_ca=ca)) as controllers:
        await house.settle(controllers)
    found = await client.get(CONFIGMAPS, NAME, "team")
    assert found["data"] == {"ca.crt": "the CA"}
    annotations = found["metadata"]["annotations"]
    assert annotations.get(DESCRIBED) and kept.items() <= annotations.items()
    assert writes(api) - before == changed


@pytest.mark.parametrize("what", ["it", "another"])
async def test_only_its_own_comes_back(house: House, client: Client, api: MemoryApi, tmp_path: Path, what: str):
    ca = tmp_path / "ca.crt"
    ca.write_text("the CA")
    await client.create(NAMESPACES, {"metadata": {"name": "team"}})
    await client.create(CONFIGMAPS, made("another"), "team")
    async with house.running(RootCAController, context=house.context(root_ca=ca)) as controllers:
        await house.settle(controllers)
        before = writes(api)
        await client.delete(CONFIGMAPS, NAME if what == "it" else "another", "team")
        await house.settle(controllers)
    assert writes(api) - before == (2 if what == "it" else 1)
    assert [c["metadata"]["name"] for c in (await client.list(CONFIGMAPS, "team"))["items"]] == (
        ["another", NAME] if what == "it" else [NAME]
    )
