"""The certificates that ClusterTrustBundles say are to be trusted, for projected volumes that ask for them.

All bundles are followed from the first pod on that asks for one (they are few, and the node authoriser lets an agent
see them all); whoever listens is told of every change. Where the API server does not serve them (they are off by
default), that is what the pod's event says, and it is looked at again when the volume is tried again.

What is projected is each certificate once, without what stood around it, by its digest: nobody is to rely on an order.
Follows https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#cluster-trust-bundles.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from shirube.api.errors import ApiError
from shirube.api.gvr import CLUSTERTRUSTBUNDLES
from shirube.api.selectors import label_selector_from
from shirube.client.informer import Informer
from shirube.client.rest import Client
from shirube.foundation.tasks import cancel, spawn

MAX_BYTES = 4 << 20  # in one file; the API server lets one bundle have 1 MiB
_SYNC_SECONDS = 10.0
_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----\s(.*?)-----END CERTIFICATE-----", re.DOTALL)
_LINE = 64  # characters of base64


class TrustBundleError(Exception):
    """There is nothing to trust (yet); the message goes into the FailedMount event."""


def normalized(texts: Iterable[str]) -> bytes:
    """The certificates in several bundles, each once, as PEM. Raises TrustBundleError."""
    found: dict[str, str] = {}
    for match in (match for text in texts for match in _BLOCK.finditer(text)):
        try:
            der = base64.b64decode("".join(match[1].split()), validate=True)
        except binascii.Error:
            continue  # an API server that lets this pass is not ours: the others are good all the same
        body = base64.b64encode(der).decode()
        lines = "\n".join(body[i : i + _LINE] for i in range(0, len(body), _LINE))
        pem = f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"
        found[hashlib.sha256(der).hexdigest()] = pem
    made = "".join(found[digest] for digest in sorted(found)).encode()
    if len(made) > MAX_BYTES:
        raise TrustBundleError(f"the selected ClusterTrustBundles have {len(made)} bytes, more than {MAX_BYTES}")
    return made


def select(source: Mapping[str, Any], bundles: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The bundles that a projection names, or selects of a signer. Raises TrustBundleError when there are none and
    they are not optional."""
    name = source.get("name")
    if name is not None:
        found = [bundle for bundle in bundles if bundle["metadata"]["name"] == name]
        missing = f'clustertrustbundle "{name}" not found'
    else:
        selector, signer = label_selector_from(source.get("labelSelector")), source.get("signerName")
        found = [
            bundle
            for bundle in bundles
            if (bundle.get("spec") or {}).get("signerName") == signer
            and selector.matches(bundle["metadata"].get("labels") or {})
        ]
        missing = f"combination of signerName and labelSelector matched zero ClusterTrustBundles: {signer}"
    if not found and not source.get("optional"):
        raise TrustBundleError(missing)
    return found


class TrustBundles:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._informer: Informer | None = None
        self._task: asyncio.Task[None] | None = None
        self._listeners: list[Callable[[], None]] = []

    async def anchors(self, source: Mapping[str, Any]) -> bytes:
        """What a projection shows. Raises TrustBundleError, ApiError."""
        informer = await self._following()
        chosen = select(source, informer.store)
        return normalized((bundle.get("spec") or {}).get("trustBundle", "") for bundle in chosen)

    async def listen(self, changed: Callable[[], None]) -> None:
        """Tell of every change; until cancelled."""
        self._listeners.append(changed)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._listeners.remove(changed)

    async def close(self) -> None:
        await cancel(self._task)
        self._task = self._informer = None

    async def _following(self) -> Informer:
        if self._informer is None:
            await self._check_served()
        if self._informer is None:  # unless another pod was faster
            self._informer = Informer(self._client, CLUSTERTRUSTBUNDLES)
            self._informer.add_handler(self._tell, lambda _, new: self._tell(new), self._tell)
            self._task = spawn(self._informer.run(), name="watch clustertrustbundles")
        try:
            async with asyncio.timeout(_SYNC_SECONDS):
                await self._informer.wait_for_cache_sync()
        except TimeoutError:
            raise TrustBundleError("cannot list ClusterTrustBundles: the API server has not answered yet") from None
        return self._informer

    async def _check_served(self) -> None:
        try:
            await self._client.list(CLUSTERTRUSTBUNDLES, limit=1)
        except ApiError as error:
            if error.code == 404:
                raise TrustBundleError(
                    "the API server does not serve ClusterTrustBundles; it does when it is started with "
                    f"--runtime-config={CLUSTERTRUSTBUNDLES.group_version}=true"
                ) from None
            raise

    def _tell(self, _: Any) -> None:
        for changed in list(self._listeners):
            changed()
