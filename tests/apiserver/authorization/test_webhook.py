"""The chain of an AuthorizationConfiguration: its order, and webhooks that are asked over TLS."""

from __future__ import annotations

import asyncio

import orjson
import pytest
import yaml
from tests.apiserver.authentication.conftest import Oidc, certificate, serve
from tests.apiserver.conftest import Admins, Api

from shirube.apiserver.attributes import Attributes
from shirube.apiserver.authorization import Authorizer
from shirube.apiserver.configuration_file import ConfigurationError
from shirube.apiserver.main import Options, in_process
from shirube.apiserver.user import User
from shirube.foundation.chance import Chance
from shirube.foundation.clock import ManualClock
from shirube.serving.messages import Response

JANE = User("jane", "u1", ("devs",), {"example.com/tenant": ("a",)})
MASTER = User("root", groups=("system:masters",))


class Empty:
    def get(self, gvr, namespace, name):
        return None

    def list(self, gvr, namespace=""):
        return []

    def revision(self, gvr):
        return 1


class Judge(Oidc):
    """Answers reviews as `verdicts` says, by the name of the resource."""

    def __init__(self, authority: str):
        super().__init__(authority)
        self.verdicts: dict = {}
        self.asked: list = []
        self.answer: Response | None = None

    async def handle(self, request):
        self.heard.append(request)
        if self.answer is not None:
            return self.answer
        review = orjson.loads(await request.read(1 << 20))
        self.asked.append(review)
        resource = (review["spec"].get("resourceAttributes") or {}).get("resource", "")
        status = self.verdicts.get(resource, {"allowed": False})
        return Response(200, orjson.dumps({**review, "status": status}))


@pytest.fixture
async def judge(tmp_path):
    cert, key, authority = certificate(tmp_path)
    made = Judge(authority)
    server = await serve(made, cert, key)
    cluster = {"server": f"https://127.0.0.1:{made.port}/authorize", "certificate-authority": str(cert)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": "shown-to-the-webhook"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    }
    (tmp_path / "webhook.kubeconfig").write_text(yaml.safe_dump(config))
    made.kubeconfig = tmp_path / "webhook.kubeconfig"
    async with asyncio.timeout(60):
        yield made
    await server.drain(0)


def webhook(judge, **more):
    return {
        "type": "Webhook",
        "name": more.pop("name", "judge"),
        "webhook": {
            "timeout": "3s",
            "subjectAccessReviewVersion": "v1",
            "failurePolicy": "NoOpinion",
            "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": str(judge.kubeconfig)},
            **more,
        },
    }


def document(*authorizers):
    return orjson.dumps(
        {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "AuthorizationConfiguration",
            "authorizers": list(authorizers),
        }
    )


def built_in(kind):
    return {"type": kind, "name": kind.lower()}


class World:
    def __init__(self, *authorizers):
        self.clock = ManualClock()
        self.authorizer = Authorizer(Empty())
        self.authorizer.configure(document(*authorizers), self.clock)

    async def ask(self, resource="pods", user=JANE, verb="get", **more):
        return await self.authorizer.authorize(Attributes(user, verb, "", "v1", resource, "", "ns", "x", **more))


async def test_the_first_opinion_decides(judge):
    judge.verdicts = {"pods": {"allowed": True, "reason": "it is a pod"}, "secrets": {"allowed": False, "denied": True}}
    world = World(webhook(judge), built_in("AlwaysAllow"))
    assert await world.ask() == (True, "it is a pod", False)
    denied = await world.ask("secrets")
    assert (denied.allowed, denied.final) == (False, True)
    # without an opinion the next one is asked
    assert (await world.ask("services")).allowed
    assert not (await World(webhook(judge), built_in("RBAC")).ask("services")).allowed


async def test_the_masters_ask_nobody(judge):
    assert (await World(webhook(judge)).ask(user=MASTER)).allowed
    assert judge.heard == []


