"""Who may use the node agent's API: certificates and tokens to users, users to decisions of the API server.

A verified client certificate names its user; otherwise a bearer token is reviewed by the API server (kept for two
minutes); nobody else gets in. What a user may do is asked of the API server as access to `nodes/SUBRESOURCE` of this
node (kept for five minutes when allowed, thirty seconds when denied). `system:masters` may do all.
Follows "Kubelet authentication/authorization" upstream, with fine-grained subresources (KEP-2862).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from cryptography import x509
from cryptography.x509.oid import NameOID

from shirube.api.gvr import GVR
from shirube.client.rest import Client
from shirube.foundation.clock import SYSTEM, Clock
from shirube.serving.messages import Headers, Peer

MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
TOKEN_SECONDS, ALLOWED_SECONDS, DENIED_SECONDS = 120.0, 300.0, 30.0
_TOKEN_REVIEWS = GVR("authentication.k8s.io", "v1", "tokenreviews")
_ACCESS_REVIEWS = GVR("authorization.k8s.io", "v1", "subjectaccessreviews")
_KEPT = 1024
_CHECK_SECONDS = 10.0

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class User:
    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class _Kept(Generic[K, V]):
    """A bounded cache whose entries end at their time; the oldest go first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def get(self, key: K) -> V | None:
        entry = self._entries.get(key)
        if entry is None or entry[0] < self._clock.monotonic():
            return None
        return entry[1]

    def put(self, key: K, value: V, seconds: float) -> None:
        self._entries.pop(key, None)
        self._entries[key] = (self._clock.monotonic() + seconds, value)
        while len(self._entries) > _KEPT:
            self._entries.popitem(last=False)


class Access:
    """Raises ApiError when the API server cannot be asked."""

    def __init__(self, client: Client, node_name: str, clock: Clock = SYSTEM) -> None:
        self._client = client
        self._node_name = node_name
        self._clock = clock
        self._tokens: _Kept[bytes, tuple[User | None]] = _Kept(clock)
        self._decisions: _Kept[tuple[str, ...], bool] = _Kept(clock)

    async def user(self, headers: Headers, peer: Peer) -> User | None:
        """Who asks; None when it is nobody known."""
        if peer.certificate is not None:
            return certificate_user(peer.certificate, self._clock.now())
        scheme, _, token = (headers.get("authorization") or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            return None
        key = hashlib.sha256(token.encode()).digest()
        kept = self._tokens.get(key)
        if kept is None:
            kept = (await self._review(token),)
            self._tokens.put(key, kept, TOKEN_SECONDS)
        return kept[0]

    async def _review(self, token: str) -> User | None:
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        async with asyncio.timeout(_CHECK_SECONDS):
            status = (await self._client.create(_TOKEN_REVIEWS, review)).get("status") or {}
        found = status.get("user") or {}
        if not status.get("authenticated") or not found.get("username"):
            return None
        groups = tuple(found.get("groups") or ())
        extra = {name: tuple(values) for name, values in (found.get("extra") or {}).items()}
        return User(found["username"], found.get("uid") or "", groups, extra)

    async def allowed(self, user: User, verb: str, subresource: str) -> bool:
        if MASTERS in user.groups:
            return True
        extra = tuple(f"{name}={values}" for name, values in sorted(user.extra.items()))
        key = (user.name, user.uid, *user.groups, "", *extra, verb, subresource)
        kept = self._decisions.get(key)
        if kept is None:
            kept = await self._ask(user, verb, subresource)
            self._decisions.put(key, kept, ALLOWED_SECONDS if kept else DENIED_SECONDS)
        return kept

    async def _ask(self, user: User, verb: str, subresource: str) -> bool:
        attributes = {
            "verb": verb,
            "version": "v1",
            "resource": "nodes",
            "subresource": subresource,
            "name": self._node_name,
        }
        spec: dict[str, Any] = {"user": user.name, "groups": list(user.groups), "resourceAttributes": attributes}
        if user.uid:
            spec["uid"] = user.uid
        if user.extra:
            spec["extra"] = {name: list(values) for name, values in user.extra.items()}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        async with asyncio.timeout(_CHECK_SECONDS):
            answer = await self._client.create(_ACCESS_REVIEWS, review)
        return bool((answer.get("status") or {}).get("allowed"))


def certificate_user(der: bytes, now: float) -> User | None:
    """The user of a certificate that TLS has verified: common name and organisations. None when it has expired
    meanwhile (connections outlive certificates) or names nobody.
    """
    try:
        cert = x509.load_der_x509_certificate(der)
        names = [str(a.value) for a in cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        groups = [str(a.value) for a in cert.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
        valid = cert.not_valid_before_utc.timestamp() <= now <= cert.not_valid_after_utc.timestamp()
    except ValueError:
        return None
    if not valid or not names or not names[0]:
        return None
    return User(names[0], groups=(*groups, AUTHENTICATED))
