"""Certificate requests do not pile up: decided ones go after an hour, undecided ones after a day, and those whose
certificate has expired at once."""

from __future__ import annotations

import base64

from cryptography import x509

from shirube.api.errors import ApiError
from shirube.api.gvr import CERTIFICATESIGNINGREQUESTS
from shirube.client.controller import Controller
from shirube.client.informer import key_of
from shirube.client.rest import Object
from shirube.controllers import certificate_request as requests
from shirube.controllers.context import Context
from shirube.foundation.clock import parse_rfc3339

_ACCOUNT = "certificate-controller"
_DECIDED_SECONDS, _PENDING_SECONDS = 3600.0, 24 * 3600.0


def keep_until(csr: Object) -> float:
    """When a request has to go, in seconds since the epoch."""
    held = requests.conditions(csr)
    status = csr.get("status") or {}
    until = parse_rfc3339(csr["metadata"]["creationTimestamp"]) + _PENDING_SECONDS
    for kind, condition in held.items():
        if kind == "Approved" and not status.get("certificate"):
            continue  # nobody has signed it yet: that counts as pending
        at = condition.get("lastUpdateTime") or condition.get("lastTransitionTime")
        if at:
            until = min(until, parse_rfc3339(at) + _DECIDED_SECONDS)
    if status.get("certificate"):
        try:
            pem = base64.b64decode(status["certificate"])
            until = min(until, x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp())
        except ValueError:
            pass  # another signer's idea of a certificate
    return until


class CertificateCleaningController(Controller[str]):
    name = "certificatesigningrequest-cleaner-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        self._requests = context.informer(CERTIFICATESIGNINGREQUESTS)
        super().__init__(self._requests)
        self._client = context.client_of(_ACCOUNT)
        self._clock = context.clock
        self._requests.add_handler(self._changed, lambda _, new: self._changed(new))

    def _changed(self, csr: Object) -> None:
        self.queue.add(key_of(csr))

    async def reconcile(self, key: str) -> float | None:
        csr = self._requests.store.get(None, key)
        if csr is None:
            return None
        left = keep_until(csr) - self._clock.now()
        if left > 0:
            return left
        try:
            uid = csr["metadata"]["uid"]
            await self._client.delete(CERTIFICATESIGNINGREQUESTS, key, preconditions={"uid": uid})
        except ApiError as error:
            if error.code != 404:
                raise
        return None
