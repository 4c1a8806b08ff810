"""Owners are set by those who may delete what is owned; an owner's end is blocked by those who may change it."""

from __future__ import annotations

import contextlib

import pytest

from shirube.apiserver.user import User

NS = "/api/v1/namespaces/default"
MAPS = f"{NS}/configmaps"
SETS = "/apis/apps/v1/namespaces/default/replicasets"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
CANNOT_DELETE = "cannot set an ownerRef on a resource you can't delete: , <nil>"
CANNOT_BLOCK = (
    "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>"
)


def owner(uid: str = "1", kind: str = "ReplicaSet", version: str = "apps/v1", **more):
    return {"apiVersion": version, "kind": kind, "name": "o", "uid": uid, **more}


def config_map(*owners):
    return {"metadata": {"name": "m", "ownerReferences": list(owners)}}


@pytest.fixture
def jane(start):
    """`jane(VERB_RESOURCE…)`: a server to a user who may write config maps, and these: `delete configmaps`."""

    @contextlib.asynccontextmanager
    async def serve(*rights: str):
        async with start("OwnerReferencesPermissionEnforcement") as api:
            rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "create", "update", "patch"]}]
            for right in rights:
                verb, resource = right.split()
                rules.append({"apiGroups": ["*"], "resources": [resource], "verbs": [verb]})
            await api.ok("POST", f"{RBAC}/clusterroles", {"metadata": {"name": "jane"}, "rules": rules})
            role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "jane"}
            subjects = [{"apiGroup": role["apiGroup"], "kind": "User", "name": "jane"}]
            binding = {"metadata": {"name": "jane"}, "roleRef": role, "subjects": subjects}
            await api.ok("POST", f"{RBAC}/namespaces/default/rolebindings", binding)
            api.context.authenticator.user = User("jane", groups=("system:authenticated",))
            yield api

    return serve


async def test_who_creates_an_object_may_own_it_but_not_block_its_owner(jane):
    async with jane() as api:
        refused = await api.post(MAPS, config_map(owner(), owner("2", blockOwnerDeletion=True)))
        assert refused.status == 403
        assert refused.message == f'configmaps "m" is forbidden: {CANNOT_BLOCK}'
        assert (await api.post(MAPS, config_map(owner(blockOwnerDeletion=False)))).status == 201


async def test_a_change_of_owners_needs_the_right_to_delete(jane):
    async with jane() as api:
        await api.ok("POST", MAPS, config_map(owner()))
        for owners in ([owner("2")], [owner(), owner("2")], [owner(controller=True)], None):
            refused = await api.patch(f"{MAPS}/m", {"metadata": {"ownerReferences": owners}})
            assert (refused.status, refused.message) == (403, f'configmaps "m" is forbidden: {CANNOT_DELETE}')
        assert (await api.patch(f"{MAPS}/m", {"data": {"a": "b"}})).status == 200


async def test_the_right_to_delete_is_not_the_right_to_block(jane):
    async with jane("delete configmaps") as api:
        await api.ok("POST", MAPS, config_map(owner()))
        assert (await api.patch(f"{MAPS}/m", {"metadata": {"ownerReferences": [owner("2")]}})).status == 200
        blocking = {"metadata": {"ownerReferences": [owner("2", blockOwnerDeletion=True)]}}
        assert CANNOT_BLOCK in (await api.patch(f"{MAPS}/m", blocking)).message


async def test_blocking_needs_the_owners_finalizers_and_only_when_it_is_new(jane):
    async with jane("update replicasets/finalizers", "delete configmaps") as api:
        await api.ok("POST", MAPS, config_map(owner(blockOwnerDeletion=True)))
        # Of another kind, or of one that nobody has: no.
        node = await api.patch(
            f"{MAPS}/m", {"metadata": {"ownerReferences": [owner("3", "Node", "v1", blockOwnerDeletion=True)]}}
        )
        assert CANNOT_BLOCK in node.message
        what = [owner("3", "Thing", "x.io/v1", blockOwnerDeletion=True)]
        thing = await api.patch(f"{MAPS}/m", {"metadata": {"ownerReferences": what}})
        assert thing.status == 403
        assert 'no matches for kind "Thing" in version "x.io/v1"' in thing.message
        kept = [owner(blockOwnerDeletion=True, controller=True)]
        assert (await api.patch(f"{MAPS}/m", {"metadata": {"ownerReferences": kept}})).status == 200


async def test_it_is_off_by_default(start):
    async with start() as api:
        assert "OwnerReferencesPermissionEnforcement" not in {p.name for p in api.context.admission._plugins}
