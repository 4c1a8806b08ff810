"""Wrong-scope CRD authorisation (as in CVE-2019-11247): a cluster-scoped custom resource reached as if it were in a
namespace, with rights that hold in that namespace only; and the reverse.
"""

from __future__ import annotations

import pytest
from tests.apiserver.extensions.conftest import CRDS, GROUP, definition, established
from tests.apiserver.flaws.conftest import allow, rule

ROOT = f"/apis/{GROUP}/v1"


@pytest.fixture
async def scopes(world):
    """A cluster-scoped kind (`clusterthings`) and a namespaced one (`crontabs`), one object of each."""
    for obj in (definition(scope="Cluster", plural="clusterthings"), definition(plural="crontabs")):
        await world.ok("POST", CRDS, obj)
        await established(world, obj["metadata"]["name"])
    for path, kind in (("clusterthings", "Clusterthing"), ("namespaces/default/crontabs", "Crontab")):
        body = {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": {"name": "x"}, "spec": {"secret": "s3cret"}}
        await world.ok("POST", f"{ROOT}/{path}", body)
    # everything in one's own namespace, nothing elsewhere
    await allow(world, "mallory", [rule("*", group="*")], "default")
    return world


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_rights_in_a_namespace_do_not_reach_cluster_scoped_objects(scopes, method):
    body = {"apiVersion": f"{GROUP}/v1", "kind": "Clusterthing", "metadata": {"name": "x"}} if method != "GET" else None
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    for namespace in ("default", "kube-system", "x"):
        for tail in ("", "/x", "/x/status", "/x/scale"):
            target = f"{ROOT}/namespaces/{namespace}/clusterthings{tail}"
            answer = await scopes.call(method, target, body, x_test_user="mallory", content_type=kind)
            assert answer.status in (403, 404, 405), (target, answer.raw)
            assert b"s3cret" not in answer.raw
    left = await scopes.ok("GET", f"{ROOT}/clusterthings/x")
    assert left["spec"] == {"secret": "s3cret"}


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_namespaced_objects_have_no_path_without_their_namespace(scopes, method):
    await allow(scopes, "reader", [rule("crontabs", group=GROUP)])
    answer = await scopes.call(method, f"{ROOT}/crontabs/x", {} if method != "GET" else None, x_test_user="reader")
    assert answer.status in (404, 405, 415)
    assert b"s3cret" not in answer.raw


async def test_rights_in_a_namespace_do_not_reach_other_namespaces(scopes):
    assert (await scopes.get(f"{ROOT}/namespaces/default/crontabs/x", x_test_user="mallory")).status == 200
    for target in ("crontabs", "namespaces/kube-system/crontabs", "clusterthings", "clusterthings/x"):
        assert (await scopes.get(f"{ROOT}/{target}", x_test_user="mallory")).status == 403


async def test_built_in_cluster_scoped_kinds_are_held_to_the_same(scopes):
    for target in ("nodes", "persistentvolumes", "nodes/x", "persistentvolumes/x"):
        answer = await scopes.get(f"/api/v1/namespaces/default/{target}", x_test_user="mallory")
        assert answer.status in (403, 404)
    answer = await scopes.get(
        "/apis/rbac.authorization.k8s.io/v1/namespaces/default/clusterroles", x_test_user="mallory"
    )
    assert answer.status in (403, 404)
