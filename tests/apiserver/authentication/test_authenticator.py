"""Who asks: every kind of credential, good and bad."""

from __future__ import annotations

import base64
import ssl

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from shirube.api.errors import ApiError
from shirube.apiserver.authentication import Authenticator, bearer_token
from shirube.apiserver.authentication.jwt import InvalidToken, SigningKey, b64url
from shirube.apiserver.authentication.service_account_tokens import Bound, ServiceAccountTokens
from shirube.cluster.certificates import ensure_client, ensure_pki
from shirube.foundation.chance import Chance
from shirube.foundation.clock import ManualClock, rfc3339
from shirube.serving.messages import Headers, Peer

ISSUER = "https://kubernetes.default.svc.cluster.local"
DAY = 86400.0


class Stored:
    """A Reader over a dict: what the contract of `Reader.get` promises, nothing more."""

    def __init__(self):
        self.objects = {}

    def put(self, resource, namespace, name, **more):
        obj = {"metadata": {"name": name, "namespace": namespace, "uid": f"uid-{name}"}, **more}
        self.objects[resource, namespace, name] = obj
        return obj

    def get(self, gvr, namespace, name):
        return self.objects.get((gvr.resource, namespace, name))


class World:
    def __init__(self):
        self.clock = ManualClock()
        self.stored = Stored()
        self.key = SigningKey(ec.generate_private_key(ec.SECP256R1()))
        self.tokens = ServiceAccountTokens(self.key, ISSUER, self.stored, self.clock, Chance(1))
        self.authenticator = Authenticator(self.stored, self.clock, tokens=self.tokens, audiences=(ISSUER,))
        self.account = self.stored.put("serviceaccounts", "ns", "robot")
        self.pod = self.stored.put("pods", "ns", "web")

    def token(self, audiences=(ISSUER,), seconds=3600, **more):
        return self.tokens.issue(self.account, list(audiences), seconds, **more)

    async def who(self, token):
        return await self.authenticator.authenticate(Headers([("Authorization", f"Bearer {token}")]), Peer())

    async def refused(self, token):
        with pytest.raises(ApiError) as caught:
            await self.who(token)
        return caught.value.code == 401


@pytest.fixture
def world():
    return World()


async def test_nobody_is_anonymous(world):
    user = await world.authenticator.authenticate(Headers(), Peer())
    assert (user.name, user.groups) == ("system:anonymous", ("system:unauthenticated",))


async def test_nobody_is_refused_where_anonymous_is_off(world):
    closed = Authenticator(world.stored, world.clock, anonymous=False)
    with pytest.raises(ApiError, match="Unauthorized"):
        await closed.authenticate(Headers(), Peer())


async def test_bound_token(world):
    token = world.token(bound=Bound("Pod", "web", "uid-web"), node=Bound("Node", "n1", "uid-n1"))
    user = await world.who(token)
    assert user.name == "system:serviceaccount:ns:robot"
    assert user.uid == "uid-robot"
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated")
    assert user.extra["authentication.kubernetes.io/pod-name"] == ("web",)
    assert user.extra["authentication.kubernetes.io/node-name"] == ("n1",)
    assert user.extra["authentication.kubernetes.io/credential-id"][0].startswith("JTI=")


async def test_claims_are_upstreams(world):
    token = world.token(bound=Bound("Pod", "web", "uid-web"), warn_after=3607)
    claims = world.key.public.verify(token)
    now = int(world.clock.now())
    assert claims["sub"] == "system:serviceaccount:ns:robot"
    assert (claims["iat"], claims["nbf"], claims["exp"]) == (now, now, now + 3600)
    assert claims["kubernetes.io"] == {
        "namespace": "ns",
        "serviceaccount": {"name": "robot", "uid": "uid-robot"},
        "pod": {"name": "web", "uid": "uid-web"},
        "warnafter": now + 3607,
    }


