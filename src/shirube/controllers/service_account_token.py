"""Secrets of type `kubernetes.io/service-account-token` get a token, the CA and the namespace; they go with their
account, and an account that lists one that is gone no longer does.

The old form of tokens, without end: nobody gets one unasked. Signed with the API server's service-account key,
with the claims that it knows legacy tokens by. Acts as the controllers' own user, as upstream's does: an account
cannot be what makes accounts' tokens.
"""

from __future__ import annotations

import base64
from pathlib import Path

import orjson
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from shirube.api.errors import ApiError
from shirube.api.gvr import SECRETS, SERVICEACCOUNTS
from shirube.client.controller import Controller
from shirube.client.informer import key_of, split_key
from shirube.client.rest import Object
from shirube.controllers.context import Context
from shirube.controllers.ownership import deleting

TYPE = "kubernetes.io/service-account-token"
_NAME, _UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
_CLAIM = "kubernetes.io/serviceaccount/"


def legacy_claims(account: Object, secret: Object) -> Object:
    namespace, name = account["metadata"]["namespace"], account["metadata"]["name"]
    return {
        "iss": "kubernetes/serviceaccount",
        f"{_CLAIM}namespace": namespace,
        f"{_CLAIM}secret.name": secret["metadata"]["name"],
        f"{_CLAIM}service-account.name": name,
        f"{_CLAIM}service-account.uid": account["metadata"]["uid"],
        "sub": f"system:serviceaccount:{namespace}:{name}",
    }


def sign(claims: Object, key: ec.EllipticCurvePrivateKey) -> str:
    """An ES256 JWT."""

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    body = f"{encoded(orjson.dumps({'alg': 'ES256'}))}.{encoded(orjson.dumps(claims))}"
    r, s = decode_dss_signature(key.sign(body.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{body}.{encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


class ServiceAccountTokenController(Controller[str]):
    name = "serviceaccount-token-controller"
    workers = 2

    def __init__(self, context: Context) -> None:
        if context.service_account_key is None:
            raise ValueError("cannot make service-account tokens: no service_account_key file is set")
        self._key_file: Path = context.service_account_key
        self._key: ec.EllipticCurvePrivateKey | None = None
        self._ca = context.root_ca.read_text() if context.root_ca is not None else ""
        self._secrets = context.informer(SECRETS)
        self._accounts = context.informer(SERVICEACCOUNTS)
        super().__init__(self._secrets, self._accounts)
        self._client = context.reader
        self._gone: dict[str, Object] = {}  # deleted, perhaps still listed by their account
        self._secrets.add_handler(self._secret_changed, lambda _, new: self._secret_changed(new), self._secret_deleted)
        self._accounts.add_handler(self._account_changed, None, self._account_changed)

    def _secret_changed(self, secret: Object) -> None:
        if secret.get("type") == TYPE:
            self.queue.add(key_of(secret))

    def _secret_deleted(self, secret: Object) -> None:
        if secret.get("type") == TYPE and _account_of(secret):
            self._gone[key_of(secret)] = secret
            self.queue.add(key_of(secret))

    def _account_changed(self, account: Object) -> None:
        for secret in self._secrets.store.list(account["metadata"]["namespace"]):
            if secret.get("type") == TYPE and _account_of(secret) == account["metadata"]["name"]:
                self.queue.add(key_of(secret))

    async def reconcile(self, key: str) -> None:
        secret = self._secrets.store.get(*split_key(key))
        if secret is None and (gone := self._gone.get(key)) is not None:
            await self._unlist(gone)
        self._gone.pop(key, None)
        if secret is None or secret.get("type") != TYPE or deleting(secret):
            return
        namespace, name = secret["metadata"]["namespace"], _account_of(secret)
        if not name:
            return
        account = await self._account(namespace, name)
        uid = (secret["metadata"].get("annotations") or {}).get(_UID)
        if account is None or (uid and uid != account["metadata"]["uid"]):
            await self._delete(secret)
            return
        if not self._complete(secret, account):
            await self._fill(secret, account)

    async def _account(self, namespace: str, name: str) -> Object | None:
        """Asked of the server when the cache does not know it: it may be younger than the secret's event."""
        found = self._accounts.store.get(namespace, name)
        if found is not None:
            return found
        try:
            return await self._client.get(SERVICEACCOUNTS, name, namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def _complete(self, secret: Object, account: Object) -> bool:
        data = secret.get("data") or {}
        ca = base64.b64encode(self._ca.encode()).decode()
        return bool(
            data.get("token")
            and data.get("namespace")
            and (not self._ca or data.get("ca.crt") == ca)
            and (secret["metadata"].get("annotations") or {}).get(_UID) == account["metadata"]["uid"]
        )

    def _sign(self, claims: Object) -> str:
        if self._key is None:
            key = serialization.load_pem_private_key(self._key_file.read_bytes(), None)
            assert isinstance(key, ec.EllipticCurvePrivateKey)
            self._key = key
        return sign(claims, self._key)

    async def _fill(self, cached: Object, account: Object) -> None:
        metadata = cached["metadata"]
        secret = await self._client.get(SECRETS, metadata["name"], metadata["namespace"])
        if secret["metadata"]["uid"] != metadata["uid"]:
            return
        data = dict(secret.get("data") or {})
        if self._ca:
            data["ca.crt"] = base64.b64encode(self._ca.encode()).decode()
        if not data.get("namespace"):  # who says another one means it
            data["namespace"] = base64.b64encode(metadata["namespace"].encode()).decode()
        if not data.get("token"):
            data["token"] = base64.b64encode(self._sign(legacy_claims(account, secret)).encode()).decode()
        annotations = {**(secret["metadata"].get("annotations") or {}), _UID: account["metadata"]["uid"]}
        described = {**secret["metadata"], "annotations": annotations}
        await self._client.update(SECRETS, {**secret, "metadata": described, "data": data})

    async def _unlist(self, secret: Object) -> None:
        """Take a Secret that is gone off its account's list."""
        namespace, name = secret["metadata"]["namespace"], _account_of(secret)
        try:
            account = await self._client.get(SERVICEACCOUNTS, name, namespace)
        except ApiError as error:
            if error.code == 404:
                return
            raise
        uid = (secret["metadata"].get("annotations") or {}).get(_UID)
        listed = account.get("secrets") or []
        kept = [reference for reference in listed if reference.get("name") != secret["metadata"]["name"]]
        if kept != listed and (not uid or uid == account["metadata"]["uid"]):
            await self._client.update(SERVICEACCOUNTS, {**account, "secrets": kept})

    async def _delete(self, secret: Object) -> None:
        metadata = secret["metadata"]
        try:
            await self._client.delete(
                SECRETS, metadata["name"], metadata["namespace"], preconditions={"uid": metadata["uid"]}
            )
        except ApiError as error:
            if error.code != 404:
                raise


def _account_of(secret: Object) -> str:
    return str((secret["metadata"].get("annotations") or {}).get(_NAME) or "")
