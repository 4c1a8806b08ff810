"""Whether base64 fields hold the certificate or the certificate request in PEM that they ought to hold.

The answers are upstream's words: certificates' ``validateCSR``, ``validateCertificate`` and ``validateTrustBundle``.
"""

from __future__ import annotations

import base64
import binascii
import re

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from shirube.api.errors import quote

_BLOCK = re.compile(rb"-----BEGIN ([^\r\n]+)-----\r?\n(.*?)-----END \1-----", re.DOTALL)


def _blocks(encoded: str) -> list[tuple[str, bytes, bytes]]:
    """(type, body, whole block) of every PEM block."""
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return []
    return [(m[1].decode("latin-1"), m[2], m[0]) for m in _BLOCK.finditer(data)]


def request_problem(encoded: str) -> str:
    """What is wrong with a certificate request; empty when it is well-formed and signed by its own key."""
    found = _blocks(encoded)
    if not found or found[0][0] != "CERTIFICATE REQUEST":
        return "PEM block type must be CERTIFICATE REQUEST"
    try:
        request = x509.load_pem_x509_csr(found[0][2])
        good = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, TypeError):
        return "x509: malformed certificate request"
    return "" if good else "x509: certificate request signature does not match its key"


def certificate_problem(encoded: str) -> str:
    """What is wrong with a chain of certificates; empty when nothing is."""
    found = _blocks(encoded)
    for kind, body, block in found:
        if kind != "CERTIFICATE":
            return f"only CERTIFICATE PEM blocks are allowed, found {quote(kind)}"
        if b":" in body:
            return "no PEM block headers are permitted"
        try:
            x509.load_pem_x509_certificate(block)
        except ValueError:
            return "x509: malformed certificate"
    return "" if found else "must contain at least one CERTIFICATE PEM block"


def trust_anchor_problems(text: str) -> list[str]:
    """What is wrong with certificates of authorities, as PEM; certificates' ``validateTrustBundle``."""
    found: dict[bytes, list[int]] = {}
    problems = []
    for i, match in enumerate(_BLOCK.finditer(text.encode())):
        kind, body = match[1].decode("utf-8", "replace"), match[2]
        if kind != "CERTIFICATE":
            problems.append(f"entry {i} has bad block type: {kind}")
        elif b":" in body:
            problems.append(f"entry {i} has PEM block headers")
        else:
            try:
                certificate = x509.load_pem_x509_certificate(match[0])
                authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
            except x509.ExtensionNotFound:
                authority = False
            except ValueError:
                problems.append(f"entry {i} does not parse as X.509")
                continue
            if authority:
                found.setdefault(certificate.public_bytes(serialization.Encoding.DER), []).append(i)
            else:
                problems.append(f"entry {i} does not have the CA bit set")
    if problems:
        return problems
    if not found:
        return ["at least one trust anchor must be provided"]
    twice = [indices for indices in found.values() if len(indices) > 1]
    return [f"duplicate trust anchor (indices [{' '.join(map(str, indices))}])" for indices in twice]