async def test_token_ends_with_its_pod(world):
    token = world.token(bound=Bound("Pod", "web", "uid-web"))
    await world.who(token)
    del world.stored.objects["pods", "ns", "web"]
    world.clock.advance(11)  # verdicts are kept for ten seconds
    assert await world.refused(token)


async def test_token_outlives_its_pods_deletion_by_a_minute(world):
    token = world.token(bound=Bound("Pod", "web", "uid-web"))
    world.pod["metadata"]["deletionTimestamp"] = rfc3339(world.clock.now())
    world.clock.advance(30)
    await world.who(token)
    world.clock.advance(45)
    assert await world.refused(token)


@pytest.mark.parametrize("what", ["account replaced", "account gone", "pod replaced", "expired", "not yet"])
async def test_token_that_is_no_longer_true(world, what):
    token = world.token(bound=Bound("Pod", "web", "uid-web"))
    if what == "account replaced":
        world.account["metadata"]["uid"] = "another"
    elif what == "account gone":
        del world.stored.objects["serviceaccounts", "ns", "robot"]
    elif what == "pod replaced":
        world.pod["metadata"]["uid"] = "another"
    elif what == "expired":
        world.clock.advance(3601)
    else:
        world.clock.advance(-100)
    assert await world.refused(token)


async def test_token_ends_on_time_although_the_verdict_is_remembered(world):
    token = world.token(seconds=600)
    world.clock.advance(595)
    await world.who(token)
    world.clock.advance(6)
    assert await world.refused(token)


async def test_token_for_others_is_no_use_here(world):
    token = world.token(audiences=["vault"])
    assert await world.refused(token)
    found = await world.authenticator.review(token, ["vault", "other"])
    assert found is not None
    assert found[1] == ("vault",)


def forged(token, **header):
    _, claims, signature = token.split(".")
    return ".".join((b64url(orjson.dumps(header)), claims, signature))


async def test_forgeries(world):
    token = world.token()
    head, claims, signature = token.split(".")
    other = SigningKey(ec.generate_private_key(ec.SECP256R1()))
    swapped = b64url(orjson.dumps({**world.key.public.verify(token), "sub": "system:serviceaccount:ns:king"}))
    table = [
        forged(token, alg="none"),
        forged(token, alg="HS256", kid=world.key.public.kid),
        f"{head}.{claims}.",
        f"{head}.{swapped}.{signature}",
        f"{head}.{claims}.{b64url(bytes(64))}",
        other.sign(world.key.public.verify(token)),
        world.key.sign({**world.key.public.verify(token), "iss": "https://elsewhere"}),
        world.key.sign({k: v for k, v in world.key.public.verify(token).items() if k != "exp"}),
        token + "x" * 20000,
        "..",
        "rubbish",
    ]
    for forgery in table:
        assert await world.refused(forgery), forgery[:80]


def test_verify_says_what_is_wrong(world):
    with pytest.raises(InvalidToken, match="another key"):
        world.key.public.verify(forged(world.token(), alg="none"))


async def test_legacy_token_lives_as_long_as_its_secret(world):
    claims = {
        "iss": "kubernetes/serviceaccount",
        "kubernetes.io/serviceaccount/namespace": "ns",
        "kubernetes.io/serviceaccount/secret.name": "robot-token",
        "kubernetes.io/serviceaccount/service-account.name": "robot",
        "kubernetes.io/serviceaccount/service-account.uid": "uid-robot",
        "sub": "system:serviceaccount:ns:robot",
    }
    token = world.key.sign(claims)
    assert await world.refused(token)
    kind = "kubernetes.io/service-account-token"
    data = {"token": base64.b64encode(token.encode()).decode()}
    world.stored.put("secrets", "ns", "robot-token", type=kind, data=data)
    assert (await world.who(token)).name == "system:serviceaccount:ns:robot"
    world.stored.put("secrets", "ns", "robot-token", type=kind, data={"token": "b3RoZXI="})
    world.clock.advance(11)
    assert await world.refused(token)


