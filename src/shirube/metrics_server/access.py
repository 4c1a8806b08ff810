"""Who asks, and may they: the front proxy's word for the first, the API server's for the second.

Only a certificate of the front-proxy authority with the expected name may say who the user is. What the user may do is
asked as a SubjectAccessReview and kept for ten seconds. See "Kubernetes Aggregation Layer, authentication flow".
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from urllib.parse import unquote

from cryptography import x509
from cryptography.x509.oid import NameOID

from shirube.api.gvr import GVR
from shirube.client.rest import Client
from shirube.foundation.clock import Clock
from shirube.serving.messages import Headers, Peer

FRONT_PROXY = "front-proxy-client"
KEPT_SECONDS = 10.0
_KEPT = 512
_ASK_SECONDS = 10.0
_EXTRA = "x-remote-extra-"
_REVIEWS = GVR("authorization.k8s.io", "v1", "subjectaccessreviews")


@dataclass(frozen=True, slots=True)
class User:
    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for: a resource of ours, or a path."""

    path: str
    verb: str = "get"
    resource: str = ""
    namespace: str = ""
    name: str = ""

    def attributes(self) -> dict[str, dict[str, str]]:
        if not self.resource:
            return {"nonResourceAttributes": {"path": self.path, "verb": "get"}}
        found = {"group": "metrics.k8s.io", "version": "v1beta1", "resource": self.resource, "verb": self.verb}
        found |= {"namespace": self.namespace} if self.namespace else {}
        found |= {"name": self.name} if self.name else {}
        return {"resourceAttributes": found}


def user(headers: Headers, peer: Peer, now: float) -> User | None:
    """None when the peer is not the front proxy or names nobody."""
    if peer.certificate is None:
        return None
    cert = x509.load_der_x509_certificate(peer.certificate)
    names = [a.value for a in cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if (
        FRONT_PROXY not in names
        or not cert.not_valid_before_utc.timestamp() <= now <= cert.not_valid_after_utc.timestamp()
    ):
        return None
    name = headers.get("x-remote-user")
    if not name:
        return None
    extra: dict[str, list[str]] = {}
    for key, value in headers.items():
        if key.startswith(_EXTRA):
            extra.setdefault(unquote(key.removeprefix(_EXTRA)), []).append(value)
    return User(
        name,
        headers.get("x-remote-uid") or "",
        tuple(headers.get_all("x-remote-group")),
        tuple((key, tuple(values)) for key, values in sorted(extra.items())),
    )


class Authorizer:
    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._kept: OrderedDict[tuple[User, Wish], tuple[float, bool]] = OrderedDict()

    async def allowed(self, user: User, wish: Wish) -> bool:
        """Raises ApiError, TimeoutError when the API server cannot be asked."""
        key = (user, wish)
        kept = self._kept.get(key)
        if kept is not None and self._clock.monotonic() < kept[0]:
            return kept[1]
        spec = {"user": user.name, "groups": list(user.groups), **wish.attributes()}
        spec |= {"uid": user.uid} if user.uid else {}
        spec |= {"extra": {key: list(values) for key, values in user.extra}} if user.extra else {}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        async with asyncio.timeout(_ASK_SECONDS):
            answer = await self._client.create(_REVIEWS, review)
        verdict = bool((answer.get("status") or {}).get("allowed"))
        self._kept.pop(key, None)
        self._kept[key] = (self._clock.monotonic() + KEPT_SECONDS, verdict)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return verdict
