"""Service-account tokens for pods, by TokenRequest, renewed while the pod runs.

A token is bound to its pod and renewed at 80 % of its life or after a day, whichever comes first. When the
API server is away the old one serves as long as it is valid.
Follows https://kubernetes.io/docs/concepts/storage/projected-volumes/#serviceaccounttoken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shirube.api.errors import ApiError
from shirube.api.gvr import SERVICEACCOUNTS
from shirube.client.rest import Client
from shirube.foundation.clock import Clock, parse_rfc3339
from shirube.kubelet import pod as pods

_DAY = 86400.0
DEFAULT_EXPIRATION = 3600


@dataclass(frozen=True, slots=True)
class _Token:
    token: str
    renew_at: float
    expires_at: float


class ServiceAccountTokens:
    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._tokens: dict[tuple[str, str, int], _Token] = {}

    async def token(self, pod: pods.Pod, source: Mapping[str, Any]) -> str:
        """The token of a `serviceAccountToken` projection. Raises ApiError."""
        audience = source.get("audience") or ""
        seconds = int(source.get("expirationSeconds") or DEFAULT_EXPIRATION)
        key = (pods.uid(pod), audience, seconds)
        now = self._clock.now()
        known = self._tokens.get(key)
        if known is not None and now < known.renew_at:
            return known.token
        try:
            self._tokens[key] = fresh = await self._request(pod, audience, seconds)
        except ApiError:
            if known is not None and now < known.expires_at:
                return known.token
            raise
        return fresh.token

    async def _request(self, pod: pods.Pod, audience: str, seconds: int) -> _Token:
        account = pod["spec"].get("serviceAccountName") or "default"
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [audience] if audience else [],
                "expirationSeconds": seconds,
                "boundObjectRef": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": pods.name(pod),
                    "uid": pods.uid(pod),
                },
            },
        }
        answer = await self._client.create(
            SERVICEACCOUNTS, request, namespace=pods.namespace(pod), subresource="token", name=account
        )
        status = answer["status"]
        now, expires = self._clock.now(), parse_rfc3339(status["expirationTimestamp"])
        # The server may grant more than was asked for; renewal goes by what was asked.
        life = min(seconds, expires - now)
        return _Token(status["token"], now + min(life * 0.8, _DAY), expires)

    def forget(self, pod_uid: str) -> None:
        for key in [key for key in self._tokens if key[0] == pod_uid]:
            del self._tokens[key]
