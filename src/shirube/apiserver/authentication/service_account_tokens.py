"""Service-account tokens: made for a pod (or secret, node) and an audience, believed while those still exist.

`issue` signs ES256 JWTs with upstream's claims (KEP-1205 bound tokens, KEP-4193 node and credential ids).
`verify` checks signature, issuer, time and audience, and then, through the Reader, that the account still has
the uid of the token and that what it is bound to is still there: deleting a pod ends its tokens. Verified
signatures are remembered until the token ends, whole verdicts for ten seconds as upstream does.

Tokens kept in secrets of type `kubernetes.io/service-account-token` (the old form, without end or audience)
are believed as long as the secret holds them and nobody has marked it invalid; `legacy_tokens` watches their use.
"""

from __future__ import annotations

import base64
import hmac
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from shirube.api.gvr import GVR, NODES, PODS, SECRETS, SERVICEACCOUNTS
from shirube.apiserver.authentication.certificates import CREDENTIAL_ID
from shirube.apiserver.authentication.jwt import InvalidToken, SigningKey, unverified_claims
from shirube.apiserver.authentication.legacy_tokens import Remarks, Said, TokenUses
from shirube.apiserver.user import ALL_AUTHENTICATED, User
from shirube.foundation.chance import Chance
from shirube.foundation.clock import Clock, parse_rfc3339

if TYPE_CHECKING:
    from shirube.apiserver.reader import Reader

LEGACY_ISSUER = "kubernetes/serviceaccount"
LEGACY_TYPE = "kubernetes.io/service-account-token"
VERDICT_SECONDS = 10.0
# How long an object that is being deleted still lends its name to tokens.
DELETION_LEEWAY = 60.0
_CACHED = 4096
_POD_NAME, _POD_UID, _NODE_NAME, _NODE_UID = (
    f"authentication.kubernetes.io/{key}" for key in ("pod-name", "pod-uid", "node-name", "node-uid")
)


class Bound(NamedTuple):
    """What a token is bound to."""

    kind: str  # Pod, Secret, Node
    name: str
    uid: str


class Verified(NamedTuple):
    user: User
    audiences: tuple[str, ...]  # of the token; () = a legacy token, good for the API only


class _Verdict(NamedTuple):
    verified: Verified
    until: float  # monotonic
    said: Said


def username(namespace: str, name: str) -> str:
    return f"system:serviceaccount:{namespace}:{name}"


def groups(namespace: str) -> tuple[str, ...]:
    return ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")


def split_username(name: str) -> tuple[str, str] | None:
    """(namespace, name) of a service account's user name, or None."""
    parts = name.split(":")
    if len(parts) != 4 or parts[:2] != ["system", "serviceaccount"] or not parts[2] or not parts[3]:
        return None
    return parts[2], parts[3]


