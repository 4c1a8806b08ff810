"""OIDC: tokens of a real issuer behind TLS, mapped to users by an AuthenticationConfiguration."""

from __future__ import annotations

import jwt
import orjson
import pytest
import yaml
from tests.apiserver.authentication.conftest import AUDIENCE, Key, Oidc, certificate, serve

from shirube.api.errors import ApiError
from shirube.apiserver.authentication import Authenticator
from shirube.apiserver.authentication.jwt import SigningKey
from shirube.apiserver.authentication.service_account_tokens import ServiceAccountTokens
from shirube.apiserver.configuration_file import ConfigurationError
from shirube.apiserver.main import Options, in_process
from shirube.foundation.chance import Chance
from shirube.foundation.clock import ManualClock
from shirube.serving.messages import Headers, Peer, Request, Response

OWN = "https://kubernetes.default.svc"


def document(*issuers: dict, **more) -> bytes:
    return orjson.dumps(
        {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "AuthenticationConfiguration",
            "jwt": list(issuers),
            **more,
        }
    )


class Nothing:
    def get(self, gvr, namespace, name):
        return None


class World:
    """An authenticator that follows a configuration, and a clock."""

    def __init__(self, issuer: Oidc, *configuration: dict, **more):
        self.clock = ManualClock()
        self.issuer = issuer
        self.authenticator = Authenticator(Nothing(), self.clock, audiences=(OWN,))
        self.authenticator.configure(document(*(configuration or (issuer.configuration(),)), **more))

    def token(self, key: int | Key = 0, **claims) -> str:
        return self.issuer.token(self.clock.now(), key, **claims)

    async def who(self, token: str):
        return await self.authenticator.authenticate(Headers([("Authorization", f"Bearer {token}")]), Peer())

    async def refused(self, token: str) -> bool:
        with pytest.raises(ApiError) as caught:
            await self.who(token)
        return caught.value.code == 401


@pytest.mark.parametrize("key", [0, 1, 2])
async def test_tokens_of_all_kinds_of_keys(issuer, key):
    world = World(issuer)
    user = await world.who(world.token(key, groups=["devs", "ops"], jti="42"))
    assert user.name == "oidc:jane"
    assert user.groups == ("devs", "ops", "system:authenticated")
    assert user.extra == {"authentication.kubernetes.io/credential-id": ("JTI=42",)}


async def test_keys_are_fetched_once(issuer):
    world = World(issuer)
    for n in range(5):
        await world.who(world.token(sub=f"user{n}"))
    assert issuer.fetched("/keys") == issuer.fetched("/.well-known/openid-configuration") == 1
    assert all("authorization" not in request.headers for request in issuer.heard)


async def test_a_new_key_is_fetched_and_invented_ones_do_not_flood_the_issuer(issuer, signing_keys):
    world = World(issuer)
    await world.who(world.token())
    issuer.keys = signing_keys
    world.clock.advance(6)
    await world.who(world.token(3))
    assert issuer.fetched("/keys") == 2
    for n in range(20):
        assert await world.refused(world.token(Key(f"invented{n}", "RS256", signing_keys[0].private)))
    assert issuer.fetched("/keys") == 2
    world.clock.advance(6)
    assert await world.refused(world.token(Key("invented", "RS256", signing_keys[0].private)))
    assert issuer.fetched("/keys") == 3


async def test_an_issuer_that_is_down_is_asked_again(issuer):
    world = World(issuer)
    issuer.documents["/keys"] = Response(503, b"later")
    assert await world.refused(world.token())
    issuer.documents.clear()
    assert await world.refused(world.token())  # it has just been asked
    world.clock.advance(6)
    await world.who(world.token())


WRONG_TIMES = [
    {"exp": None},
    {"exp": 1},
    {"exp": "tomorrow"},
    {"nbf": 99_999_999_999},
]


@pytest.mark.parametrize("claims", [*WRONG_TIMES, {"aud": "vault"}, {"aud": None}, {"aud": ["a", 1]}, {"sub": None}])
async def test_tokens_that_are_not_good_here(issuer, claims):
    world = World(issuer)
    assert await world.refused(world.token(**claims))


async def test_a_token_ends_on_time_although_the_verdict_is_remembered(issuer):
    world = World(issuer)
    token = world.token(exp=int(world.clock.now()) + 5)
    await world.who(token)
    world.clock.advance(6)
    assert await world.refused(token)


