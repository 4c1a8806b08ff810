"""Bundles of certificates: what is in them, and whose names they may have."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shirube.api.kinds.cluster_trust_bundle import MAX_BYTES, ClusterTrustBundleStrategy
from shirube.api.resources import OPTIONAL
from shirube.api.table import table

KEY = ec.generate_private_key(ec.SECP256R1())
STRATEGY = ClusterTrustBundleStrategy(namespaced=False, has_status=False)


def certificate(name: str = "ca", authority: bool | None = True) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begin = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=1))
    )
    if authority is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


ONE, OTHER = certificate("one"), certificate("other")
PRIVATE = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
BEGIN = "-----BEGIN CERTIFICATE-----\n"


def bundle(pem: str = ONE, name: str = "trust", signer: str | None = None) -> dict[str, Any]:
    spec = {"trustBundle": pem} | ({"signerName": signer} if signer is not None else {})
    return {"metadata": {"name": name, "uid": "u"}, "spec": spec}


def said(causes: list[Any]) -> list[tuple[str, str]]:
    return [(cause.field, cause.message.partition(": ")[2] or cause.message) for cause in causes]


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        (ONE, []),
        (ONE + OTHER, []),
        (f"some words\n{ONE}more words\n{OTHER}", []),
        ("", ["at least one trust anchor must be provided"]),
        ("no certificate", ["at least one trust anchor must be provided"]),
        (ONE + OTHER + ONE, ["duplicate trust anchor (indices [0 2])"]),
        (PRIVATE, ["entry 0 has bad block type: PRIVATE KEY"]),
        (ONE.replace(BEGIN, f"{BEGIN}Proc-Type: 4,ENCRYPTED\n\n"), ["entry 0 has PEM block headers"]),
        (ONE + f"{BEGIN}b3RoZXI=\n-----END CERTIFICATE-----\n", ["entry 1 does not parse as X.509"]),
        (certificate(authority=False), ["entry 0 does not have the CA bit set"]),
        (certificate(authority=None) + PRIVATE, [
            "entry 0 does not have the CA bit set",
            "entry 1 has bad block type: PRIVATE KEY",
        ]),
    ],
)  # fmt: skip
def test_what_may_be_in_a_bundle(pem: str, why: list[str]):
    causes = STRATEGY.validate(bundle(pem))
    assert said(causes) == [("spec.trustBundle", f'"<value omitted>": {text}') for text in why]
    assert all(KEY_LINE not in cause.message for cause in causes), "nothing of what was sent is repeated"


KEY_LINE = PRIVATE.splitlines()[1]


def test_a_bundle_is_bounded():
    (cause,) = STRATEGY.validate(bundle(ONE + "x" * MAX_BYTES))
    assert cause.message.endswith(f"may not be more than {MAX_BYTES} bytes")


@pytest.mark.parametrize(
    ("name", "signer", "why"),
    [
        ("trust", None, ""),
        ("trust.example", "", ""),
        ("a:b", None, 'ClusterTrustBundle without signer name must not have ":" in its name'),
        ("example.com:mine:v1", "example.com/mine", ""),
        ("v1", "example.com/mine", "for signerName example.com/mine must be named with prefix example.com:mine:"),
        ("example.com:mine:", "example.com/mine", "a lowercase RFC 1123 subdomain must consist of"),
        ("example.com:mine:A", "example.com/mine", "a lowercase RFC 1123 subdomain must consist of"),
        ("mine:v1", "mine", "must be a fully qualified domain and path"),
    ],
)
def test_bundles_are_named_after_their_signer(name: str, signer: str | None, why: str):
    messages = [cause.message for cause in STRATEGY.validate(bundle(name=name, signer=signer))]
    assert len(messages) == (1 if why else 0), messages
    assert all(why in message for message in messages)


def test_what_is_stored_stays_good_and_the_signer_stays_the_same():
    bad = bundle("no longer understood", "example.com:mine:a", "example.com/mine")
    bad["metadata"]["resourceVersion"] = "1"
    same = {**bad, "metadata": {**bad["metadata"], "labels": {"a": "b"}}}
    assert STRATEGY.validate_update(same, bad) == []
    other = {**bad, "spec": {**bad["spec"], "signerName": "example.com/yours"}}
    assert ("spec.signerName", '"example.com/yours": field is immutable') in said(STRATEGY.validate_update(other, bad))
    changed = {**bad, "spec": {**bad["spec"], "trustBundle": "still not"}}
    assert len(STRATEGY.validate_update(changed, bad)) == 1


def test_how_bundles_are_shown_and_found():
    (resource,) = OPTIONAL
    plain, signed = bundle(), bundle(name="example.com:mine:a", signer="example.com/mine")
    shown = table(resource, [plain, signed], 0.0)
    assert [c["name"] for c in shown["columnDefinitions"]] == ["Name", "SignerName"]
    assert [row["cells"] for row in shown["rows"]] == [
        ["trust", "<none>"],
        ["example.com:mine:a", "example.com/mine"],
    ]
    assert [STRATEGY.selectable_fields(b) for b in (plain, signed)] == [
        {"spec.signerName": ""},
        {"spec.signerName": "example.com/mine"},
    ]
