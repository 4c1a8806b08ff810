"""CertificateApproval, CertificateSigning, ClusterTrustBundleAttest, CertificateSubjectRestriction: who may have what
signed by whom, and whom everybody is to trust.

Approving needs the verb `approve`, signing the verb `sign`, publishing what is trusted the verb `attest` on the signer
(`signers` in certificates.k8s.io), by its name or as `DOMAIN/*`. Nobody may ask the client signer for a certificate of
`system:masters`.
See "Certificates and Certificate Signing Requests" in the upstream documentation.
"""

from __future__ import annotations

import base64
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CREATE, UPDATE, AdmissionRequest
from shirube.apiserver.attributes import Attributes
from shirube.apiserver.user import MASTERS

Json = dict[str, Any]
GROUP = "certificates.k8s.io"
CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"


async def _may(plugin: Plugin, req: AdmissionRequest, verb: str, signer: str) -> bool:
    domain = signer.partition("/")[0]
    for name in (signer, f"{domain}/*"):
        asked = Attributes(req.user, verb, GROUP, "v1", "signers", "", "", name)
        if (await plugin.server.authorizer.authorize(asked)).allowed:
            return True
    return False


def _signer(obj: Json | None) -> str:
    return str(((obj or {}).get("spec") or {}).get("signerName", ""))


class CertificateApproval(Plugin):
    name = "CertificateApproval"
    operations = frozenset((UPDATE,))
    resources = frozenset(((GROUP, "certificatesigningrequests/approval"),))

    async def validate(self, req: AdmissionRequest) -> None:
        signer = _signer(req.old)
        if not await _may(self, req, "approve", signer):
            raise req.refusal(f'user not permitted to approve requests with signerName "{signer}"')


class CertificateSigning(Plugin):
    name = "CertificateSigning"
    operations = frozenset((UPDATE,))
    resources = frozenset(((GROUP, "certificatesigningrequests/status"),))

    async def validate(self, req: AdmissionRequest) -> None:
        old, new = (((o or {}).get("status") or {}) for o in (req.old, req.obj))
        keys = ("certificate", "conditions")
        if all(old.get(key) == new.get(key) for key in keys):
            return
        signer = _signer(req.old)
        if not await _may(self, req, "sign", signer):
            raise req.refusal(f'user not permitted to sign requests with signerName "{signer}"')


class ClusterTrustBundleAttest(Plugin):
    """For servers that serve ClusterTrustBundles: the kind is off by default."""

    name = "ClusterTrustBundleAttest"
    operations = frozenset((CREATE, UPDATE))
    resources = frozenset(((GROUP, "clustertrustbundles"),))

    async def validate(self, req: AdmissionRequest) -> None:
        signer = _signer(req.obj)
        if not signer or (req.old is not None and req.old.get("spec") == (req.obj or {}).get("spec")):
            return
        if not await _may(self, req, "attest", signer):
            raise req.refusal(f'user not permitted to attest for signerName "{signer}"')


class CertificateSubjectRestriction(Plugin):
    name = "CertificateSubjectRestriction"
    resources = frozenset(((GROUP, "certificatesigningrequests"),))

    async def validate(self, req: AdmissionRequest) -> None:
        if _signer(req.obj) != CLIENT_SIGNER:
            return
        spec = (req.obj or {}).get("spec") or {}
        try:
            asked = x509.load_pem_x509_csr(base64.b64decode(spec.get("request", "")))
            groups = [a.value for a in asked.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
        except ValueError as error:
            raise req.refusal(f"failed to parse CSR: {error}") from None
        if MASTERS in groups:
            raise req.refusal(f"use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed")