async def test_signatures_are_held_to_the_key(issuer, signing_keys):
    world = World(issuer)
    good = world.token()
    head, claims, signature = good.split(".")
    forged = [
        f"{head}.{claims}.{signature[:-4]}AAAA",
        world.token(Key("rsa", "RS256", signing_keys[3].private)),  # another key under a known id
        world.token(Key("rsa", "PS256", signing_keys[0].private)),  # the key says RS256
        world.token(Key("ec", "RS256", signing_keys[0].private)),  # an id of another kind of key
        jwt.encode({"iss": issuer.url, "aud": AUDIENCE, "sub": "jane"}, None, algorithm="none"),
        jwt.encode(
            {"iss": issuer.url, "aud": AUDIENCE, "sub": "jane", "exp": int(world.clock.now()) + 60},
            signing_keys[0].public()["n"].encode(),  # the public key as a shared secret
            algorithm="HS256",
            headers={"kid": "rsa"},
        ),
    ]
    for token in forged:
        assert await world.refused(token)
    await world.who(good)


async def test_a_token_without_key_id_is_tried_with_all_keys(issuer, signing_keys):
    world = World(issuer)
    assert (await world.who(world.token(Key("", "ES256", signing_keys[1].private)))).name == "oidc:jane"


async def test_redirects_are_not_followed(issuer):
    world = World(issuer)
    issuer.documents["/keys"] = Response(302, b"", [("Location", f"{issuer.url}/elsewhere")])
    assert await world.refused(world.token())
    assert issuer.fetched("/elsewhere") == 0


@pytest.mark.parametrize(
    "said",
    [
        {"issuer": "https://other.example.com", "jwks_uri": "https://127.0.0.1/keys"},
        {"jwks_uri": "http://127.0.0.1/keys"},
        {},
    ],
)
async def test_discovery_must_be_of_the_issuer(issuer, said):
    world = World(issuer)
    text = {"issuer": issuer.url, **said} if said else []
    issuer.documents["/.well-known/openid-configuration"] = Response(200, orjson.dumps(text))
    assert await world.refused(world.token())
    assert issuer.fetched("/keys") == 0


async def test_the_certificate_of_the_issuer_is_verified(issuer, tmp_path):
    (tmp_path / "other").mkdir()
    _, _, authority = certificate(tmp_path / "other")
    world = World(issuer, issuer.configuration(issuer={"certificateAuthority": authority}))
    assert await world.refused(world.token())
    assert issuer.heard == []


async def test_discovery_may_be_elsewhere(issuer):
    issuer.documents["/inside/discovery"] = Response(
        200, orjson.dumps({"issuer": "https://login.example.com", "jwks_uri": f"{issuer.url}/keys"})
    )
    entry = issuer.configuration(
        issuer={"url": "https://login.example.com", "discoveryURL": f"{issuer.url}/inside/discovery"}
    )
    world = World(issuer, entry)
    assert (await world.who(world.token(iss="https://login.example.com"))).name == "oidc:jane"


async def test_several_issuers(issuer, tmp_path, signing_keys):
    (tmp_path / "two").mkdir()
    cert, key, authority = certificate(tmp_path / "two")
    second = Oidc(authority, keys=[signing_keys[3]])
    server = await serve(second, cert, key)
    try:
        mapping = {"username": {"claim": "sub", "prefix": "second:"}}
        world = World(issuer, issuer.configuration(), second.configuration(claimMappings=mapping))
        assert (await world.who(world.token())).name == "oidc:jane"
        assert (await world.who(second.token(world.clock.now()))).name == "second:jane"
        # one issuer's key says nothing about another's users
        assert await world.refused(world.token(iss=second.url))
    finally:
        await server.drain(0)


EXPRESSIONS = {
    "username": {"expression": "claims.sub + '@' + claims.realm"},
    "groups": {"expression": "claims.roles.split(',').map(r, 'team:' + r)"},
    "uid": {"expression": "claims.id"},
    "extra": [
        {"key": "example.com/tenant", "valueExpression": "claims.tenant"},
        {"key": "example.com/none", "valueExpression": "''"},
    ],
}


async def test_expressions_map_claims(issuer):
    world = World(issuer, issuer.configuration(claimMappings=EXPRESSIONS))
    user = await world.who(world.token(realm="jp", roles="dev,ops", id="u-1", tenant=["a", "b"]))
    assert (user.name, user.uid) == ("jane@jp", "u-1")
    assert user.groups == ("team:dev", "team:ops", "system:authenticated")
    assert user.extra["example.com/tenant"] == ("a", "b")
    # an expression that cannot be evaluated refuses the token
    assert await world.refused(world.token(roles="dev", id="u-1", tenant="a"))


@pytest.mark.parametrize(
    ("groups", "expected"),
    [(None, ()), ("one", ("one",)), (["a", "b"], ("a", "b")), ([], ())],
)
async def test_groups_are_a_string_or_a_list(issuer, groups, expected):
    world = World(issuer)
    assert (await world.who(world.token(groups=groups))).groups == (*expected, "system:authenticated")


