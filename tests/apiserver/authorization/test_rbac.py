"""RBAC decisions over a table of roles, bindings and requests; nothing is granted beyond what is held."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shirube.api.errors import ApiError
from shirube.apiserver.attributes import Attributes
from shirube.apiserver.authorization import Authorizer
from shirube.apiserver.authorization.escalation import check_binding, check_role
from shirube.apiserver.authorization.rules import CompiledRule, compact, describe, uncovered
from shirube.apiserver.user import User

GROUP = "rbac.authorization.k8s.io"


class Stored:
    """A Reader over lists, with revisions that change with every write."""

    def __init__(self):
        self.objects = {}
        self.revisions = {}

    def put(self, resource, obj):
        meta = obj["metadata"]
        self.objects.setdefault(resource, {})[meta.get("namespace", ""), meta["name"]] = obj
        self.revisions[resource] = self.revisions.get(resource, 0) + 1

    def drop(self, resource, namespace, name):
        del self.objects[resource][namespace, name]
        self.revisions[resource] += 1

    def list(self, gvr, namespace=""):
        every = self.objects.get(gvr.resource, {})
        return [o for (home, _), o in sorted(every.items()) if not namespace or home == namespace]

    def get(self, gvr, namespace, name):
        return self.objects.get(gvr.resource, {}).get((namespace, name))

    def revision(self, gvr):
        return self.revisions.get(gvr.resource, 0)


def rule(resources="", verbs="get", groups="", names="", urls=""):
    if urls:
        return {"nonResourceURLs": urls.split(), "verbs": verbs.split()}
    out = {"apiGroups": groups.split("|"), "resources": resources.split(), "verbs": verbs.split()}
    return {**out, "resourceNames": names.split()} if names else out


def subject(text):
    kind, _, name = text.partition(" ")
    if kind == "ServiceAccount":
        namespace, _, name = name.partition("/")
        return {"kind": kind, "namespace": namespace, "name": name}
    return {"kind": kind, "name": name, "apiGroup": GROUP}


def give(stored, name, rules, *subjects, namespace="", role_kind="ClusterRole"):
    role_namespace = namespace if role_kind == "Role" else ""
    stored.put(
        "roles" if role_kind == "Role" else "clusterroles",
        {"metadata": {"name": name, **({"namespace": role_namespace} if role_namespace else {})}, "rules": rules},
    )
    stored.put(
        "rolebindings" if namespace else "clusterrolebindings",
        {
            "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
            "roleRef": {"kind": role_kind, "name": name, "apiGroup": GROUP},
            "subjects": [subject(s) for s in subjects],
        },
    )


def ask(text, user="jane", groups=()):
    """`verb group|resource/sub ns/name` or `verb /path`."""
    verb, _, rest = text.partition(" ")
    who = User(user, groups=tuple(groups))
    if rest.startswith("/"):
        return Attributes(who, verb, path=rest, is_resource=False)
    what, _, where = rest.partition(" ")
    group, _, resource = what.rpartition("|")
    resource, _, sub = resource.partition("/")
    namespace, _, name = where.partition("/")
    return Attributes(who, verb, group, "v1", resource, sub, namespace, name)


@pytest.fixture
def stored():
    return Stored()


async def test_decisions(stored):
    give(stored, "reader", [rule("pods pods/log", "get list")], "User jane")
    give(stored, "one-secret", [rule("secrets", "get", names="mine")], "User jane", namespace="dev")
    give(stored, "scaler", [rule("*/scale", "*", "*")], "Group ops")
    give(stored, "all-apps", [rule("*", "*", "apps")], "ServiceAccount ci/robot", namespace="dev")
    give(stored, "local", [rule("configmaps", "update")], "User jane", namespace="dev", role_kind="Role")
    give(stored, "paths", [rule(urls="/metrics /healthz/*")], "User jane")
    authorizer = Authorizer(stored)
    robot = {"user": "system:serviceaccount:ci:robot"}
    table = [
        ("get pods dev/x", {}, True),
        ("list pods", {}, True),
        ("get pods/log dev/x", {}, True),
        ("get pods/exec dev/x", {}, False),
        ("delete pods dev/x", {}, False),
        ("get extensions|pods dev/x", {}, False),
        ("get pods dev/x", {"user": "joe"}, False),
        ("get secrets dev/mine", {}, True),
        ("get secrets dev/other", {}, False),
        ("get secrets prod/mine", {}, False),
        ("list secrets dev", {}, False),
        ("update apps|deployments/scale dev/x", {"groups": ["ops"]}, True),
        ("update apps|deployments dev/x", {"groups": ["ops"]}, False),
        ("delete apps|deployments dev/x", robot, True),
        ("delete apps|deployments/status dev/x", robot, True),
        ("delete apps|deployments prod/x", robot, False),
        ("update configmaps dev/x", {}, True),
        ("update configmaps prod/x", {}, False),
        ("get /metrics", {}, True),
        ("get /healthz/etcd", {}, True),
        ("get /healthz", {}, False),
        ("get /metricsx", {}, False),
        ("anything nodes /x", {"groups": ["system:masters"]}, True),
    ]
    for text, who, allowed in table:
        assert (await authorizer.authorize(ask(text, **who))).allowed is allowed, text


async def test_reasons_are_upstreams(stored):
    give(stored, "local", [rule("pods")], "ServiceAccount ci/robot", namespace="dev", role_kind="Role")
    authorizer = Authorizer(stored)
    decision = await authorizer.authorize(ask("get pods dev/x", "system:serviceaccount:ci:robot"))
    assert decision.reason == (
        'RBAC: allowed by RoleBinding "local/dev" of Role "local/dev" to ServiceAccount "robot/ci"'
    )


async def test_refusals_are_upstreams(stored):
    authorizer = Authorizer(stored)
    table = [
        (
            "list pods default",
            'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default"',
        ),
        (
            "get apps|deployments/scale default/web",
            'deployments.apps "web" is forbidden: User "jane" cannot get resource "deployments/scale" in API group '
            '"apps" in the namespace "default"',
        ),
        (
            "list nodes",
            'nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope',
        ),
        ("get /secret", 'forbidden: User "jane" cannot get path "/secret"'),
    ]
    for text, message in table:
        a = ask(text)
        refusal = authorizer.refusal(a, await authorizer.authorize(a))
        assert (refusal.code, refusal.message) == (403, message)


async def test_missing_role_is_named(stored):
    give(stored, "gone", [rule("pods")], "User jane")
    stored.drop("clusterroles", "", "gone")
    authorizer = Authorizer(stored)
    a = ask("get pods dev/x")
    refusal = authorizer.refusal(a, await authorizer.authorize(a))
    assert refusal.message.endswith(
        'in the namespace "dev": RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found'
    )


async def test_changes_count_at_once(stored):
    authorizer = Authorizer(stored)
    a = ask("get pods dev/x")
    assert not (await authorizer.authorize(a)).allowed
    give(stored, "reader", [rule("pods")], "User jane")
    assert (await authorizer.authorize(a)).allowed
    stored.drop("clusterrolebindings", "", "reader")
    assert not (await authorizer.authorize(a)).allowed


async def test_rules_for(stored):
    give(stored, "reader", [rule("pods"), rule(urls="/api")], "User jane")
    give(stored, "local", [rule("secrets", names="x")], "User jane", namespace="dev", role_kind="Role")
    authorizer = Authorizer(stored)
    assert authorizer.rules_for(User("jane"), "dev") == {
        "resourceRules": [
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
            {"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["x"]},
        ],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/api"]}],
        "incomplete": False,
    }
    assert len(authorizer.rules_for(User("jane"), "prod")["resourceRules"]) == 1


async def test_nobody_grants_what_he_does_not_hold(stored):
    give(stored, "mine", [rule("pods", "get list")], "User jane", namespace="dev")
    authorizer = Authorizer(stored)
    jane = User("jane", groups=("system:authenticated",))
    role = {"metadata": {"name": "r", "namespace": "dev"}, "rules": [rule("pods", "get")]}
    await check_role(authorizer, jane, "Role", role, None)
    role["rules"] = [rule("pods", "get delete watch"), rule("secrets")]
    with pytest.raises(ApiError) as caught:
        await check_role(authorizer, jane, "Role", role, None)
    assert caught.value.code == 403
    assert caught.value.message == (
        'roles.rbac.authorization.k8s.io "r" is forbidden: user "jane" (groups=["system:authenticated"]) is '
        "attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["pods"], Verbs:["delete" "watch"]}\n'
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}'
    )
    await check_role(authorizer, jane, "Role", role, role)  # unchanged rules are not granted again
    give(stored, "escalate", [rule("roles", "escalate", GROUP)], "User jane", namespace="dev")
    await check_role(authorizer, jane, "Role", role, None)


async def test_nobody_binds_what_he_does_not_hold(stored):
    give(stored, "strong", [rule("*", "*", "*")], "Group nobody")
    authorizer = Authorizer(stored)
    jane = User("jane")
    binding = {
        "metadata": {"name": "b", "namespace": "dev"},
        "roleRef": {"kind": "ClusterRole", "name": "strong", "apiGroup": GROUP},
        "subjects": [subject("User jane")],
    }
    with pytest.raises(ApiError, match="attempting to grant RBAC permissions not currently held") as caught:
        await check_binding(authorizer, jane, "RoleBinding", binding, None)
    assert caught.value.code == 403
    give(stored, "bind", [rule("clusterroles", "bind", GROUP, names="strong")], "User jane", namespace="dev")
    await check_binding(authorizer, jane, "RoleBinding", binding, None)
    await check_binding(authorizer, User("root", groups=("system:masters",)), "RoleBinding", binding, None)
    missing = {**binding, "roleRef": {"kind": "Role", "name": "none"}}
    with pytest.raises(ApiError) as caught:
        await check_binding(authorizer, jane, "RoleBinding", missing, None)
    assert caught.value.code == 404


names = st.sampled_from(["a", "b", "c", "*"])
words = st.lists(names, min_size=1, max_size=3, unique=True)
plain = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3, unique=True)
resources = st.lists(st.sampled_from(["a", "b", "a/x", "b/x", "*/x", "*"]), min_size=1, max_size=3, unique=True)
rules = st.fixed_dictionaries(
    {"apiGroups": words, "resources": resources, "verbs": words}, optional={"resourceNames": plain}
)


@given(
    owner=st.lists(rules, max_size=3),
    wanted=rules,
    verb=st.sampled_from("abc"),
    group=st.sampled_from("abc"),
    resource=st.sampled_from("ab"),
    sub=st.sampled_from(["", "x"]),
    name=st.sampled_from(["a", "b", ""]),
)
def test_covered_rules_allow_nothing_more(owner, wanted, verb, group, resource, sub, name):
    """Whatever a covered rule allows, some rule of the owner allows, too."""
    a = Attributes(User("x"), verb, group, "v1", resource, sub, "", name)
    if not uncovered(owner, [wanted]) and CompiledRule(wanted).allows(a):
        assert any(CompiledRule(o).allows(a) for o in owner)


def test_compact_and_describe():
    rules = [rule("pods", "get"), rule("pods", "list"), rule(urls="/x", verbs="get")]
    assert [describe(r) for r in compact(rules)] == [
        '{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}',
        '{NonResourceURLs:["/x"], Verbs:["get"]}',
    ]