async def test_what_a_webhook_is_asked(judge):
    world = World(webhook(judge))
    await world.ask(field_selector="spec.a=b,spec.c!=d", label_selector="app in (y,x),!gone,here")
    assert judge.asked[0]["apiVersion"] == "authorization.k8s.io/v1"
    assert judge.asked[0]["spec"] == {
        "user": "jane",
        "groups": ["devs"],
        "uid": "u1",
        "extra": {"example.com/tenant": ["a"]},
        "resourceAttributes": {
            "namespace": "ns",
            "verb": "get",
            "version": "v1",
            "resource": "pods",
            "name": "x",
            "fieldSelector": {
                "requirements": [
                    {"key": "spec.a", "operator": "In", "values": ["b"]},
                    {"key": "spec.c", "operator": "NotIn", "values": ["d"]},
                ]
            },
            "labelSelector": {
                "requirements": [
                    {"key": "app", "operator": "In", "values": ["x", "y"]},
                    {"key": "gone", "operator": "DoesNotExist"},
                    {"key": "here", "operator": "Exists"},
                ]
            },
        },
    }
    await world.authorizer.authorize(Attributes(JANE, "get", path="/metrics", is_resource=False))
    assert judge.asked[1]["spec"]["nonResourceAttributes"] == {"path": "/metrics", "verb": "get"}
    assert judge.heard[0].headers.get("authorization") == "Bearer shown-to-the-webhook"
    older = World(webhook(judge, subjectAccessReviewVersion="v1beta1"))
    await older.ask()
    assert judge.asked[2]["apiVersion"] == "authorization.k8s.io/v1beta1"
    assert judge.asked[2]["spec"]["group"] == ["devs"] and "groups" not in judge.asked[2]["spec"]


async def test_answers_are_remembered(judge):
    judge.verdicts = {"pods": {"allowed": True}}
    world = World(webhook(judge, authorizedTTL="1m", unauthorizedTTL="10s"))
    for _ in range(3):
        await world.ask()
        await world.ask("services")
    assert len(judge.asked) == 2
    world.clock.advance(11)
    await world.ask()
    await world.ask("services")
    assert len(judge.asked) == 3
    world.clock.advance(60)
    await world.ask()
    assert len(judge.asked) == 4
    forgetful = World(webhook(judge, cacheAuthorizedRequests=False))
    for _ in range(2):
        await forgetful.ask()
    assert len(judge.asked) == 6


CONDITIONS = [
    {"expression": "has(request.resourceAttributes)"},
    {"expression": "request.resourceAttributes.namespace == 'ns'"},
    {"expression": "!('system:nodes' in request.groups)"},
]


async def test_conditions_say_what_a_webhook_is_asked(judge):
    judge.verdicts = {"pods": {"allowed": True}}
    more = {"matchConditions": CONDITIONS, "matchConditionSubjectAccessReviewVersion": "v1"}
    world = World(webhook(judge, **more))
    assert (await world.ask()).allowed
    assert not (await world.ask(user=User("n", groups=("system:nodes",)))).allowed
    assert not (await world.authorizer.authorize(Attributes(JANE, "get", path="/x", is_resource=False))).allowed
    assert len(judge.asked) == 1


@pytest.mark.parametrize("policy", ["NoOpinion", "Deny"])
async def test_a_webhook_that_fails(judge, policy, caplog):
    world = World(webhook(judge, failurePolicy=policy), built_in("AlwaysAllow"))
    for answer in (
        Response(500, b"no"),
        Response(302, b"", [("Location", "https://127.0.0.1/elsewhere")]),
        Response(200, b"[]"),
        Response(200, b'{"status": {"allowed": true, "denied": true}}'),
    ):
        judge.answer = answer
        decision = await world.ask()
        assert decision.allowed is (policy == "NoOpinion"), answer
    assert all(request.path == "/authorize" for request in judge.heard)
    bad = {
        "matchConditions": [{"expression": "request.nothing == 1"}],
        "matchConditionSubjectAccessReviewVersion": "v1",
    }
    assert (await World(webhook(judge, failurePolicy=policy, **bad), built_in("AlwaysAllow")).ask()).allowed is (
        policy == "NoOpinion"
    )


