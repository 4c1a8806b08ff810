"""Looking back: lists and objects as they were at a revision, in every form, a page at a time."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from shirube.api import protobuf
from shirube.apiserver import listing, past
from shirube.apiserver.selection import Selection

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


def configmap(name: str, labels: dict | None = None, **data: str) -> dict:
    return {"metadata": {"name": name, "labels": labels or {}}, "data": data}


class Reads:
    """The sizes of the pages that are read from storage."""

    def __init__(self, storage: Any) -> None:
        self._range = storage.range
        self.pages: list[int] = []

    async def range(self, prefix: str, **asked: Any) -> Any:
        found = await self._range(prefix, **asked)
        self.pages.append(len(found.items))
        return found


@pytest.fixture
async def then(api, monkeypatch: pytest.MonkeyPatch):
    """(server, revision at which there were c0 … c9, what storage is asked). Now c3 is gone, c4 changed, d0 new."""
    monkeypatch.setattr(past, "PAGE", 3)
    for i in range(10):
        await api.ok("POST", CONFIGMAPS, configmap(f"c{i}", {"odd": str(i % 2)}, n=str(i)))
    revision = (await api.get(CONFIGMAPS)).json["metadata"]["resourceVersion"]
    await api.ok("DELETE", f"{CONFIGMAPS}/c3")
    await api.ok("PATCH", f"{CONFIGMAPS}/c4", {"data": {"n": "new"}}, content_type="application/merge-patch+json")
    await api.ok("POST", CONFIGMAPS, configmap("d0"))
    reads = Reads(api.context.storage)
    monkeypatch.setattr(api.context.storage, "range", reads.range)
    return api, f"{CONFIGMAPS}?resourceVersion={revision}&resourceVersionMatch=Exact", reads


ALL = [f"c{i}" for i in range(10)]


async def test_every_form_of_a_past_list(then):
    api, path, reads = then
    plain = (await api.get(path)).json
    assert [o["metadata"]["name"] for o in plain["items"]] == ALL
    assert plain["items"][4]["data"] == {"n": "4"}
    assert reads.pages == [3, 3, 3, 1]
    indented = await api.get(f"{path}&pretty=true")
    assert indented.json == plain
    assert b'\n      "metadata": {' in indented.raw
    packed = await api.get(path, accept_encoding="gzip")
    assert json.loads(gzip.decompress(packed.raw)) == plain
    wanted = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    partial = (await api.get(path, accept=wanted)).json
    assert [o["metadata"]["name"] for o in partial["items"]] == ALL
    table = (await api.get(path, accept="application/json;as=Table;g=meta.k8s.io;v=v1")).json
    assert [row["cells"][0] for row in table["rows"]] == ALL
    message = protobuf.decode((await api.get(path, accept="application/vnd.kubernetes.protobuf")).raw)
    assert [o["metadata"]["name"] for o in message["items"]] == ALL
    yaml = await api.get(path, accept="application/yaml")
    assert yaml.raw.count(b"kind: ConfigMap\n") == 10


@pytest.mark.parametrize("kept", [0, 300, 1 << 20])
async def test_a_long_protobuf_list_is_not_held_as_a_whole(then, monkeypatch: pytest.MonkeyPatch, kept: int):
    """However much of it is kept between the two passes: the same bytes."""
    api, path, _reads = then
    accept = "application/vnd.kubernetes.protobuf"
    expected = [(await api.get(p, accept=accept)).raw for p in (CONFIGMAPS, path)]
    monkeypatch.setattr(listing, "MOST_KEPT", kept)
    monkeypatch.setattr(listing, "SLICE", 4)
    monkeypatch.setattr(listing, "CHUNK", 100)
    assert [(await api.get(p, accept=accept)).raw for p in (CONFIGMAPS, path)] == expected
    assert [o["metadata"]["name"] for o in protobuf.decode(expected[1])["items"]] == ALL


async def test_what_is_selected_of_the_past(then):
    api, path, _reads = then

    async def names(query: str) -> list[str]:
        return [o["metadata"]["name"] for o in (await api.get(f"{path}&{query}")).json["items"]]

    assert await names("labelSelector=odd=1") == ALL[1::2]
    assert await names("fieldSelector=metadata.name=c3") == ["c3"]
    assert await names("labelSelector=none=1") == []
    assert await names("limit=100") == ALL
    piece = (await api.get(f"{path}&limit=4")).json
    assert [o["metadata"]["name"] for o in piece["items"]] == ALL[:4]
    assert piece["metadata"]["remainingItemCount"] == 6


async def test_a_past_list_is_read_as_the_client_takes_it(then):
    api, path, reads = then
    found = await past.read(
        api.context.storage, None, Selection(None, None), "/registry/core/configmaps/default/", "", _revision(path)
    )
    pages = found.pages()
    assert len(await anext(pages)) == 3
    assert reads.pages == [3]
    assert len(await anext(pages)) == 3
    assert reads.pages == [3, 3]
    await pages.aclose()


def _revision(path: str) -> int:
    return int(path.partition("resourceVersion=")[2].partition("&")[0])


async def test_a_state_that_has_not_changed_since_comes_from_memory(then):
    api, _path, reads = then
    now = (await api.get(CONFIGMAPS)).json
    await api.ok("POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": "elsewhere"}})
    at = now["metadata"]["resourceVersion"]
    again = (await api.get(f"{CONFIGMAPS}?resourceVersion={at}&resourceVersionMatch=Exact")).json
    assert again == now
    assert reads.pages == []


async def test_a_past_that_is_forgotten(then):
    api, path, _reads = then
    await api.context.storage.compact(await api.context.storage.current_revision())
    answer = await api.get(path)
    assert (answer.status, answer.json["reason"]) == (410, "Expired")


async def test_an_object_at_every_revision_that_is_held(api):
    made = await api.ok("POST", CONFIGMAPS, configmap("x", n="0"))
    states = {int(made["metadata"]["resourceVersion"]): made}
    for n in range(1, 4):
        made = {**made, "data": {"n": str(n)}}
        made = await api.ok("PUT", f"{CONFIGMAPS}/x", made)
        states[int(made["metadata"]["resourceVersion"])] = made
    gone = await api.ok("DELETE", f"{CONFIGMAPS}/x")
    assert gone["status"] == "Success"
    end = await api.context.storage.current_revision()
    expected: Any = None
    for revision in range(min(states) - 1, end + 1):
        expected = None if revision == end else states.get(revision, expected)
        answer = await api.get(f"{CONFIGMAPS}/x?atRevision={revision}")
        assert (answer.json if answer.status == 200 else None) == expected, (revision, states.keys(), answer.raw)
    assert (await api.get(f"{CONFIGMAPS}/x?atRevision={end + 1}")).status == 504
    assert (await api.get(f"{CONFIGMAPS}/x?atRevision=soon")).status == 422
    await api.context.storage.compact(sorted(states)[2])
    forgotten = await api.get(f"{CONFIGMAPS}/x?atRevision={sorted(states)[1]}")
    assert (forgotten.status, forgotten.json["reason"]) == (410, "Expired")
    assert (await api.get(f"{CONFIGMAPS}/x?atRevision={sorted(states)[2]}")).json == states[sorted(states)[2]]
