"""Certificate signing requests: what the built-in signers and the approver ask of one. Pure.

https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers
"""

from __future__ import annotations

import base64
import contextlib
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
_SHORT_SECONDS = 8 * 3600  # certificates that live no longer get all of it after now
_NODE_PREFIX, _NODES = "system:node:", "system:nodes"
_SIGNATURE, _ENCIPHERMENT = "digital signature", "key encipherment"
_KEY_USAGES = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "data encipherment": "data_encipherment",
    "key agreement": "key_agreement",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
_EXTENDED_USAGES = {
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "s/mime": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "ipsec end system": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.5"),
    "ipsec tunnel": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.6"),
    "ipsec user": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.7"),
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
    "microsoft sgc": x509.ObjectIdentifier("1.3.6.1.4.1.311.10.3.3"),
    "netscape sgc": x509.ObjectIdentifier("2.16.840.1.113730.4.1"),
}


class Refused(Exception):
    """The request is not one that this signer signs; the message says why."""


@dataclass(frozen=True, slots=True)
class Asked:
    common_name: str
    organizations: tuple[str, ...]
    names: tuple[str, ...]  # DNS
    addresses: tuple[str, ...]
    emails: tuple[str, ...]
    uris: tuple[str, ...]
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
    emails = tuple(san.get_values_for_type(x509.RFC822Name))
    uris = tuple(san.get_values_for_type(x509.UniformResourceIdentifier))
    common = subject(NameOID.COMMON_NAME)
    organizations = subject(NameOID.ORGANIZATION_NAME)
    return Asked(common[0] if common else "", organizations, names, addresses, emails, uris, request)


def _exact_usages(csr: Object, needed: str) -> None:
    """Just what a kubelet's certificate is for; keys that cannot encipher may leave that out."""
    usages = set(csr["spec"].get("usages") or ())
    whole = {_SIGNATURE, _ENCIPHERMENT, needed}
    if usages not in (whole, whole - {_ENCIPHERMENT}):
        raise Refused(f"usages did not match [{' '.join(sorted(whole))}]")


def _client_usages(csr: Object) -> None:
    usages = csr["spec"].get("usages") or ()
    for usage in usages:
        if usage not in (_SIGNATURE, _ENCIPHERMENT, "client auth"):
            raise Refused(f"invalid usage for client certificate: {usage}")
    if "client auth" not in usages:
        raise Refused("missing required usage for client certificate: client auth")


def check(csr: Object, asked: Asked) -> None:
    """Raises Refused, in upstream's words and order, when the signer of the request would not sign it."""
    signer = csr["spec"]["signerName"]
    if signer == CLIENT:
        _client_usages(csr)
    if signer not in (CLIENT_KUBELET, KUBELET_SERVING):
        return
    if asked.organizations != (_NODES,):
        raise Refused(f"subject organization is not {_NODES}")
    serving = signer == KUBELET_SERVING
    if serving and not asked.names and not asked.addresses:
        raise Refused("DNS or IP subjectAltName is required")
    for what, found, allowed in (
        ("DNS", asked.names, serving),
        ("Email", asked.emails, False),
        ("IP", asked.addresses, serving),
        ("URI", asked.uris, False),
    ):
        if found and not allowed:
            raise Refused(f"{what} subjectAltNames are not allowed")
    if serving:
        _exact_usages(csr, "server auth")
    if not asked.common_name.startswith(_NODE_PREFIX):
        raise Refused(f"subject common name does not begin with {_NODE_PREFIX}")
    if not serving:
        _exact_usages(csr, "client auth")


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
    """The certificate as PEM, no longer valid than the CA itself. Raises ValueError when that is no longer valid."""
    wanted = csr["spec"].get("expirationSeconds")
    seconds = longest if wanted is None else min(max(int(wanted), _SHORTEST_SECONDS), longest)
    at = datetime.datetime.fromtimestamp(int(now), datetime.UTC)
    if at >= ca.not_valid_after_utc:
        raise ValueError(f"cannot sign: the CA has expired at {ca.not_valid_after_utc.isoformat()}; renew it")
    start = at - datetime.timedelta(seconds=_BACKDATE_SECONDS)
    # A certificate that lives long is not missed for the minutes that went before it.
    end = (at if seconds < _SHORT_SECONDS else start) + datetime.timedelta(seconds=seconds)
    builder = (
        x509.CertificateBuilder()
        .subject_name(asked.request.subject)
        .issuer_name(ca.subject)
        .public_key(asked.request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(min(end, ca.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if (usage := _key_usage(csr)) is not None:
        builder = builder.add_extension(usage, critical=True)
    usages = csr["spec"].get("usages") or ()
    if extended := list(dict.fromkeys(oid for usage, oid in _EXTENDED_USAGES.items() if usage in usages)):
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    with contextlib.suppress(x509.ExtensionNotFound):  # a CA of somebody else's making may not name its key
        held = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(held)
        builder = builder.add_extension(issuer, critical=False)
    with contextlib.suppress(x509.ExtensionNotFound):  # who asks for no other names gets none
        san = asked.request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        builder = builder.add_extension(san.value, critical=san.critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _key_usage(csr: Object) -> x509.KeyUsage | None:
    """What the key is for; None where nothing is said of it: one that is good for nothing is refused everywhere."""
    usages = csr["spec"].get("usages") or ()
    bits = dict.fromkeys(_KEY_USAGES.values(), False)
    bits |= {field: True for usage, field in _KEY_USAGES.items() if usage in usages}
    if not bits["key_agreement"]:  # they only say what the agreed key is for
        bits |= {"encipher_only": False, "decipher_only": False}
    return x509.KeyUsage(**bits) if any(bits.values()) else None


def conditions(csr: Object) -> dict[str, Object]:
    return {c["type"]: c for c in (csr.get("status") or {}).get("conditions") or ()}


def decided(csr: Object) -> bool:
    return bool(conditions(csr).keys() & {"Approved", "Denied"})
