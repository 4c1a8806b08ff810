"""Kubelets' client certificates are approved when RBAC lets them ask: for themselves (`selfnodeclient`) or, with
a bootstrap token, for a node (`nodeclient`). Serving certificates are left to people, as upstream leaves them.

A request that RBAC does not let through yet is asked about again, ever more rarely: its role may come later.
"""

from __future__ import annotations

from shirube.api.gvr import CERTIFICATESIGNINGREQUESTS, SUBJECTACCESSREVIEWS
from shirube.client.controller import Controller
from shirube.client.informer import key_of
from shirube.client.rest import Object
from shirube.controllers import certificate_request as requests
from shirube.controllers.context import Context
from shirube.foundation.clock import parse_rfc3339, rfc3339

_ACCOUNT = "certificate-controller"
_SOONEST_SECONDS, _LATEST_SECONDS = 1.0, 1000.0


class CertificateApprovingController(Controller[str]):
    name = "certificatesigningrequest-approving-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        self._requests = context.informer(CERTIFICATESIGNINGREQUESTS)
        super().__init__(self._requests)
        self._client = context.client_of(_ACCOUNT)
        self._clock = context.clock
        self._requests.add_handler(self._changed, lambda _, new: self._changed(new))

    def _changed(self, csr: Object) -> None:
        if not requests.decided(csr) and not (csr.get("status") or {}).get("certificate"):
            self.queue.add(key_of(csr))

    async def reconcile(self, key: str) -> float | None:
        csr = self._requests.store.get(None, key)
        if csr is None or requests.decided(csr):
            return None
        try:
            asked = requests.read(csr)
        except requests.Refused:
            return None  # the signer says so on the request
        if not requests.is_kubelet_client(csr, asked):
            return None
        for subresource, fits, what in (
            ("selfnodeclient", requests.is_own(csr, asked), "self kubelet client"),
            ("nodeclient", True, "kubelet client"),
        ):
            if fits and await self._may(csr, subresource):
                await self._approve(csr, f"Auto approving {what} certificate after SubjectAccessReview.")
                return None
        age = self._clock.now() - parse_rfc3339(csr["metadata"]["creationTimestamp"])
        return min(max(age, _SOONEST_SECONDS), _LATEST_SECONDS)

    async def _may(self, csr: Object, subresource: str) -> bool:
        spec = csr["spec"]
        attributes = {
            "group": "certificates.k8s.io",
            "resource": "certificatesigningrequests",
            "subresource": subresource,
            "verb": "create",
            "version": "*",
        }
        review: Object = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": spec.get("username", ""),
                "uid": spec.get("uid", ""),
                "groups": spec.get("groups") or [],
                "extra": spec.get("extra") or {},
                "resourceAttributes": attributes,
            },
        }
        answer = await self._client.create(SUBJECTACCESSREVIEWS, review)
        return bool(answer["status"].get("allowed"))

    async def _approve(self, csr: Object, message: str) -> None:
        now = rfc3339(self._clock.now())
        condition = {
            "type": "Approved",
            "status": "True",
            "reason": "AutoApproved",
            "message": message,
            "lastUpdateTime": now,
            "lastTransitionTime": now,
        }
        status = dict(csr.get("status") or {})
        status["conditions"] = [*(status.get("conditions") or ()), condition]
        await self._client.update(CERTIFICATESIGNINGREQUESTS, {**csr, "status": status}, subresource="approval")
