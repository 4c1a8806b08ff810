"""What a cluster has from its first second, and what becomes of it at every later start."""

from __future__ import annotations

import orjson

from shirube.api import gvr as g
from shirube.apiserver import bootstrap
from shirube.apiserver.bootstrap import endpoints, objects
from shirube.apiserver.bootstrap.bindings import CLUSTER_BINDINGS, ROLE_BINDINGS, ROLES
from shirube.apiserver.bootstrap.cluster_roles import AGGREGATED
from shirube.apiserver.bootstrap.reconcile import reconcile
from shirube.apiserver.bootstrap.writing import put
from shirube.apiserver.user import User
from shirube.storage.types import Compare, Put

RBAC = "/apis/rbac.authorization.k8s.io/v1"


def every_role():
    return {o["metadata"]["name"]: o for _, o in objects.cluster_roles()}


def test_every_binding_names_a_role_that_exists():
    roles = every_role()
    for gvr, binding in objects.bindings():
        ref = binding.get("roleRef")
        if gvr == g.CLUSTERROLEBINDINGS:
            assert ref["name"] in roles
        elif gvr == g.ROLEBINDINGS:
            assert (binding["metadata"]["namespace"], ref["name"]) in ROLES
    assert len(CLUSTER_BINDINGS) == 14
    assert len(ROLE_BINDINGS) == len(ROLES)


def test_aggregated_roles_hold_what_they_gather():
    roles = every_role()
    for name in AGGREGATED:
        selector = roles[name]["aggregationRule"]["clusterRoleSelectors"][0]["matchLabels"]
        members = [r for r in roles.values() if selector.items() <= r["metadata"]["labels"].items()]
        assert members
        for member in members:
            assert all(rule in roles[name]["rules"] for rule in member["rules"])
    assert not any("secrets" in r["resources"] for r in roles["view"]["rules"])


async def test_a_server_has_them(api):
    names = [n["metadata"]["name"] for n in (await api.ok("GET", "/api/v1/namespaces"))["items"]]
    assert names == ["default", "kube-node-lease", "kube-public", "kube-system"]
    service = (await api.ok("GET", "/api/v1/namespaces/default/services/kubernetes"))["spec"]
    assert (service["clusterIP"], service["ports"][0]["port"]) == ("10.96.0.1", 443)
    (piece,) = (await api.ok("GET", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"))["items"]
    assert piece["endpoints"][0]["addresses"] == [api.context.options.advertise_host]
    assert (await api.ok("GET", "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical"))["value"] > 0
    assert (await api.ok("GET", "/apis/networking.k8s.io/v1/servicecidrs/kubernetes"))["spec"] == {
        "cidrs": ["10.96.0.0/12"]
    }
    schema = await api.ok("GET", "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/exempt")
    assert schema["status"]["conditions"][0]["status"] == "False"
    await api.ok("GET", "/apis/apiregistration.k8s.io/v1/apiservices/v1.apps")


async def test_second_start_changes_nothing(api):
    before = await api.context.storage.current_revision()
    await bootstrap.ensure(api.context)
    assert await api.context.storage.current_revision() == before


async def test_what_was_taken_away_comes_back(api):
    path = f"{RBAC}/clusterroles/system:basic-user"
    role = await api.ok("GET", path)
    extra = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    await api.ok("PUT", path, {**role, "rules": [role["rules"][0], extra]})
    await api.ok("DELETE", f"{RBAC}/clusterrolebindings/system:basic-user")
    await bootstrap.ensure(api.context)
    again = await api.ok("GET", path)
    assert extra in again["rules"]
    assert all(rule in again["rules"] for rule in role["rules"])
    await api.ok("GET", f"{RBAC}/clusterrolebindings/system:basic-user")


async def test_who_opted_out_is_left_alone(api):
    path = f"{RBAC}/clusterroles/system:basic-user"
    role = await api.ok("GET", path)
    role["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] = "false"
    changed = await api.ok("PUT", path, {**role, "rules": []})
    await bootstrap.ensure(api.context)
    assert (await api.ok("GET", path))["metadata"]["resourceVersion"] == changed["metadata"]["resourceVersion"]


async def test_endpoints_are_asserted(api):
    path = "/api/v1/namespaces/default/endpoints/kubernetes"
    have = await api.ok("GET", path)
    await api.ok("PUT", path, {**have, "subsets": []})
    await endpoints.assert_endpoints(api.context)
    assert (await api.ok("GET", path))["subsets"] == have["subsets"]


async def test_two_servers_may_start_at_once(api):
    storage = api.context.storage
    key = "/registry/rbac.authorization.k8s.io/clusterroles/admin"
    kv = await storage.get(key)
    await storage.commit([Compare(key, kv.mod_revision)], [Put(key, kv.value)])
    await put(api.context, key, orjson.loads(kv.value), kv.mod_revision)  # the loser leaves it
    assert (await storage.get(key)).mod_revision > kv.mod_revision


def test_bindings_get_their_subjects_back():
    (_, want) = next(p for p in objects.bindings() if p[1]["metadata"]["name"] == "system:public-info-viewer")
    mine = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}
    have = {**want, "subjects": [mine, want["subjects"][0]]}
    assert reconcile(have, want)["subjects"] == [mine, *want["subjects"]]
    assert reconcile(want, want) is None


async def test_strangers_see_health_and_version_only(api):
    api.context.authenticator.user = User("system:anonymous", groups=("system:unauthenticated",))
    for path, status in {"/healthz": 200, "/readyz": 200, "/version": 200, "/api": 403, "/metrics": 403}.items():
        assert (await api.get(path)).status == status, path
    assert (await api.get("/api/v1/namespaces")).status == 403