@pytest.mark.parametrize("groups", [7, ["a", 7], {"a": "b"}])
async def test_groups_that_are_neither_refuse_the_token(issuer, groups):
    world = World(issuer)
    assert await world.refused(world.token(groups=groups))


async def test_claims_are_validated(issuer):
    rules = [
        {"claim": "hd", "requiredValue": "example.com"},
        {"expression": "claims.exp - claims.iat <= 3600", "message": "tokens live for an hour at most"},
    ]
    world = World(issuer, issuer.configuration(claimValidationRules=rules))
    now = int(world.clock.now())
    assert (await world.who(world.token(hd="example.com", iat=now))).name == "oidc:jane"
    assert await world.refused(world.token(hd="example.org", iat=now))
    assert await world.refused(world.token(iat=now))
    assert await world.refused(world.token(hd="example.com", iat=now - 7200))


async def test_users_are_validated(issuer):
    rules = [
        {"expression": "!user.username.startsWith('system:')", "message": "reserved"},
        {"expression": "user.groups.all(g, !g.startsWith('system:'))"},
    ]
    mapping = {"username": {"claim": "sub", "prefix": ""}}
    world = World(issuer, issuer.configuration(userValidationRules=rules, claimMappings=mapping))
    assert (await world.who(world.token())).name == "jane"
    assert await world.refused(world.token(sub="system:admin"))
    assert await world.refused(world.token(groups=["system:masters"]))


async def test_an_address_that_is_not_verified_is_no_name(issuer):
    mapping = {"username": {"claim": "email", "prefix": ""}}
    world = World(issuer, issuer.configuration(claimMappings=mapping))
    address = "jane@example.com"
    assert (await world.who(world.token(email=address))).name == address
    assert (await world.who(world.token(email=address, email_verified=True))).name == address
    assert await world.refused(world.token(email=address, email_verified=False))
    assert await world.refused(world.token(email=address, email_verified="yes"))


async def test_an_empty_name_is_nobody(issuer):
    world = World(issuer)
    assert await world.refused(world.token(sub=""))
    assert await world.refused(world.token(sub=7))


async def test_anonymous_access_may_be_limited_to_paths(issuer):
    world = World(issuer, anonymous={"enabled": True, "conditions": [{"path": "/livez"}, {"path": "/readyz"}]})
    user = await world.authenticator.authenticate(Headers(), Peer())
    assert user.name == "system:anonymous"
    world.authenticator.check_anonymous("/livez")
    for path in ("/livez/ping", "/api", "/healthz"):
        with pytest.raises(ApiError, match="Unauthorized"):
            world.authenticator.check_anonymous(path)
    world.authenticator.configure(document(anonymous={"enabled": False}))
    with pytest.raises(ApiError, match="Unauthorized"):
        await world.authenticator.authenticate(Headers(), Peer())


async def test_a_server_follows_its_file(issuer, tmp_path, signing_key):
    file = tmp_path / "authentication.yaml"
    file.write_bytes(document(anonymous={"enabled": True, "conditions": [{"path": "/livez"}]}))
    options = Options(data_dir=tmp_path, authentication_config=file, service_account_key=signing_key)
    async with in_process(options, chance=Chance(1)) as server:

        async def call(path, token=""):
            headers = [("Authorization", f"Bearer {token}")] if token else []
            answer = await server.handle(Request.of("GET", path, headers))
            assert isinstance(answer, Response)
            return answer

        token = issuer.token(server.context.clock.now(), groups=["system:masters"])
        assert (await call("/livez")).status == 200
        assert (await call("/readyz")).status == 401
        assert (await call("/api/v1/namespaces", token)).status == 401
        file.write_text(yaml.safe_dump(orjson.loads(document(issuer.configuration()))))
        assert await server.context.files["authentication"].check()
        assert (await call("/api/v1/namespaces", token)).status == 200
        assert (await call("/readyz")).status == 200
        # what is wrong changes nothing
        file.write_text("jwt: []\n")
        assert not await server.context.files["authentication"].check()
        assert (await call("/api/v1/namespaces", token)).status == 200


async def test_the_servers_own_issuer_is_not_to_be_taken_over(issuer, signing_key):
    clock = ManualClock()
    tokens = ServiceAccountTokens(SigningKey.load(signing_key), OWN, Nothing(), clock, Chance(1))
    authenticator = Authenticator(Nothing(), clock, tokens=tokens, audiences=(OWN,))
    with pytest.raises(ConfigurationError, match="must not overlap with disallowed issuers"):
        authenticator.configure(document(issuer.configuration(issuer={"url": OWN})))


