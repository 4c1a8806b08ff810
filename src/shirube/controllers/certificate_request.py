"""Certificate signing requests: what the built-in signers and the approver ask of one. Pure.

https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers
"""

from __future__ import annotations

import base64
import datetime
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shirube.client.rest import Object

CLIENT = "kubernetes.io/kube-apiserver-client"
CLIENT_KUBELET = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
LEGACY = "kubernetes.io/legacy-unknown"
SIGNERS = (CLIENT, CLIENT_KUBELET, KUBELET_SERVING, LEGACY)

LONGEST_SECONDS = 365 * 24 * 3600
_SHORTEST_SECONDS = 600
_BACKDATE_SECONDS = 300
_NODE_PREFIX, _NODES = "system:node:", "system:nodes"
_BASE_USAGES = {"digital signature", "key encipherment"}
_KEY_USAGES = {
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "data encipherment": "data_encipherment",
    "key agreement": "key_agreement",
}
_EXTENDED_USAGES = {
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
}


class Refused(Exception):
    """The request is not one that this signer signs; the message says why."""


@dataclass(frozen=True, slots=True)
class Asked:
    common_name: str
    organizations: tuple[str, ...]
    names: tuple[str, ...]  # DNS
    addresses: tuple[str, ...]
    others: bool  # e-mail addresses or URIs
    request: x509.CertificateSigningRequest


def read(csr: Object) -> Asked:
    try:
        request = x509.load_pem_x509_csr(base64.b64decode(csr["spec"]["request"]))
        if not request.is_signature_valid:
            raise Refused("unable to parse csr: its signature does not match its key")
    except ValueError as error:
        raise Refused(f"unable to parse csr: {error}") from error

    def subject(oid: x509.ObjectIdentifier) -> tuple[str, ...]:
        return tuple(str(a.value) for a in request.subject.get_attributes_for_oid(oid))

    try:
        san = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        san = x509.SubjectAlternativeName([])
    names = tuple(san.get_values_for_type(x509.DNSName))
    addresses = tuple(str(a) for a in san.get_values_for_type(x509.IPAddress))
    others = bool(san.get_values_for_type(x509.RFC822Name) or san.get_values_for_type(x509.UniformResourceIdentifier))
    common = subject(NameOID.COMMON_NAME)
    return Asked(common[0] if common else "", subject(NameOID.ORGANIZATION_NAME), names, addresses, others, request)


def _usages(csr: Object, needed: str) -> None:
    usages = set(csr["spec"].get("usages") or ())
    if needed not in usages or not usages <= _BASE_USAGES | {needed}:
        allowed = ", ".join(sorted(_BASE_USAGES | {needed}))
        raise Refused(f"usages did not match {allowed}")


def check(csr: Object, asked: Asked) -> None:
    """Raises Refused when the signer of the request would not sign it."""
    signer = csr["spec"]["signerName"]
    if signer == CLIENT:
        _usages(csr, "client auth")
    if signer not in (CLIENT_KUBELET, KUBELET_SERVING):
        return
    if asked.organizations != (_NODES,):
        raise Refused(f"subject organization is not {_NODES}")
    if not asked.common_name.startswith(_NODE_PREFIX):
        raise Refused(f"subject common name does not begin with {_NODE_PREFIX}")
    if asked.others:
        raise Refused("email and URI subjectAltNames are not allowed")
    if signer == KUBELET_SERVING:
        if not asked.names and not asked.addresses:
            raise Refused("DNS or IP subjectAltName is required")
        _usages(csr, "server auth")
    else:
        if asked.names or asked.addresses:
            raise Refused("DNS and IP subjectAltNames are not allowed")
        _usages(csr, "client auth")


def is_kubelet_client(csr: Object, asked: Asked) -> bool:
    if csr["spec"]["signerName"] != CLIENT_KUBELET:
        return False
    try:
        check(csr, asked)
    except Refused:
        return False
    return True


def is_own(csr: Object, asked: Asked) -> bool:
    """A node that asks for itself."""
    return bool(csr["spec"].get("username") == asked.common_name)


def sign(
    csr: Object, asked: Asked, ca: x509.Certificate, key: CertificateIssuerPrivateKeyTypes, now: float, longest: int
) -> bytes:
    """The certificate as PEM, no longer valid than the CA itself."""
    wanted = csr["spec"].get("expirationSeconds")
    seconds = longest if wanted is None else min(max(int(wanted), _SHORTEST_SECONDS), longest)
    start = datetime.datetime.fromtimestamp(int(now), datetime.UTC)
    end = min(start + datetime.timedelta(seconds=seconds), ca.not_valid_after_utc)
    usages = set(csr["spec"].get("usages") or ())
    bits = {field: usage in usages for usage, field in _KEY_USAGES.items()}
    builder = (
        x509.CertificateBuilder()
        .subject_name(asked.request.subject)
        .issuer_name(ca.subject)
        .public_key(asked.request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - datetime.timedelta(seconds=_BACKDATE_SECONDS))
        .not_valid_after(end)
        .add_extension(
            x509.KeyUsage(**bits, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False),
            critical=True,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if extended := [oid for usage, oid in _EXTENDED_USAGES.items() if usage in usages]:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    try:
        san = asked.request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        builder = builder.add_extension(san.value, critical=san.critical)
    except x509.ExtensionNotFound:
        pass
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def conditions(csr: Object) -> dict[str, Object]:
    return {c["type"]: c for c in (csr.get("status") or {}).get("conditions") or ()}


def decided(csr: Object) -> bool:
    return bool(conditions(csr).keys() & {"Approved", "Denied"})
