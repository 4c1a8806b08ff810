"""The bundle of the API server's signer: published where bundles are served, kept, replaced with the CA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.controllers.live import Live, live
from tests.simulation.authorities import authority
from tests.waiting import until

from shirube.api.errors import ApiError
from shirube.api.gvr import CLUSTERROLEBINDINGS, CLUSTERROLES, CLUSTERTRUSTBUNDLES
from shirube.controllers import cluster_trust_bundle
from shirube.controllers.cluster_trust_bundle import SIGNER, bundle_name, plan

NAME = "kube-apiserver-serving-clustertrustbundle-publisher-controller"
SERVED = "certificates.k8s.io/v1beta1/clustertrustbundles=true"


def test_the_name_says_whose_and_what():
    assert bundle_name(SIGNER, "x") == "kubernetes.io:kube-apiserver-serving:2d711642b726b04401627ca9"


def bundle(name: str, pem: str = "", signer: str = SIGNER) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"signerName": signer, "trustBundle": pem}}


NAMES = st.sampled_from([bundle_name(SIGNER, "a"), bundle_name(SIGNER, "b"), "old", "older"])
PRESENT = st.dictionaries(NAMES, st.tuples(st.sampled_from("ab"), st.sampled_from([SIGNER, "example.com/x"])))


@given(pem=st.sampled_from("ab"), present=PRESENT)
def test_carried_out_a_plan_leaves_one_bundle_and_nothing_to_do(pem: str, present: dict[str, tuple[str, str]]):
    world = {name: bundle(name, content, signer) for name, (content, signer) in present.items()}
    foreign = {name: held for name, held in world.items() if held["spec"]["signerName"] != SIGNER}
    wanted = bundle_name(SIGNER, pem)
    if wanted in foreign:  # validation keeps others from the signer's names
        return
    todo = plan(SIGNER, pem, world.values())
    assert not (todo.create and todo.update)
    for made in (todo.create, todo.update):
        if made is not None:
            world[made["metadata"]["name"]] = made
    for name in todo.delete:
        del world[name]
    own = {name: held["spec"]["trustBundle"] for name, held in world.items() if name not in foreign}
    assert own == {wanted: pem}
    assert foreign.items() <= world.items()
    assert plan(SIGNER, pem, world.values()) == (None, None, ())


async def bundles(house: Live) -> dict[str, str]:
    found = (await house.admin.list(CLUSTERTRUSTBUNDLES))["items"]
    return {b["metadata"]["name"]: b["spec"]["trustBundle"] for b in found}


async def test_published_kept_and_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cluster_trust_bundle, "_CHANGED_SECONDS", 0.05)
    first, second = authority("first"), authority("second")
    ca = tmp_path / "published.crt"
    ca.write_text(first)
    async with live(tmp_path, runtime_config=SERVED) as house, house.controllers(only=NAME, root_ca=ca):

        async def published(pem: str) -> bool:
            return await bundles(house) == {bundle_name(SIGNER, pem): pem}

        await until(lambda: published(first), 10)
        await house.admin.delete(CLUSTERTRUSTBUNDLES, bundle_name(SIGNER, first))
        await until(lambda: published(first), 10)
        renewed = tmp_path / "renewed.crt"
        renewed.write_text(second)
        renewed.rename(ca)
        await until(lambda: published(second), 10)
        assert not [e for e in house.tokens.log if e[2] in (401, 403, 422)]


async def test_where_bundles_are_not_served_nothing_is_done(tmp_path: Path):
    async with live(tmp_path) as house, house.controllers(only=NAME) as controllers:
        (publisher,) = (c for c in controllers if c.name == NAME)
        assert await publisher.reconcile("bundle") == cluster_trust_bundle._ABSENT_SECONDS
        assert not [e for e in house.tokens.log if e[0] == "POST" and "trust" in e[1]]


async def test_who_may_not_attest_publishes_nothing(tmp_path: Path):
    """The right to create bundles is not the right to speak for a signer."""
    role = "rbac.authorization.k8s.io"
    async with live(tmp_path, runtime_config=SERVED) as house:
        admin, anna = house.admin, house.client("anna", "system:authenticated")
        rules = [{"apiGroups": ["certificates.k8s.io"], "resources": ["clustertrustbundles"], "verbs": ["*"]}]
        await admin.create(CLUSTERROLES, {"metadata": {"name": "bundler"}, "rules": rules})
        subject = {"kind": "User", "name": "anna", "apiGroup": role}
        ref = {"kind": "ClusterRole", "name": "bundler", "apiGroup": role}
        await admin.create(CLUSTERROLEBINDINGS, {"metadata": {"name": "b"}, "subjects": [subject], "roleRef": ref})
        pem = authority("mine")
        plain = {"metadata": {"name": "mine"}, "spec": {"trustBundle": pem}}

        async def allowed() -> bool:
            try:
                await anna.create(CLUSTERTRUSTBUNDLES, plain)
            except ApiError as error:
                assert error.code == 403
                return False
            return True

        await until(allowed, 10)
        signed = bundle("example.com:mine:a", pem, "example.com/mine")
        with pytest.raises(ApiError, match=r'user not permitted to attest for signerName "example\.com/mine"'):
            await anna.create(CLUSTERTRUSTBUNDLES, signed)
        made = await admin.create(CLUSTERTRUSTBUNDLES, signed)
        labelled = {**made, "metadata": {**made["metadata"], "labels": {"a": "b"}}}
        made = await anna.update(CLUSTERTRUSTBUNDLES, labelled)
        with pytest.raises(ApiError, match="not permitted to attest"):
            await anna.update(
                CLUSTERTRUSTBUNDLES, {**made, "spec": {**made["spec"], "trustBundle": pem + authority("b")}}
            )
        found = await anna.list(CLUSTERTRUSTBUNDLES, field_selector="spec.signerName=example.com/mine")
        assert [b["metadata"]["name"] for b in found["items"]] == ["example.com:mine:a"]
