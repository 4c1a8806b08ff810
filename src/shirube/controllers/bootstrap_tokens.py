"""Bootstrap tokens: the cleaner deletes those that have expired, the signer signs `cluster-info` with each.

A machine that joins knows a token and nothing else: the token's signature on kube-public's ConfigMap
`cluster-info` tells it that the CA in there is the cluster's. A signature is a JWS (HS256) without its payload,
kept as `jws-kubeconfig-TOKENID`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

import orjson

from shirube.api.errors import ApiError
from shirube.api.gvr import CONFIGMAPS, SECRETS
from shirube.client.controller import Controller
from shirube.client.informer import key_of, split_key
from shirube.client.rest import Object
from shirube.controllers.context import Context
from shirube.foundation.clock import parse_rfc3339

NAMESPACE, TYPE, PREFIX = "kube-system", "bootstrap.kubernetes.io/token", "bootstrap-token-"
INFO_NAMESPACE, INFO = "kube-public", "cluster-info"
_SIGNATURE = "jws-kubeconfig-"


def _b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def detached_signature(content: str, token_id: str, secret: str) -> str:
    header = _b64url(orjson.dumps({"alg": "HS256", "kid": token_id}))
    signed = f"{header}.{_b64url(content.encode())}"
    return f"{header}..{_b64url(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())}"


def value(secret: Object, key: str) -> str:
    try:
        return base64.b64decode((secret.get("data") or {}).get(key, "")).decode()
    except ValueError:
        return ""


def is_token(secret: Object) -> bool:
    metadata = secret["metadata"]
    return secret.get("type") == TYPE and metadata["namespace"] == NAMESPACE and metadata["name"].startswith(PREFIX)


def time_left(secret: Object, now: float) -> float | None:
    """Seconds until a token expires; None for one that never does. Nonsense counts as expired."""
    text = value(secret, "expiration")
    if not text:
        return None
    try:
        return parse_rfc3339(text) - now
    except ValueError:
        return 0.0


class TokenCleanerController(Controller[str]):
    name = "token-cleaner-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        self._secrets = context.informer(SECRETS)
        super().__init__(self._secrets)
        self._client = context.client_of("token-cleaner")
        self._clock = context.clock
        self._secrets.add_handler(self._changed, lambda _, new: self._changed(new))

    def _changed(self, secret: Object) -> None:
        if is_token(secret):
            self.queue.add(key_of(secret))

    async def reconcile(self, key: str) -> float | None:
        secret = self._secrets.store.get(*split_key(key))
        if secret is None or not is_token(secret):
            return None
        left = time_left(secret, self._clock.now())
        if left is None or left > 0:
            return left
        metadata = secret["metadata"]
        try:
            await self._client.delete(SECRETS, metadata["name"], NAMESPACE, preconditions={"uid": metadata["uid"]})
        except ApiError as error:
            if error.code not in (404, 409):  # gone, or another of its name is there
                raise
        return None


class BootstrapSignerController(Controller[str]):
    name = "bootstrap-signer-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        self._secrets = context.informer(SECRETS)
        self._maps = context.informer(CONFIGMAPS)
        super().__init__(self._secrets, self._maps)
        self._client = context.client_of("bootstrap-signer")
        self._clock = context.clock
        self._secrets.add_handler(self._secret_changed, lambda _, new: self._secret_changed(new), self._secret_changed)
        self._maps.add_handler(self._map_changed, lambda _, new: self._map_changed(new))

    def _secret_changed(self, secret: Object) -> None:
        if is_token(secret):
            self.queue.add(INFO)

    def _map_changed(self, config_map: Object) -> None:
        if key_of(config_map) == f"{INFO_NAMESPACE}/{INFO}":
            self.queue.add(INFO)

    async def reconcile(self, key: str) -> None:
        config_map = self._maps.store.get(INFO_NAMESPACE, INFO)
        if config_map is None:
            return
        data = config_map.get("data") or {}
        content = data.get("kubeconfig")
        if not content:
            return
        wanted = {k: v for k, v in data.items() if not k.startswith(_SIGNATURE)}
        for found in self._secrets.store.list(NAMESPACE):
            if not is_token(found) or value(found, "usage-bootstrap-signing") != "true":
                continue
            left = time_left(found, self._clock.now())
            if left is not None and left <= 0:
                continue
            try:  # the cache does not keep the secret half
                secret = await self._client.get(SECRETS, found["metadata"]["name"], NAMESPACE)
            except ApiError as error:
                if error.code == 404:
                    continue
                raise
            token_id, token_secret = value(secret, "token-id"), value(secret, "token-secret")
            if token_secret and f"{PREFIX}{token_id}" == secret["metadata"]["name"]:  # as authentication asks for, too
                wanted[_SIGNATURE + token_id] = detached_signature(content, token_id, token_secret)
        if wanted != data:
            # As it is stored: the cache leaves out what an update would then take away.
            stored = await self._client.get(CONFIGMAPS, INFO, INFO_NAMESPACE)
            if stored["metadata"]["resourceVersion"] != config_map["metadata"]["resourceVersion"]:
                return  # signed anew when the cache shows it
            await self._client.update(CONFIGMAPS, {**stored, "data": wanted})
