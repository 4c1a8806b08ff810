"""`--runtime-config`: what is served beside the usual and what is not, in discovery, OpenAPI and bootstrap."""

from __future__ import annotations

import asyncio
import contextlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.apiserver.conftest import ADMIN, Admins, Api
from tests.simulation.authorities import authority

from shirube.api import protobuf
from shirube.api.openapi import v2, v3, v3_index
from shirube.api.resources import BUILTIN, OPTIONAL
from shirube.apiserver.main import Options, in_process
from shirube.apiserver.runtime_config import RuntimeConfigError, served, table_of
from shirube.apiserver.user import User
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
        ("apps/v2=false", "there is no such API here"),
        ("apps=false", "there is no such API here"),
        ("v2=false", "there is no such API here"),
        ("api/all=false", "it would leave nothing to serve; say what is on beside it"),
    ],
)
def test_what_cannot_be_is_refused(text, why):
    with pytest.raises(RuntimeConfigError) as caught:
        served(text)
    assert why in str(caught.value)


def groups(text):
    table = table_of(text)
    return {r.group_version for r in BUILTIN if table.by_path(*r.gvr) is not None}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("", groups("")),
        ("apps/v1=false", groups("") - {"apps/v1"}),
        ("apps/v1=false,apps/v1=true", groups("")),
        ("apps/v1/deployments=false", groups("")),
        ("autoscaling/v1=0", groups("") - {"autoscaling/v1"}),
        ("v1=false", groups("") - {"v1"}),
        ("/v1=false", groups("") - {"v1"}),
        ("api/v1=false", groups("") - {"v1"}),
        ("api/all=false,/v1=true", {"v1"}),
        ("api/all=false,api/v1=true,apps/v1=true", {"v1", "apps/v1"}),
        ("apps/v1=true,api/ga=false", {"apps/v1"}),
        ("api/all=false,api/ga=true", groups("")),
        ("api/ga=false,api/all=true", set()),
        ("api/beta=false", groups("")),
        ("api/all=false,apps/v1=false,apps/v1/deployments=true", {"apps/v1"}),
    ],
)
def test_what_is_on_by_default_can_be_turned_off(text, left):
    assert groups(text) == left


KEYS = ["api/all", "api/ga", "api/beta", "apps/v1", "apps/v1/deployments", "batch/v1", "v1", BUNDLES[:27]]
options = st.dictionaries(st.sampled_from(KEYS), st.booleans())


@given(options, st.randoms())
def test_laws_of_turning_on_and_off(config, chance):
    """Every resource goes by its narrowest key, however the keys are ordered, and is served or kept, never lost."""
    pairs = [f"{key}={str(on).lower()}" for key, on in config.items()]
    chance.shuffle(pairs)
    if config == {"api/all": False}:
        return
    table = table_of(",".join(pairs))
    for resource in [*BUILTIN, *OPTIONAL]:
        own = f"{resource.group_version}/{resource.name}"
        stability = "api/beta" if "beta" in resource.version else "api/ga"
        keys = [key for key in (own, resource.group_version, stability, "api/all") if key in config]
        by_default = BUILTIN.by_gvr(resource.gvr) is not None
        on = config[keys[0]] if keys else by_default
        assert (table.by_path(*resource.gvr) is not None) is on
        assert (table.by_kind(resource.group, resource.version, resource.kind) is not None) is on
        assert (resource in list(table.resources(resource.group, resource.version))) is on
        assert (table.by_gvr(resource.gvr) is not None) is (on or by_default)
    copied = table.copy()
    assert (list(copied), copied.groups(), len(copied)) == (list(table), table.groups(), len(table))
    assert [g for g in BUILTIN.groups() if g in table.groups()] == table.groups()


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


# -- turned off ---------------------------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path, signing_key):
    @contextlib.asynccontextmanager
    async def server(text):
        options = Options(data_dir=tmp_path, service_account_key=signing_key, runtime_config=text)
        async with in_process(options, chance=Chance(1)) as made:
            made.context.authenticator = Admins(ADMIN, made.context.authenticator)
            yield Api(made)

    return server


DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


