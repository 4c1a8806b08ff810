"""What to trust of the API server: a ClusterTrustBundle of the signer `kubernetes.io/kube-apiserver-serving`.

Where ClusterTrustBundles are served (they are off by default), the root CA is published as the bundle
`kubernetes.io:kube-apiserver-serving:HASH`, named by what is in it: with another CA there is another bundle, and the
signer's others go once it is there. Whether they are served is looked at again and again: the API server may be started
anew with other options. Follows upstream's `pkg/controller/certificates/clustertrustbundlepublisher`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from shirube.api.errors import ApiError
from shirube.api.gvr import CLUSTERTRUSTBUNDLES
from shirube.client.controller import Controller
from shirube.client.informer import Informer
from shirube.client.rest import Object
from shirube.controllers.context import Context

SIGNER = "kubernetes.io/kube-apiserver-serving"
_ACCOUNT = "kube-apiserver-serving-clustertrustbundle-publisher"
_KEY = "bundle"
_ABSENT_SECONDS = 60.0  # between two looks at whether bundles are served
_CHANGED_SECONDS = 60.0  # between two looks at the CA's file
_SYNC_SECONDS = 10.0


class Plan(NamedTuple):
    create: Object | None
    update: Object | None
    delete: tuple[str, ...]


def bundle_name(signer: str, pem: str) -> str:
    return f"{signer.replace('/', ':')}:{hashlib.sha256(pem.encode()).hexdigest()[:24]}"


def plan(signer: str, pem: str, present: Iterable[Object]) -> Plan:
    """What to do so that the signer has one bundle, with just this in it. `present` are bundles of all signers."""
    name = bundle_name(signer, pem)
    own = {b["metadata"]["name"]: b for b in present if (b.get("spec") or {}).get("signerName") == signer}
    others = tuple(sorted(own.keys() - {name}))
    have = own.get(name)
    if have is None:
        wanted = {
            "apiVersion": CLUSTERTRUSTBUNDLES.group_version,
            "kind": "ClusterTrustBundle",
            "metadata": {"name": name},
            "spec": {"signerName": signer, "trustBundle": pem},
        }
        return Plan(wanted, None, others)
    if have["spec"].get("trustBundle") != pem:
        return Plan(None, {**have, "spec": {**have["spec"], "trustBundle": pem}}, others)
    return Plan(None, None, others)


class ClusterTrustBundlePublisher(Controller[str]):
    name = "kube-apiserver-serving-clustertrustbundle-publisher-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        if context.root_ca is None:
            raise ValueError("cannot publish what to trust: no root_ca file is set")
        super().__init__()
        self._ca = context.root_ca
        self._context = context
        self._client = context.client_of(_ACCOUNT)
        self._bundles: Informer | None = None  # followed from when they are served

    async def started(self) -> None:
        self.queue.add(_KEY)

    def _changed(self, _: Object) -> None:
        self.queue.add(_KEY)

    async def reconcile(self, key: str) -> float:
        bundles = await self._follow()
        if bundles is None:
            return _ABSENT_SECONDS
        pem = await asyncio.to_thread(self._ca.read_text)
        if "-----END CERTIFICATE-----" not in pem:
            raise ValueError(f"cannot publish what to trust: {self._ca} holds no certificate")
        todo = plan(SIGNER, pem, bundles.store)
        try:
            if todo.create is not None:
                await self._client.create(CLUSTERTRUSTBUNDLES, todo.create)
            if todo.update is not None:
                await self._client.update(CLUSTERTRUSTBUNDLES, todo.update)
            for name in todo.delete:
                await self._delete(name)
        except ApiError as error:
            if error.reason != "AlreadyExists":  # the cache shows it soon
                raise
        return _CHANGED_SECONDS

    async def _delete(self, name: str) -> None:
        try:
            await self._client.delete(CLUSTERTRUSTBUNDLES, name)
        except ApiError as error:
            if error.code != 404:
                raise

    async def _follow(self) -> Informer | None:
        """The informer of bundles; None where they are not served."""
        if self._bundles is None:
            if not await self._served():
                return None
            # One of its own: the garbage collector's, which may be there before, keeps metadata only.
            selector = f"spec.signerName={SIGNER}"
            self._bundles = self._context.factory.informer(CLUSTERTRUSTBUNDLES, field_selector=selector)
            self._bundles.add_handler(self._changed, lambda _, new: self._changed(new), self._changed)
        try:
            async with asyncio.timeout(_SYNC_SECONDS):
                await self._bundles.wait_for_cache_sync()
        except TimeoutError:
            self.log.info("cluster trust bundles are not served any more; looking again later")
            return None
        return self._bundles

    async def _served(self) -> bool:
        try:
            await self._context.reader.list(CLUSTERTRUSTBUNDLES, limit=1)
        except ApiError as error:
            if error.code != 404:
                raise
            return False
        return True
