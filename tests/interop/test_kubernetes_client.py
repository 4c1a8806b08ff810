"""The official Python client: typed and dynamic objects, patches, apply, watches, errors, leader election."""

from __future__ import annotations

import queue
import re
import threading

import orjson
import pytest
import yaml
from kubernetes import client, dynamic, utils, watch
from kubernetes import config as loading
from kubernetes.client.exceptions import ApiException
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock
from tests.interop.conftest import definition
from tests.interop.objects import KINDS, body
from tests.waiting import eventually


@pytest.fixture(scope="module")
def api(config):
    with loading.new_client_from_config(str(config)) as made:
        yield made


@pytest.fixture
def core(api) -> client.CoreV1Api:
    return client.CoreV1Api(api)


def version_of(group: str) -> str:
    """ "AppsV1Api" → "apps/v1"."""
    name, version = re.fullmatch(r"(\w+?)(V\d+)Api", group).groups()
    names = {"Core": "", "RbacAuthorization": "rbac.authorization.k8s.io"}
    dotted = {"Networking", "Coordination", "Discovery"}
    found = names.get(name, f"{name.lower()}.k8s.io" if name in dotted else name.lower())
    return f"{found}/{version.lower()}".removeprefix("/")


@pytest.mark.parametrize("kind", KINDS)
def test_one_object_from_creation_to_deletion(api, kubectl, kind):
    group, word, _ = KINDS[kind]
    typed = getattr(client, group)(api)

    def call(verb: str, *arguments, **more):
        return getattr(typed, f"{verb}_namespaced_{word}")(*arguments, **more)

    made = call("create", "default", body(kind, version_of(group)))
    assert made.metadata.uid and made.kind == kind
    read = call("read", "one", "default")
    assert read.to_dict() == made.to_dict()
    assert "one" in [o.metadata.name for o in call("list", "default").items]
    call("patch", "one", "default", {"metadata": {"labels": {"tier": "x"}}})
    assert [o.metadata.name for o in call("list", "default", label_selector="tier=x").items] == ["one"]
    read = call("read", "one", "default")
    read.metadata.annotations = {"note": "hello"}
    assert call("replace", "one", "default", read).metadata.annotations["note"] == "hello"
    with pytest.raises(ApiException) as stale:
        made.metadata.annotations = {"note": "late"}
        call("replace", "one", "default", made)
    assert stale.value.status == 409
    # No controllers run here: a Job that leaves its pods behind, as it does by default, would wait for one.
    call("delete", "one", "default", grace_period_seconds=0, propagation_policy="Background")
    with pytest.raises(ApiException) as gone:
        call("read", "one", "default")
    assert gone.value.status == 404


def test_errors_are_statuses(core, namespace):
    with pytest.raises(ApiException) as missing:
        core.read_namespaced_config_map("none", namespace)
    assert orjson.loads(missing.value.body) == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'configmaps "none" not found',
        "reason": "NotFound",
        "details": {"name": "none", "kind": "configmaps"},
        "code": 404,
    }
    with pytest.raises(ApiException) as invalid:
        core.create_namespaced_config_map(namespace, {"metadata": {"name": "Bad_Name"}})
    assert invalid.value.status == 422
    assert orjson.loads(invalid.value.body)["details"]["causes"][0]["field"] == "metadata.name"
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "one"}})
    with pytest.raises(ApiException) as twice:
        core.create_namespaced_config_map(namespace, {"metadata": {"name": "one"}})
    assert orjson.loads(twice.value.body)["reason"] == "AlreadyExists"


def test_every_kind_of_patch(core, namespace):
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "c"}, "data": {"a": "1", "b": "2"}})

    def patched(change, kind):
        return core.patch_namespaced_config_map("c", namespace, change, _content_type=kind).data

    assert patched([{"op": "remove", "path": "/data/a"}], "application/json-patch+json") == {"b": "2"}
    assert patched({"data": {"b": None, "c": "3"}}, "application/merge-patch+json") == {"c": "3"}
    strategic = {"data": {"$patch": "replace", "d": "4"}}
    assert patched(strategic, "application/strategic-merge-patch+json") == {"d": "4"}