async def test_what_is_off_is_nowhere_to_be_seen(start):
    async with start("apps/v1=false,policy/v1/poddisruptionbudgets=false,autoscaling/v2=false") as api:
        assert (await api.get(DEPLOYMENTS)).status == 404
        assert (await api.get("/apis/apps/v1")).status == (await api.get("/apis/apps")).status == 404
        names = [g["name"] for g in (await api.ok("GET", "/apis"))["groups"]]
        assert "apps" not in names and "batch" in names
        assert names == [name for name in BUILTIN.groups() if name in names], "the order is the usual one"
        wanted = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        aggregated = await api.ok("GET", "/apis", accept=wanted)
        assert "apps" not in [item["metadata"]["name"] for item in aggregated["items"]]
        assert (await api.get("/apis/policy/v1/poddisruptionbudgets")).status == 404
        assert (await api.get("/apis/policy/v1")).status == 404, "the version goes with its last resource"
        whole = await api.ok("GET", "/openapi/v2")
        assert not [path for path in whole["paths"] if path.startswith(("/apis/apps/", "/apis/autoscaling/v2"))]
        index = (await api.ok("GET", "/openapi/v3"))["paths"]
        assert "apis/apps/v1" not in index and "apis/batch/v1" in index
        services = [o["metadata"]["name"] for o in (await api.ok("GET", f"{APISERVICES}"))["items"]]
        assert "v1.apps" not in services and "v1.batch" in services
        assert (await api.get("/")).json["paths"].count("/apis/apps/v1") == 0
        assert (await api.get("/readyz")).status == 200


APISERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"


async def test_a_part_of_a_group_version(start):
    async with start("apps/v1/deployments=false") as api:
        assert (await api.get(DEPLOYMENTS)).status == 404
        names = [r["name"] for r in (await api.ok("GET", "/apis/apps/v1"))["resources"]]
        assert "replicasets" in names and not [name for name in names if name.startswith("deployments")]
        index = (await api.ok("GET", "/openapi/v3"))["paths"]
        document = await api.ok("GET", index["apis/apps/v1"]["serverRelativeURL"])
        assert DEPLOYMENTS.replace("default", "{namespace}") not in document["paths"]
        assert DEPLOYMENTS.replace("default/deployments", "{namespace}/replicasets") in document["paths"]


async def test_objects_wait_for_their_api(start):
    labels = {"a": "b"}
    containers = [{"name": "c", "image": "i"}]
    template = {"metadata": {"labels": labels}, "spec": {"containers": containers}}
    body = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": labels}, "template": template}}
    async with start("") as api:
        made = await api.ok("POST", DEPLOYMENTS, body)
        assert (await api.get(f"{APISERVICES}/v1.apps")).status == 200
    async with start("apps/v1=false") as api:
        assert (await api.get(f"{DEPLOYMENTS}/d")).status == 404
        async with asyncio.timeout(10):
            while (await api.get(f"{APISERVICES}/v1.apps")).status != 404:
                await asyncio.sleep(0.01)
    async with start("") as api:
        assert (await api.ok("GET", f"{DEPLOYMENTS}/d"))["metadata"]["uid"] == made["metadata"]["uid"]
        assert (await api.get(f"{APISERVICES}/v1.apps")).status == 200


async def test_the_server_keeps_what_it_needs_itself(start):
    """Roles, flow schemas, quotas and addresses count also where nobody may look at them."""
    async with start("api/all=false,/v1=true") as api:
        assert (await api.get(ROLES)).status == 404
        await api.ok("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
        hard = {"spec": {"hard": {"pods": "1"}}}
        await api.ok("POST", "/api/v1/namespaces/default/resourcequotas", {"metadata": {"name": "q"}, **hard})
        pods = "/api/v1/namespaces/default/pods"
        spec = {"containers": [{"name": "c", "image": "i"}], "priorityClassName": "system-node-critical"}
        assert (await api.post(pods, {"metadata": {"name": "a"}, "spec": spec})).status == 201
        assert (await api.post(pods, {"metadata": {"name": "b"}, "spec": spec})).status == 403
        service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
        made = await api.ok("POST", "/api/v1/namespaces/default/services", service)
        assert made["spec"]["clusterIP"]
        api.context.authenticator.user = User("nobody", groups=("system:authenticated",))
        assert (await api.get(pods)).status == 403
        assert (await api.get("/version")).status == 200, "by the role system:public-info-viewer"


async def test_another_version_of_the_same_objects(start):
    """autoscaling/v1 is stored as v2, which need not be served for that."""
    async with start("autoscaling/v2=false") as api:
        path = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers"
        target = {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}
        spec = {"maxReplicas": 3, "scaleTargetRef": target, "targetCPUUtilizationPercentage": 60}
        await api.ok("POST", path, {"metadata": {"name": "h"}, "spec": spec})
        (held,) = (await api.ok("GET", path))["items"]
        assert held["spec"]["targetCPUUtilizationPercentage"] == 60
        assert (await api.get(path.replace("v1", "v2"))).status == 404


async def test_nothing_but_one_group(start):
    async with start("api/all=false,batch/v1=true") as api:
        assert (await api.ok("GET", "/api"))["versions"] == []
        assert (await api.get("/api/v1/namespaces")).status == (await api.get("/api/v1")).status == 404
        assert [g["name"] for g in (await api.ok("GET", "/apis"))["groups"]] == ["batch"]
        assert (await api.get("/apis/batch/v1/jobs")).status == 200