class ServiceAccountTokens:
    def __init__(self, key: SigningKey, issuer: str, reader: Reader, clock: Clock, chance: Chance) -> None:
        self._key = key
        self.issuer = issuer
        self._reader = reader
        self._clock = clock
        self._chance = chance
        self._claims: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._verdicts: OrderedDict[str, _Verdict] = OrderedDict()
        self.uses = TokenUses(clock)

    @property
    def keys(self) -> list[dict[str, str]]:
        """The public keys as JWKs."""
        return [self._key.public.jwk()]

    def issue(
        self,
        account: dict[str, Any],
        audiences: Sequence[str],
        seconds: int,
        *,
        bound: Bound | None = None,
        node: Bound | None = None,
        warn_after: int | None = None,
    ) -> str:
        """A token for the ServiceAccount object `account`, good for `seconds`.

        `node` is the node of the pod that it is bound to. `warn_after` (seconds) marks when a client should
        have fetched a new one.
        """
        now = int(self._clock.now())
        namespace, name = account["metadata"]["namespace"], account["metadata"]["name"]
        private: dict[str, Any] = {
            "namespace": namespace,
            "serviceaccount": {"name": name, "uid": account["metadata"]["uid"]},
        }
        for ref in (bound, node):
            if ref is not None:
                private[ref.kind.lower()] = {"name": ref.name, "uid": ref.uid}
        if warn_after is not None:
            private["warnafter"] = now + warn_after
        return self._key.sign(
            {
                "aud": list(audiences),
                "exp": now + seconds,
                "iat": now,
                "iss": self.issuer,
                "jti": self._chance.uid(),
                "kubernetes.io": private,
                "nbf": now,
                "sub": username(namespace, name),
            }
        )

    def claims_to_be_ours(self, token: str) -> bool:
        """Whether the token names one of our issuers; says nothing about its truth."""
        if token in self._verdicts:
            return True
        try:
            claims = unverified_claims(token)
            return claims.get("iss") == self.issuer or _legacy(claims)
        except InvalidToken:
            return False

    def verify(self, token: str, remarks: Remarks | None = None) -> Verified:
        """Whom the token stands for. Raises InvalidToken. The caller compares audiences."""
        verdict = self._verdicts.get(token)
        if verdict is not None and self._clock.monotonic() < verdict.until:
            self._check_time(self._claims.get(token, {}))
            verdict.said.repeat(remarks)
            return verdict.verified
        claims = self._signed(token)
        said = Said()
        try:
            verified = self._legacy(token, claims, said) if _legacy(claims) else self._bound(claims, said)
        finally:
            said.repeat(remarks)
        _keep(self._verdicts, token, _Verdict(verified, self._clock.monotonic() + VERDICT_SECONDS, said))
        return verified

    def _signed(self, token: str) -> dict[str, Any]:
        claims = self._claims.get(token)
        if claims is None:
            claims = self._key.public.verify(token)
            _keep(self._claims, token, claims)
        return claims

    def _check_time(self, claims: dict[str, Any]) -> None:
        now = self._clock.now()
        ends, begins = claims.get("exp", now), claims.get("nbf", now)
        if not isinstance(ends, int | float) or not isinstance(begins, int | float):
            raise InvalidToken("token has times that are no numbers")
        if now > ends:
            raise InvalidToken("token has expired")
        if now < begins:
            raise InvalidToken("token is not valid yet")

    def _bound(self, claims: dict[str, Any], said: Said) -> Verified:
        if claims.get("iss") != self.issuer:
            raise InvalidToken("token has another issuer")
        if "exp" not in claims:
            raise InvalidToken("token has no expiry")
        self._check_time(claims)
        private = claims.get("kubernetes.io")
        audiences = claims.get("aud")
        audiences = [audiences] if isinstance(audiences, str) else audiences
        if not isinstance(private, dict) or not isinstance(audiences, list):
            raise InvalidToken("token has no kubernetes.io claims")
        namespace = private.get("namespace", "")
        account = private.get("serviceaccount") or {}
        self._check(SERVICEACCOUNTS, namespace, account)
        extra: dict[str, tuple[str, ...]] = {}
        if jti := claims.get("jti"):
            extra[CREDENTIAL_ID] = (f"JTI={jti}",)
        if secret := private.get("secret"):
            self._check(SECRETS, namespace, secret)
        node = private.get("node")
        if pod := private.get("pod"):
            self._check(PODS, namespace, pod)
            extra[_POD_NAME], extra[_POD_UID] = (pod["name"],), (pod["uid"],)
        elif node:
            self._check(NODES, "", node)
        if node:
            extra[_NODE_NAME] = (node["name"],)
            if node.get("uid"):
                extra[_NODE_UID] = (node["uid"],)
        user = _user(namespace, account["name"], account["uid"], extra)
        self.uses.bound(str(claims.get("sub", "")), private.get("warnafter"), said)
        return Verified(user, tuple(str(a) for a in audiences))

    def _check(self, gvr: GVR, namespace: str, ref: dict[str, Any], leeway: float = DELETION_LEEWAY) -> dict[str, Any]:
        """The object, which must be there, with that uid, and not have been on its way out for long."""
        found = self._reader.get(gvr, namespace, ref.get("name", ""))
        what = gvr.resource[:-1]
        if found is None:
            raise InvalidToken(f"{what} {ref.get('name')!r} of the token does not exist")
        if found["metadata"].get("uid") != ref.get("uid"):
            raise InvalidToken(f"{what} {ref.get('name')!r} of the token has been replaced")
        deleted = found["metadata"].get("deletionTimestamp")
        if deleted and parse_rfc3339(deleted) < self._clock.now() - leeway:
            raise InvalidToken(f"{what} {ref.get('name')!r} of the token has been deleted")
        return found

    def _legacy(self, token: str, claims: dict[str, Any], said: Said) -> Verified:
        def claim(name: str) -> str:
            return str(claims.get(f"kubernetes.io/serviceaccount/{name}", ""))

        self.uses.shown(str(claims.get("sub", "")), said)
        namespace, name = claim("namespace"), claim("service-account.name")
        uid = claim("service-account.uid")
        if claims.get("sub") != username(namespace, name):
            raise InvalidToken("token has another subject")
        self._check_time(claims)
        secret = self._reader.get(SECRETS, namespace, claim("secret.name"))
        if secret is None or secret.get("type") != LEGACY_TYPE or secret["metadata"].get("deletionTimestamp"):
            raise InvalidToken("token has been invalidated")
        try:
            kept = base64.b64decode((secret.get("data") or {}).get("token", "")).decode()
        except ValueError:
            kept = ""
        if not hmac.compare_digest(kept.encode(), token.encode()):
            raise InvalidToken("token does not match server's copy")
        # Unlike pods, whose tokens may say good-bye, an account on its way out has nothing left to ask.
        account = self._check(SERVICEACCOUNTS, namespace, {"name": name, "uid": uid}, float("-inf"))
        self.uses.judge(secret, account, said)
        return Verified(_user(namespace, name, uid, {}), ())


def _legacy(claims: dict[str, Any]) -> bool:
    return claims.get("iss") == LEGACY_ISSUER


def _user(namespace: str, name: str, uid: str, extra: dict[str, tuple[str, ...]]) -> User:
    return User(username(namespace, name), uid, (*groups(namespace), ALL_AUTHENTICATED), extra)


def _keep(cache: OrderedDict[str, Any], key: str, value: Any) -> None:
    cache.pop(key, None)
    cache[key] = value
    if len(cache) > _CACHED:
        cache.popitem(last=False)