async def test_token_reviews_know_the_issuers_tokens(issuer):
    world = World(issuer)
    user, audiences = await world.authenticator.review(world.token(), ["vault", OWN])
    assert (user.name, audiences) == ("oidc:jane", (OWN,))
    assert await world.authenticator.review(world.token(), ["vault"]) is None


def entry(**more) -> dict:
    return Oidc("").configuration(**{"issuer": {"url": "https://a.example", "certificateAuthority": ""}, **more})


def issued(**more) -> dict:
    return entry(issuer={"url": "https://a.example", "certificateAuthority": "", **more})


def mapped(**more) -> dict:
    return entry(claimMappings=more)


BAD = [
    (issued(url="http://a.example"), r"jwt\[0\].issuer.url: Invalid value: .*URL scheme must be https"),
    (issued(url="https://u:p@a.example"), "must not contain a username or password"),
    (issued(url="https://a.example?x=1"), "must not contain a query"),
    (issued(url="https://a.example#x"), "must not contain a fragment"),
    (issued(url=""), r"jwt\[0\].issuer.url: Required value"),
    (issued(discoveryURL="https://a.example/"), "discoveryURL must be different from URL"),
    (issued(audiences=[]), r"at least one jwt\[0\].issuer.audiences is required"),
    (issued(audiences=["a", "b"]), "audienceMatchPolicy must be MatchAny for multiple audiences"),
    (issued(audiences=["a", "a"], audienceMatchPolicy="MatchAny"), r'audiences\[1\]: Duplicate value: "a"'),
    (issued(audienceMatchPolicy="All"), "must be empty or MatchAny for single audience"),
    (issued(certificateAuthority="rubbish"), "certificateAuthority: Invalid value: <omitted>"),
    (issued(egressSelectorType="cluster"), "egress selection is not supported"),
    (mapped(username={}), "claim or expression is required"),
    (mapped(username={"claim": "sub"}), "prefix is required when claim is set"),
    (mapped(username={"claim": "sub", "prefix": "", "expression": "'a'"}), "claim and expression can't both be set"),
    (mapped(username={"expression": "'a'", "prefix": ""}), "prefix can't be set when expression is set"),
    (mapped(username={"expression": "claims.sub +"}), "username.expression: Invalid value: .*compilation failed"),
    (mapped(username={"expression": "claims.email"}), "claims.email_verified must be used"),
    (mapped(username={"expression": "claims['email']"}), "claims.email_verified must be used"),
    (mapped(extra=[{"key": "foo", "valueExpression": "''"}]), "must be a domain-prefixed path"),
    (mapped(extra=[{"key": "a.b/Foo", "valueExpression": "''"}]), "must be lowercase"),
    (mapped(extra=[{"key": "x.k8s.io/foo", "valueExpression": "''"}]), "reserved for Kubernetes use"),
    (mapped(extra=[{"key": "a.b/c", "valueExpression": "''"}] * 2), "Duplicate value"),
    (entry(claimValidationRules=[{}]), "claim or expression is required"),
    (entry(claimValidationRules=[{"claim": "a", "expression": "true"}]), "can't both be set"),
    (entry(claimValidationRules=[{"claim": "a", "message": "b"}]), "may not be specified when claim is set"),
    (entry(claimValidationRules=[{"claim": "a"}] * 2), "Duplicate value"),
    (entry(userValidationRules=[{"expression": "("}]), r"userValidationRules\[0\].expression: Invalid value"),
    (entry(userValidationRules=[{"expression": "true"}] * 2), "Duplicate value"),
    (entry(unknown=1), r'unknown field "jwt\[0\].unknown"'),
]


@pytest.mark.parametrize(("configuration", "why"), BAD)
def test_what_is_wrong_is_said(configuration, why):
    with pytest.raises(ConfigurationError, match=why):
        Authenticator(Nothing(), ManualClock()).configure(document(configuration))


def test_issuers_are_different():
    with pytest.raises(ConfigurationError, match=r'jwt\[1\].issuer.url: Duplicate value: "https://a.example"'):
        Authenticator(Nothing(), ManualClock()).configure(document(entry(), entry()))


def test_conditions_ask_for_anonymous_access():
    with pytest.raises(ConfigurationError, match="enabled should be set to true when conditions are defined"):
        Authenticator(Nothing(), ManualClock()).configure(
            document(anonymous={"enabled": False, "conditions": [{"path": "/livez"}]})
        )


def test_a_verified_address_may_be_a_name():
    rules = [{"expression": "claims.?email_verified.orValue(true) == true"}]
    good = [
        mapped(username={"expression": "claims.email_verified ? claims.email : ''"}),
        entry(claimMappings={"username": {"expression": "claims.email"}}, claimValidationRules=rules),
    ]
    for configuration in good:
        Authenticator(Nothing(), ManualClock()).configure(document(configuration))