def bootstrap_secret(world, **changes):
    values = {
        "token-id": "abcdef",
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true",
        "auth-extra-groups": "system:bootstrappers:workers",
        **changes,
    }
    data = {k: base64.b64encode(v.encode()).decode() for k, v in values.items() if v is not None}
    return world.stored.put(
        "secrets", "kube-system", "bootstrap-token-abcdef", type="bootstrap.kubernetes.io/token", data=data
    )


async def test_bootstrap_token(world):
    bootstrap_secret(world, expiration=rfc3339(world.clock.now() + 60))
    user = await world.who("abcdef.0123456789abcdef")
    assert user.name == "system:bootstrap:abcdef"
    assert user.groups == ("system:bootstrappers:workers", "system:bootstrappers", "system:authenticated")
    world.clock.advance(61)
    assert await world.refused("abcdef.0123456789abcdef")


@pytest.mark.parametrize(
    "changes",
    [
        {"token-secret": "0123456789abcdee"},
        {"token-id": "abcdeg"},
        {"usage-bootstrap-authentication": "false"},
        {"usage-bootstrap-authentication": None},
        {"expiration": "not a time"},
        {"auth-extra-groups": "system:masters"},
    ],
)
async def test_bad_bootstrap_tokens(world, changes):
    bootstrap_secret(world, **changes)
    assert await world.refused("abcdef.0123456789abcdef")


async def test_bootstrap_secret_on_its_way_out(world):
    bootstrap_secret(world)["metadata"]["deletionTimestamp"] = rfc3339(world.clock.now())
    assert await world.refused("abcdef.0123456789abcdef")


async def test_certificates(world, tmp_path):
    pki = ensure_pki(tmp_path, cluster_name="t", api_names=[], api_addresses=[], clock=world.clock)
    pair = ensure_client(pki, "jane", "jane", ["dev", "ops"], clock=world.clock)
    peer = Peer("127.0.0.1", 1, ssl.PEM_cert_to_DER_cert(pair.cert.read_text()))
    user = await world.authenticator.authenticate(Headers(), peer)
    assert (user.name, user.groups) == ("jane", ("dev", "ops", "system:authenticated"))
    assert user.extra["authentication.kubernetes.io/credential-id"][0].startswith("X509SHA256=")
    world.clock.advance(366 * DAY)  # the connection may be older than the certificate's end
    with pytest.raises(ApiError):
        await world.authenticator.authenticate(Headers(), peer)


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([("Authorization", "Bearer abc")], "abc"),
        ([("Authorization", "bearer  abc ")], "abc"),
        ([("Authorization", "Basic abc")], ""),
        ([("Sec-WebSocket-Protocol", f"base64url.bearer.authorization.k8s.io.{b64url(b'abc')}, v5.channel.k8s.io")],
         "abc"),
        ([("Sec-WebSocket-Protocol", "base64url.bearer.authorization.k8s.io.!!")], ""),
        ([], ""),
    ],
)  # fmt: skip
def test_where_tokens_are_shown(headers, token):
    assert bearer_token(Headers(headers)) == token


@pytest.mark.parametrize(
    ("kind", "resource", "namespace"), [("Pod", "pods", "ns"), ("Secret", "secrets", "ns"), ("Node", "nodes", "")]
)
async def test_token_ends_with_whatever_it_is_bound_to(world, kind, resource, namespace):
    world.stored.put(resource, namespace, "thing")
    token = world.token(bound=Bound(kind, "thing", "uid-thing"))
    await world.who(token)
    world.stored.put(resource, namespace, "thing")["metadata"]["uid"] = "another"
    world.clock.advance(11)
    assert await world.refused(token)
    del world.stored.objects[resource, namespace, "thing"]
    world.clock.advance(11)
    assert await world.refused(token)
