"""A service account for each controller, as upstream's `--use-service-account-credentials`.

`system:kube-controller-manager` may list and watch everything but change little; each controller acts as
`system:serviceaccount:kube-system:NAME` with the rights of its own bootstrap role. The account is made when
it is first needed, its token asked for (one hour) and renewed when a fifth of its life is left.
"""

from __future__ import annotations

import asyncio

from shirube.api.errors import ApiError
from shirube.api.gvr import SERVICEACCOUNTS
from shirube.client.rest import Client
from shirube.foundation.clock import SYSTEM, Clock

NAMESPACE = "kube-system"
_LIFE_SECONDS = 3600


class ServiceAccountToken:
    """Implements `client.rest.Bearer`."""

    def __init__(self, client: Client, name: str, clock: Clock = SYSTEM) -> None:
        """`client` may create service accounts and their tokens."""
        self._client = client
        self._name = name
        self._clock = clock
        self._token = ""
        self._renew_at = 0.0
        self._lock = asyncio.Lock()

    async def token(self) -> str:
        if self._token and self._clock.monotonic() < self._renew_at:
            return self._token
        async with self._lock:
            if not self._token or self._clock.monotonic() >= self._renew_at:
                self._token = await self._request()
                self._renew_at = self._clock.monotonic() + _LIFE_SECONDS * 0.8
        return self._token

    def reject(self, token: str) -> None:
        if token == self._token:
            self._token = ""

    async def _request(self) -> str:
        try:
            return await self._issue()
        except ApiError as error:
            if error.code != 404:
                raise
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": self._name}}
        try:
            await self._client.create(SERVICEACCOUNTS, account, NAMESPACE)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        return await self._issue()

    async def _issue(self) -> str:
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [], "expirationSeconds": _LIFE_SECONDS},
        }
        answer = await self._client.create(SERVICEACCOUNTS, request, NAMESPACE, "token", self._name)
        return str(answer["status"]["token"])
