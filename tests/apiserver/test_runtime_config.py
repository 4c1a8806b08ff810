"""`--runtime-config`: what is served beside the usual, in discovery, OpenAPI and bootstrap."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from tests.apiserver.conftest import ADMIN, Admins, Api
from tests.simulation.authorities import authority

from shirube.api import protobuf
from shirube.api.openapi import v2, v3, v3_index
from shirube.api.resources import BUILTIN, OPTIONAL
from shirube.apiserver.main import Options, in_process
from shirube.apiserver.runtime_config import RuntimeConfigError, served
from shirube.foundation.chance import Chance

BUNDLES = "certificates.k8s.io/v1beta1/clustertrustbundles"
PATH = f"/apis/{BUNDLES}"
DEFINITION = "io.k8s.api.certificates.v1beta1.ClusterTrustBundle"
ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
PUBLISHER = "system:controller:kube-apiserver-serving-clustertrustbundle-publisher"


@pytest.mark.parametrize(
    ("texts", "on"),
    [
        ([], False),
        (["certificates.k8s.io/v1beta1=true"], True),
        (["certificates.k8s.io/v1beta1"], True),
        ([f"{BUNDLES}=true"], True),
        (["api/all=true"], True),
        (["api/beta=true"], True),
        (["api/alpha=true"], False),
        (["api/ga=true,apps/v1=true"], False),
        (["api/all=true", "api/beta=false"], False),
        (["api/beta=false,certificates.k8s.io/v1beta1=true"], True),
        (["certificates.k8s.io/v1beta1=true", f"{BUNDLES}=false"], False),
        (["certificates.k8s.io/v1beta1=true,certificates.k8s.io/v1beta1=false"], False),
        ([" api/all=1 ,"], True),
    ],
)
def test_the_narrowest_key_decides(texts, on):
    assert [r.name for r in served(",".join(texts))] == (["clustertrustbundles"] if on else [])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("certificates.k8s.io/v1beta1=yes", "'yes' is neither true nor false"),
        ("resource.k8s.io/v1alpha3=true", "there is no such API here; what can be turned on: api/all"),
        ("certificates.k8s.io/v1beta1/podcertificaterequests=true", "there is no such API here"),
        ("api/every=true", "there is no such API here"),
        ("apps/v1=false", "it is on by default, the control plane needs it"),
        ("v1/pods=false", "it is on by default, the control plane needs it"),
        ("api/all=false", "what is on by default is needed by the control plane and cannot be turned off"),
    ],
)
def test_what_cannot_be_is_refused(text, why):
    with pytest.raises(RuntimeConfigError) as caught:
        served(text)
    assert why in str(caught.value)


def test_what_is_served_on_request_changes_nothing_of_what_is_by_default():
    assert not {r.gvr for r in OPTIONAL} & {r.gvr for r in BUILTIN}
    whole = orjson.loads(v2(BUILTIN))
    assert DEFINITION not in whole["definitions"]
    assert not [path for path in whole["paths"] if "v1beta1" in path]
    assert "apis/certificates.k8s.io/v1beta1" not in v3_index(BUILTIN)["paths"]
    with pytest.raises(KeyError):
        v3(BUILTIN, "apis/certificates.k8s.io/v1beta1")


@pytest.fixture
async def more(tmp_path, signing_key):
    options = Options(data_dir=tmp_path, service_account_key=signing_key, runtime_config=f"{BUNDLES}=true")
    async with in_process(options, chance=Chance(1)) as server:
        server.context.authenticator = Admins(ADMIN, server.context.authenticator)
        yield Api(server)


async def test_off_by_default(api):
    assert (await api.get(PATH)).status == 404
    assert (await api.get(f"{ROLES}/{PUBLISHER}")).status == 404


async def test_discovery_follows(more):
    group = await more.ok("GET", "/apis/certificates.k8s.io")
    assert [v["version"] for v in group["versions"]] == ["v1", "v1beta1"]
    assert group["preferredVersion"]["version"] == "v1"
    (entry,) = (await more.ok("GET", "/apis/certificates.k8s.io/v1beta1"))["resources"]
    assert entry.pop("storageVersionHash")
    assert entry == {
        "name": "clustertrustbundles",
        "singularName": "clustertrustbundle",
        "namespaced": False,
        "kind": "ClusterTrustBundle",
        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
    }


async def test_openapi_follows(more):
    whole = await more.ok("GET", "/openapi/v2")
    assert PATH in whole["paths"]
    assert {DEFINITION, f"{DEFINITION}List", f"{DEFINITION}Spec"} <= whole["definitions"].keys()
    kinds = whole["definitions"][DEFINITION]["x-kubernetes-group-version-kind"]
    assert kinds == [{"group": "certificates.k8s.io", "kind": "ClusterTrustBundle", "version": "v1beta1"}]
    index = await more.ok("GET", "/openapi/v3")
    url = index["paths"]["apis/certificates.k8s.io/v1beta1"]["serverRelativeURL"]
    document = await more.ok("GET", url)
    assert PATH in document["paths"]
    assert "trustBundle" in document["components"]["schemas"][f"{DEFINITION}Spec"]["properties"]


async def test_roles_follow(more):
    rules = (await more.ok("GET", f"{ROLES}/{PUBLISHER}"))["rules"]
    assert rules[0]["resourceNames"] == ["kubernetes.io/kube-apiserver-serving"]
    await more.ok("GET", f"{ROLES}/system:cluster-trust-bundle-discovery")
    binding = await more.ok("GET", f"{ROLES.replace('roles', 'rolebindings')}/system:cluster-trust-bundle-discovery")
    assert [s["name"] for s in binding["subjects"]] == ["system:serviceaccounts"]


async def test_all_forms_are_there(more):
    """Protobuf in and out, apply, field selectors and watches, as of every kind."""
    pem = authority("mine")
    form = "application/vnd.kubernetes.protobuf"
    made = {"apiVersion": "certificates.k8s.io/v1beta1", "kind": "ClusterTrustBundle"}
    signed = {**made, "metadata": {"name": "e.x:y:a"}, "spec": {"signerName": "e.x/y", "trustBundle": pem}}
    answer = await more.call("POST", PATH, raw=protobuf.encode(signed), content_type=form, accept=form)
    assert answer.status == 201
    assert protobuf.decode(answer.raw)["spec"] == signed["spec"]
    plain = {**made, "metadata": {"name": "plain"}, "spec": {"trustBundle": pem}}
    async with more.watch(f"{PATH}?fieldSelector=spec.signerName%3De.x/y") as events:
        assert (await events.next())[1]["metadata"]["name"] == "e.x:y:a"
        applied = await more.patch(f"{PATH}/plain?fieldManager=me", plain, kind="apply-patch+yaml")
        assert applied.status == 201
        await more.ok("DELETE", f"{PATH}/e.x:y:a")
        assert (await events.next())[0] == "DELETED", "the other is not of that signer"
    (left,) = (await more.ok("GET", PATH))["items"]
    assert [m["operation"] for m in left["metadata"]["managedFields"]] == ["Apply"]


async def test_a_definition_does_not_take_its_place(more):
    """As for everything that is served by default: whoever may write definitions may not loosen its rules."""
    names = {"plural": "clustertrustbundles", "singular": "clustertrustbundle", "kind": "ClusterTrustBundle"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [{"name": "v1beta1", "served": True, "storage": True, "schema": schema}]
    spec = {"group": "certificates.k8s.io", "scope": "Cluster", "names": names, "versions": versions}
    approved = {"api-approved.kubernetes.io": "https://github.com/kubernetes/kubernetes/pull/1"}
    meta = {"name": "clustertrustbundles.certificates.k8s.io", "annotations": approved}
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    await more.ok("POST", definitions, {"metadata": meta, "spec": spec})

    def settled(definition):
        conditions = (definition.get("status") or {}).get("conditions") or []
        return any(c["type"] == "Established" for c in conditions)

    async with asyncio.timeout(60):
        while not settled(await more.ok("GET", f"{definitions}/{meta['name']}")):
            await asyncio.sleep(0)
    (resource,) = OPTIONAL
    assert more.context.table.by_gvr(resource.gvr) == resource
    refused = await more.post(PATH, {"metadata": {"name": "b"}, "spec": {"trustBundle": "x"}})
    assert refused.status == 422