def test_apply_and_its_conflicts(core, namespace):
    wanted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}}

    def apply(obj, manager, **more):
        kind = "application/apply-patch+yaml"
        return core.patch_namespaced_config_map("c", namespace, obj, field_manager=manager, _content_type=kind, **more)

    made = apply(wanted, "one")
    assert [(m.manager, m.operation) for m in made.metadata.managed_fields] == [("one", "Apply")]
    with pytest.raises(ApiException) as conflict:
        apply({**wanted, "data": {"a": "2"}}, "two")
    cause = orjson.loads(conflict.value.body)["details"]["causes"][0]
    assert cause == {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.a"}
    assert apply({**wanted, "data": {"a": "2"}}, "two", force=True).data == {"a": "2"}
    assert not apply({**wanted, "data": {}}, "two").data


def test_a_watch_tells_of_every_change(core, namespace):
    version = core.list_namespaced_config_map(namespace).metadata.resource_version
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "seen"}})
    core.patch_namespaced_config_map("seen", namespace, {"data": {"a": "1"}})
    core.delete_namespaced_config_map("seen", namespace)
    stream = watch.Watch().stream(
        core.list_namespaced_config_map, namespace, resource_version=version, timeout_seconds=1
    )
    assert [e["type"] for e in stream] == ["ADDED", "MODIFIED", "DELETED"]


def test_a_watch_of_pages_begins_where_the_list_ended(core, namespace):
    for n in range(7):
        core.create_namespaced_config_map(namespace, {"metadata": {"name": f"c{n}"}})
    names, more = [], None
    while more != "":
        page = core.list_namespaced_config_map(namespace, limit=3, _continue=more)
        names += [o.metadata.name for o in page.items]
        more = page.metadata._continue or ""
    assert names == [f"c{n}" for n in range(7)]


def test_the_dynamic_client_and_a_custom_resource(api, namespace):
    extensions = client.ApiextensionsV1Api(api)
    extensions.create_custom_resource_definition(definition("gadgets", "Gadget"))
    found = dynamic.DynamicClient(api)
    kind = eventually(lambda: _find(found, "interop.example.com/v1", "Gadget"), "the kind is discovered")
    wanted = {"apiVersion": kind.group_version, "kind": "Gadget", "metadata": {"name": "g"}, "spec": {"size": 3}}
    made = kind.create(wanted, namespace=namespace)
    assert made.spec.color == "red"
    with pytest.raises(dynamic.exceptions.UnprocessibleEntityError, match="size is too large"):
        kind.create({**wanted, "metadata": {"name": "h"}, "spec": {"size": 100}}, namespace=namespace)
    merged = {"metadata": {"name": "g"}, "spec": {"size": 4}}
    patched = kind.patch(merged, namespace=namespace, content_type="application/merge-patch+json")
    assert patched.spec.size == 4
    applied = kind.server_side_apply(
        {**wanted, "spec": {"color": "blue", "size": 4}}, namespace=namespace, field_manager="t", force_conflicts=True
    )
    assert applied.spec.color == "blue"
    custom = client.CustomObjectsApi(api)
    where = ("interop.example.com", "v1", namespace, "gadgets", "g")
    assert custom.get_namespaced_custom_object_scale(*where)["spec"]["replicas"] == 4
    status = custom.patch_namespaced_custom_object_status(*where, {"status": {"size": 4}})
    assert status["status"] == {"size": 4}
    seen = []
    for event in kind.watch(namespace=namespace, timeout=1):
        seen.append((event["type"], event["object"].metadata.name))
        break
    assert seen == [("ADDED", "g")]
    kind.delete("g", namespace=namespace)
    assert kind.get(namespace=namespace).items == []
    # Deleting the definition ends it in order: objects first.
    kind.create(wanted, namespace=namespace)
    extensions.delete_custom_resource_definition("gadgets.interop.example.com")
    left = extensions.list_custom_resource_definition
    eventually(lambda: "gadgets" not in [d.spec.names.plural for d in left().items], "the definition is gone")


def _find(found: dynamic.DynamicClient, api_version: str, kind: str):
    found.resources.invalidate_cache()
    try:
        return found.resources.get(api_version=api_version, kind=kind)
    except dynamic.exceptions.ResourceNotFoundError:
        return None