async def test_a_server_follows_its_file(judge, tmp_path, signing_key):
    judge.verdicts = {"pods": {"allowed": True}, "secrets": {"denied": True, "reason": "no secrets"}}
    file = tmp_path / "authorization.yaml"
    file.write_bytes(document(built_in("Node"), built_in("RBAC")))
    options = Options(data_dir=tmp_path, authorization_config=file, service_account_key=signing_key)
    async with in_process(options, chance=Chance(1)) as server:
        server.context.authenticator = Admins(JANE, server.context.authenticator)
        api = Api(server)
        assert (await api.get("/api/v1/pods")).status == 403
        file.write_bytes(document(built_in("Node"), webhook(judge), built_in("RBAC")))
        assert await server.context.files["authorization"].check()
        assert (await api.get("/api/v1/pods")).status == 200
        refused = await api.get("/api/v1/secrets")
        assert refused.status == 403 and refused.message.endswith("at the cluster scope: no secrets")
        judge.verdicts["selfsubjectaccessreviews"] = judge.verdicts["selfsubjectrulesreviews"] = {"allowed": True}
        review = {"spec": {"resourceAttributes": {"verb": "list", "resource": "secrets"}}}
        made = await api.ok("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
        assert made["status"] == {"allowed": False, "denied": True, "reason": "no secrets"}
        rules = await api.ok(
            "POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {"spec": {"namespace": "ns"}}
        )
        assert rules["status"]["incomplete"] is True
        assert "webhook authorizer does not support user rule resolution" in rules["status"]["evaluationError"]


class At:
    kubeconfig = "/nonexistent/kubeconfig"


BAD = [
    ((), "at least one authorization mode must be defined"),
    (({"type": "ABAC", "name": "a"},), 'authorizers.0..type: Unsupported value: "ABAC"'),
    (({"type": "RBAC"},), r"authorizers\[0\].name: Required value"),
    (({"type": "RBAC", "name": "Not Good"},), "name: Invalid value"),
    ((built_in("RBAC"), {"type": "RBAC", "name": "b"}), 'Duplicate value: "RBAC"'),
    ((built_in("RBAC"), {"type": "Node", "name": "rbac"}), 'name: Duplicate value: "rbac"'),
    (({"type": "RBAC", "name": "a", "webhook": {}},), "may only be specified when type=Webhook"),
    (({"type": "Webhook", "name": "a"},), "required when type=Webhook"),
    ((webhook(At, timeout="0s"),), "must be greater than 0s and at most 30s"),
    ((webhook(At, timeout="31s"),), "must be greater than 0s and at most 30s"),
    ((webhook(At, timeout="soon"),), "must be a duration"),
    ((webhook(At, failurePolicy="Allow"),), 'failurePolicy: Unsupported value: "Allow"'),
    ((webhook(At),), "must be a regular file"),
    ((webhook(At, connectionInfo={"type": "KubeConfigFile"}),), "kubeConfigFile: Required value"),
    ((webhook(At, connectionInfo={"type": "KubeConfigFile", "kubeConfigFile": "x"}),), "must be an absolute path"),
    ((webhook(At, connectionInfo={"type": "Magic"}),), 'connectionInfo.type: Unsupported value: "Magic"'),
]


@pytest.mark.parametrize(("authorizers", "why"), BAD)
def test_what_is_wrong_is_said(authorizers, why):
    with pytest.raises(ConfigurationError, match=why):
        World(*authorizers)


@pytest.mark.parametrize(
    ("conditions", "why"),
    [
        ({"matchConditions": [{"expression": "true"}]}, 'ReviewVersion: Unsupported value: ""'),
        (
            {"matchConditions": [{"expression": "("}], "matchConditionSubjectAccessReviewVersion": "v1"},
            r"matchConditions\[0\].expression: Invalid value",
        ),
        (
            {"matchConditions": [{"expression": "true"}] * 2, "matchConditionSubjectAccessReviewVersion": "v1"},
            "Duplicate value",
        ),
    ],
)
async def test_what_is_wrong_with_conditions_is_said(judge, conditions, why):
    with pytest.raises(ConfigurationError, match=why):
        World(webhook(judge, **conditions))
