"""Which certificates a projection of ClusterTrustBundles shows, and that it follows the API."""

import asyncio
import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.controllers.live import live
from tests.simulation.authorities import authority

from shirube.api.gvr import CLUSTERTRUSTBUNDLES
from shirube.foundation.clock import SYSTEM
from shirube.kubelet import trust_bundles
from shirube.kubelet.api_objects import ApiObjects
from shirube.kubelet.object_watches import TRUST, ObjectWatches
from shirube.kubelet.trust_bundles import TrustBundleError, TrustBundles, normalized, select

SERVED = "certificates.k8s.io/v1beta1=true"


def block(data: bytes, width: int = 64) -> str:
    body = base64.b64encode(data).decode()
    lines = [body[i : i + width] for i in range(0, len(body), width)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])


def inside(pem: bytes) -> list[bytes]:
    return [base64.b64decode("".join(m[1].split())) for m in trust_bundles._BLOCK.finditer(pem.decode())]


@given(st.lists(st.lists(st.binary(min_size=1, max_size=200), max_size=4), max_size=4), st.sampled_from([64, 76, 1000]))
def test_each_certificate_once_however_it_was_written(bundles: list[list[bytes]], width: int):
    texts = ["words\n" + "between\n".join(block(data, width) for data in bundle) for bundle in bundles]
    found = normalized(texts)
    assert sorted(inside(found)) == sorted({data for bundle in bundles for data in bundle})
    assert normalized(reversed(texts)) == found, "nobody is to rely on an order"
    assert normalized([found.decode()]) == found
    assert all(len(line) <= 64 for line in found.decode().splitlines())


def test_a_file_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trust_bundles, "MAX_BYTES", 100)
    with pytest.raises(TrustBundleError, match="bytes, more than 100"):
        normalized([block(b"x" * 90)])


def bundle(name: str, signer: str = "", **labels: str):
    return {"metadata": {"name": name, "labels": labels}, "spec": {"signerName": signer, "trustBundle": name}}


BUNDLES = [bundle("plain"), bundle("x:a", "e.x/x", env="test"), bundle("x:b", "e.x/x"), bundle("y:a", "e.x/y")]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ({"name": "plain"}, ["plain"]),
        ({"name": "x:a"}, ["x:a"]),
        ({"name": "gone"}, None),
        ({"name": "gone", "optional": True}, []),
        ({"signerName": "e.x/x", "labelSelector": {}}, ["x:a", "x:b"]),
        ({"signerName": "e.x/x", "labelSelector": {"matchLabels": {"env": "test"}}}, ["x:a"]),
        ({"signerName": "e.x/x"}, None),  # no selector selects nothing
        ({"signerName": "e.x/z", "labelSelector": {}, "optional": True}, []),
    ],
)
def test_what_a_projection_selects(source, names):
    if names is None:
        with pytest.raises(TrustBundleError, match=r"not found|matched zero ClusterTrustBundles"):
            select(source, BUNDLES)
        return
    assert [b["metadata"]["name"] for b in select(source, BUNDLES)] == names


async def test_an_agent_sees_bundles_and_hears_of_their_changes(tmp_path):
    """As a node does, through the node authoriser of a real API server."""
    one, other = authority("one"), authority("other")
    async with live(tmp_path, runtime_config=SERVED) as house:
        agent = house.client("system:node:n1", "system:nodes", "system:authenticated")
        trust, woken = TrustBundles(agent), asyncio.Queue()
        watches = ObjectWatches(agent, ApiObjects(agent, SYSTEM), trust, woken.put_nowait)
        try:
            made = {"metadata": {"name": "mine"}, "spec": {"trustBundle": one}}
            made = await house.admin.create(CLUSTERTRUSTBUNDLES, made)
            assert await trust.anchors({"name": "mine"}) == normalized([one])
            watches.follow("pod-uid", "default", [TRUST])
            await asyncio.sleep(0)  # the listener begins to listen
            await house.admin.update(CLUSTERTRUSTBUNDLES, {**made, "spec": {"trustBundle": one + other}})
            async with asyncio.timeout(60):
                assert await woken.get() == "pod-uid"
            assert watches.news("pod-uid") == 1
            assert await trust.anchors({"name": "mine"}) == normalized([other, one])
            await house.admin.delete(CLUSTERTRUSTBUNDLES, "mine")
            async with asyncio.timeout(60):
                await woken.get()
            assert await trust.anchors({"name": "mine", "optional": True}) == b""
            with pytest.raises(TrustBundleError, match='clustertrustbundle "mine" not found'):
                await trust.anchors({"name": "mine"})
            watches.forget("pod-uid")
        finally:
            await watches.close()
            await trust.close()


async def test_where_bundles_are_not_served_the_event_says_what_to_do(tmp_path):
    async with live(tmp_path) as house:
        trust = TrustBundles(house.client("system:node:n1", "system:nodes", "system:authenticated"))
        with pytest.raises(
            TrustBundleError, match=r"does not serve .*--runtime-config=certificates\.k8s\.io/v1beta1=true"
        ):
            await trust.anchors({"name": "x"})