def test_manifests_are_created_from_a_file(api, core, namespace, tmp_path):
    objects = [body("Deployment", "apps/v1", "web"), body("Service", "v1", "web")]
    (tmp_path / "web.yaml").write_text(yaml.dump_all(objects))
    utils.create_from_yaml(api, str(tmp_path / "web.yaml"), namespace=namespace)
    apps = client.AppsV1Api(api)
    assert apps.read_namespaced_deployment("web", namespace).spec.replicas == 1
    scaled = apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 5}})
    assert scaled.spec.replicas == 5
    assert core.read_namespaced_service("web", namespace).spec.cluster_ip.startswith("10.")


def test_who_may_do_what(api, core, namespace):
    core.create_namespaced_service_account(namespace, {"metadata": {"name": "reader"}})
    rbac = client.RbacAuthorizationV1Api(api)
    rules = [{"apiGroups": [""], "resources": ["configmaps", "pods"], "verbs": ["get", "list"]}]
    rbac.create_namespaced_role(namespace, {"metadata": {"name": "reader"}, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    subject = {"kind": "ServiceAccount", "name": "reader", "namespace": namespace}
    rbac.create_namespaced_role_binding(
        namespace, {"metadata": {"name": "reader"}, "roleRef": reference, "subjects": [subject]}
    )
    spec = {"spec": {"audiences": ["https://kubernetes.default.svc.cluster.local"], "expirationSeconds": 3600}}
    token = core.create_namespaced_service_account_token("reader", namespace, spec).status.token
    settings = client.Configuration()
    settings.host, settings.ssl_ca_cert = api.configuration.host, api.configuration.ssl_ca_cert
    settings.api_key = {"authorization": f"Bearer {token}"}
    with client.ApiClient(settings) as other:
        theirs = client.CoreV1Api(other)
        assert theirs.list_namespaced_config_map(namespace).items == []
        with pytest.raises(ApiException) as forbidden:
            theirs.create_namespaced_config_map(namespace, {"metadata": {"name": "c"}})
        message = orjson.loads(forbidden.value.body)["message"]
        who = f"system:serviceaccount:{namespace}:reader"
        assert message == (
            f'configmaps is forbidden: User "{who}" cannot create resource "configmaps" in API group "" '
            f'in the namespace "{namespace}"'
        )
        review = {"spec": {"resourceAttributes": {"verb": "list", "resource": "pods", "namespace": namespace}}}
        assert client.AuthorizationV1Api(other).create_self_subject_access_review(review).status.allowed
        name = client.AuthenticationV1Api(other).create_self_subject_review({}).status.user_info.username
        assert name == who


def test_leader_election(core, config, namespace):
    """One of two leads; when somebody else holds the lock it stops leading."""
    loading.load_kube_config(str(config))  # the lock makes a client of its own
    told: queue.Queue[str] = queue.Queue()

    def candidate(name: str) -> threading.Thread:
        lock = ConfigMapLock("leader", namespace, name)
        settings = electionconfig.Config(
            lock,
            lease_duration=4,
            renew_deadline=2,
            retry_period=1,
            onstarted_leading=lambda: told.put(f"{name} leads"),
            onstopped_leading=lambda: told.put(f"{name} stopped"),
        )
        thread = threading.Thread(target=leaderelection.LeaderElection(settings).run, daemon=True)
        thread.start()
        return thread

    first = candidate("first")
    assert told.get(timeout=10) == "first leads"
    second = candidate("second")
    _hand_over(core, namespace, "first", "second")
    assert sorted(told.get(timeout=10) for _ in range(2)) == ["first stopped", "second leads"]
    _hand_over(core, namespace, "second", "somebody")
    assert told.get(timeout=10) == "second stopped"
    first.join(5)
    second.join(5)


def _hand_over(core: client.CoreV1Api, namespace: str, holder: str, successor: str) -> None:
    """Write another holder into the lock, between two renewals of the one that has it."""
    key = "control-plane.alpha.kubernetes.io/leader"

    def written() -> bool:
        lock = core.read_namespaced_config_map("leader", namespace)
        record = orjson.loads(lock.metadata.annotations[key])
        assert record["holderIdentity"] == holder
        lock.metadata.annotations[key] = orjson.dumps({**record, "holderIdentity": successor}).decode()
        try:
            core.replace_namespaced_config_map("leader", namespace, lock)
        except ApiException as conflict:
            assert conflict.status == 409
            return False
        return True

    eventually(written, "the lock is written")
