"""Certificates, bootstrap tokens and tokens kept in secrets."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.controllers.live import live
from tests.simulation.identity_stories import RENEWAL_BINDING
from tests.waiting import until

from shirube.api.gvr import (
    CERTIFICATESIGNINGREQUESTS,
    CLUSTERROLEBINDINGS,
    CONFIGMAPS,
    SECRETS,
    SERVICEACCOUNTS,
    TOKENREVIEWS,
)
from shirube.controllers import certificate_approving
from shirube.controllers import certificate_request as requests
from shirube.controllers.bootstrap_tokens import detached_signature
from shirube.controllers.certificate_cleaning import keep_until
from shirube.foundation.clock import SYSTEM, parse_rfc3339, rfc3339

KEY = ec.generate_private_key(ec.SECP256R1())


def csr(
    signer: str,
    common_name: str,
    organization: str,
    *usages: str,
    dns: str = "",
    others: tuple[x509.GeneralName, ...] = (),
    **spec: Any,
) -> dict[str, Any]:
    subject = [(NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, common_name)]
    builder = x509.CertificateSigningRequestBuilder(x509.Name([x509.NameAttribute(o, v) for o, v in subject]))
    if dns or others:
        names = [*([x509.DNSName(dns)] if dns else []), *others]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    pem = builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return {
        "metadata": {"name": "r"},
        "spec": {
            "request": base64.b64encode(pem).decode(),
            "signerName": signer,
            "usages": ["digital signature", *usages],
            **spec,
        },
    }


NODE, NODES = "system:node:a", "system:nodes"
MAIL, URI = (x509.RFC822Name("a@example.com"),), (x509.UniformResourceIdentifier("spiffe://x/y"),)
ADDRESS = (x509.IPAddress(ipaddress.ip_address("10.0.0.1")),)


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (csr(requests.CLIENT, "anna", "team", "client auth"), ""),
        (csr(requests.CLIENT, "anna", "team", "client auth", "key encipherment", dns="a", others=MAIL), ""),
        (csr(requests.CLIENT, "anna", "team", "server auth"), "invalid usage for client certificate: server auth"),
        (csr(requests.CLIENT, "anna", "team"), "missing required usage for client certificate: client auth"),
        (csr(requests.CLIENT_KUBELET, NODE, NODES, "client auth"), ""),
        (csr(requests.CLIENT_KUBELET, NODE, NODES, "client auth", "key encipherment"), ""),
        (csr(requests.CLIENT_KUBELET, NODE, "others", "client auth"), "subject organization is not system:nodes"),
        (
            csr(requests.CLIENT_KUBELET, "a", NODES, "client auth"),
            "subject common name does not begin with system:node:",
        ),
        (csr(requests.CLIENT_KUBELET, NODE, NODES, "client auth", dns="a"), "DNS subjectAltNames are not allowed"),
        (
            csr(requests.CLIENT_KUBELET, NODE, NODES, "client auth", others=MAIL),
            "Email subjectAltNames are not allowed",
        ),
        (
            csr(requests.CLIENT_KUBELET, NODE, NODES, "client auth", others=ADDRESS),
            "IP subjectAltNames are not allowed",
        ),
        (csr(requests.CLIENT_KUBELET, NODE, NODES, "client auth", others=URI), "URI subjectAltNames are not allowed"),
        (
            csr(requests.CLIENT_KUBELET, NODE, NODES, "client auth", "server auth"),
            "usages did not match [client auth digital signature key encipherment]",
        ),
        (
            csr(requests.CLIENT_KUBELET, NODE, NODES, usages=["client auth"]),
            "usages did not match [client auth digital signature key encipherment]",
        ),
        (csr(requests.KUBELET_SERVING, NODE, NODES, "server auth", dns="a"), ""),
        (csr(requests.KUBELET_SERVING, NODE, NODES, "server auth", others=ADDRESS), ""),
        (csr(requests.KUBELET_SERVING, NODE, NODES, "server auth"), "DNS or IP subjectAltName is required"),
        (
            csr(requests.KUBELET_SERVING, NODE, NODES, "server auth", dns="a", others=MAIL),
            "Email subjectAltNames are not allowed",
        ),
        (
            csr(requests.KUBELET_SERVING, NODE, NODES, "server auth", dns="a", others=URI),
            "URI subjectAltNames are not allowed",
        ),
        (
            csr(requests.KUBELET_SERVING, NODE, NODES, "client auth", dns="a"),
            "usages did not match [digital signature key encipherment server auth]",
        ),
        (
            csr(requests.KUBELET_SERVING, "a", NODES, "server auth", dns="a"),
            "subject common name does not begin with system:node:",
        ),
        (csr(requests.LEGACY, "anyone", "anywhere", "code signing", "s/mime"), ""),
    ],
)
def test_signers_are_choosy(request_: dict[str, Any], why: str):
    asked = requests.read(request_)
    if not why:
        requests.check(request_, asked)
        return
    with pytest.raises(requests.Refused) as caught:
        requests.check(request_, asked)
    assert str(caught.value) == why


NOW = parse_rfc3339("2026-01-01T00:00:00Z")


def authority(days: float, *, names_its_key: bool = True) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    begin = datetime.datetime.fromtimestamp(NOW - 86400, datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=1 + days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    if names_its_key:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(KEY.public_key()), critical=False)
    return builder.sign(KEY, hashes.SHA256())


def signed(ca: x509.Certificate, request: dict[str, Any]) -> x509.Certificate:
    pem = requests.sign(request, requests.read(request), ca, KEY, NOW, requests.LONGEST_SECONDS)
    return x509.load_pem_x509_certificate(pem)


@pytest.mark.parametrize(
    ("seconds", "begins", "ends"),
    [
        (600, -300, 600),
        (8 * 3600 - 1, -300, 8 * 3600 - 1),
        (8 * 3600, -300, 8 * 3600 - 300),
        (None, -300, requests.LONGEST_SECONDS - 300),
        (10 * requests.LONGEST_SECONDS, -300, requests.LONGEST_SECONDS - 300),
        (1, -300, 600),
    ],
)
def test_how_long_certificates_live(seconds: int | None, begins: int, ends: int):
    request = csr(requests.CLIENT, "anna", "team", "client auth", expirationSeconds=seconds)
    found = signed(authority(3650), request)
    assert found.not_valid_before_utc.timestamp() == NOW + begins
    assert found.not_valid_after_utc.timestamp() == NOW + ends


def test_no_certificate_outlives_its_authority():
    found = signed(authority(10), csr(requests.CLIENT, "anna", "team", "client auth"))
    assert found.not_valid_after_utc.timestamp() == NOW + 10 * 86400
    with pytest.raises(ValueError, match="the CA has expired"):
        signed(authority(-0.5), csr(requests.CLIENT, "anna", "team", "client auth"))


def test_what_a_certificate_is_for():
    every = ["signing", "cert sign", "key agreement", "encipher only", "s/mime", "email protection", "ipsec user"]
    found = signed(authority(3650), csr(requests.LEGACY, "x", "y", *every, dns="a.example", others=URI))
    bits = found.extensions.get_extension_for_class(x509.KeyUsage).value
    assert bits.digital_signature and bits.key_cert_sign and bits.key_agreement and bits.encipher_only
    assert not (bits.crl_sign or bits.key_encipherment or bits.decipher_only)
    extended = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [oid.dotted_string for oid in extended] == ["1.3.6.1.5.5.7.3.4", "1.3.6.1.5.5.7.3.7"]
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.example"]
    held = x509.SubjectKeyIdentifier.from_public_key(KEY.public_key()).digest
    assert found.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == held
    bare = signed(authority(3650, names_its_key=False), csr(requests.CLIENT, "a", "b", "client auth", "encipher only"))
    assert x509.AuthorityKeyIdentifier.oid not in {e.oid for e in bare.extensions}


@pytest.mark.parametrize("usages", [("client auth",), ("client auth", "encipher only")])
def test_a_certificate_that_says_nothing_of_its_key_lets_its_owner_in(tmp_path: Path, usages: tuple[str, ...]):
    """`usages: [client auth]` is what Kubernetes' own documentation tells people to ask for."""
    ca = authority(3650)
    request = csr(requests.CLIENT, "anna", "team", usages=list(usages))
    pem = requests.sign(request, requests.read(request), ca, KEY, NOW, requests.LONGEST_SECONDS)
    file, issuer = tmp_path / "anna.crt", tmp_path / "ca.crt"
    file.write_bytes(pem)
    issuer.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    check = ["openssl", "verify", "-purpose", "sslclient", "-attime", str(int(NOW)), "-CAfile", str(issuer), str(file)]
    assert subprocess.run(check, capture_output=True, check=False, timeout=20).returncode == 0


def condition(kind: str, at: str = "2026-01-01T01:00:00Z") -> dict[str, Any]:
    return {"type": kind, "status": "True", "lastUpdateTime": at}


CERTIFICATE = base64.b64encode(authority(0.5).public_bytes(serialization.Encoding.PEM)).decode()


@pytest.mark.parametrize(
    ("status", "until"),
    [
        ({}, "2026-01-02T00:00:00Z"),
        ({"conditions": [condition("Denied")]}, "2026-01-01T02:00:00Z"),
        ({"conditions": [condition("Approved"), condition("Failed")]}, "2026-01-01T02:00:00Z"),
        ({"conditions": [condition("Approved")]}, "2026-01-02T00:00:00Z"),
        ({"conditions": [condition("Approved")], "certificate": "b3RoZXI="}, "2026-01-01T02:00:00Z"),
        (
            {"conditions": [condition("Approved", "2026-01-01T20:00:00Z")], "certificate": CERTIFICATE},
            "2026-01-01T12:00:00Z",
        ),
        ({"conditions": [condition("example.com/Waiting")]}, ""),
    ],
)
def test_old_requests_go(status: dict[str, Any], until: str):
    one = {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "status": status}
    assert keep_until(one) == (parse_rfc3339(until) if until else None)


async def test_a_bootstrapping_kubelet_gets_its_certificate(tmp_path: Path):
    async with live(tmp_path) as house:
        joining = house.client("system:node:n1", "system:nodes", "system:authenticated")
        names = ",".join(f"certificatesigningrequest-{n}-controller" for n in ("approving", "signing", "cleaner"))
        async with house.controllers(only=names):
            wanted = csr(
                requests.CLIENT_KUBELET, "system:node:n1", "system:nodes", "client auth", expirationSeconds=600
            )
            await house.admin.create(CLUSTERROLEBINDINGS, RENEWAL_BINDING)
            await joining.create(CERTIFICATESIGNINGREQUESTS, wanted)

            async def issued() -> str | None:
                found = await house.admin.get(CERTIFICATESIGNINGREQUESTS, "r")
                pem: str | None = (found.get("status") or {}).get("certificate")
                return pem

            cert = x509.load_pem_x509_certificate(base64.b64decode(await until(issued, 10)))
            ca = x509.load_pem_x509_certificate(house.root_ca.read_bytes())
            cert.verify_directly_issued_by(ca)
            assert cert.not_valid_after_utc - cert.not_valid_before_utc <= datetime.timedelta(minutes=16)
            bad = csr(requests.CLIENT, "anna", "team", "server auth")
            bad["metadata"]["name"] = "bad"
            made = await house.admin.create(CERTIFICATESIGNINGREQUESTS, bad)
            approved = {"type": "Approved", "status": "True", "reason": "x", "message": ""}
            made["status"] = {"conditions": [approved]}
            await house.admin.update(CERTIFICATESIGNINGREQUESTS, made, subresource="approval")

            async def failed() -> bool:
                return "Failed" in requests.conditions(await house.admin.get(CERTIFICATESIGNINGREQUESTS, "bad"))

            await until(failed, 10)
        assert not [e for e in house.tokens.log if e[2] in (401, 403, 422)]


async def test_tokens_in_secrets_are_made_believed_and_go_with_their_account(tmp_path: Path):
    async with live(tmp_path) as house:
        admin = house.admin
        async with house.controllers(only="serviceaccount-token-controller"):
            await admin.create(SERVICEACCOUNTS, {"metadata": {"name": "bot"}}, "default")
            metadata = {"name": "bot-token", "annotations": {"kubernetes.io/service-account.name": "bot"}}
            secret = {"metadata": metadata, "type": "kubernetes.io/service-account-token"}
            await admin.create(SECRETS, secret, "default")

            async def filled() -> dict[str, str] | None:
                data = (await admin.get(SECRETS, "bot-token", "default")).get("data") or {}
                return data if data.get("token") else None

            data = await until(filled, 10)
            assert base64.b64decode(data["ca.crt"]).decode() == house.root_ca.read_text()
            token = base64.b64decode(data["token"]).decode()
            review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
            answer = await admin.create(TOKENREVIEWS, review)
            assert answer["status"]["user"]["username"] == "system:serviceaccount:default:bot"
            await admin.delete(SERVICEACCOUNTS, "bot", "default")

            async def gone() -> bool:
                return all(
                    s["metadata"]["name"] != "bot-token" for s in (await admin.list(SECRETS, "default"))["items"]
                )

            await until(gone, 10)


async def test_bootstrap_tokens_sign_and_expire(tmp_path: Path):
    async with live(tmp_path) as house:
        admin = house.admin
        async with house.controllers(only="bootstrap-signer-controller,token-cleaner-controller"):
            data = {"kubeconfig": "apiVersion: v1\n"}
            await admin.create(CONFIGMAPS, {"metadata": {"name": "cluster-info"}, "data": data}, "kube-public")
            for name, seconds in (("abcdef", 3600.0), ("old000", -1.0)):
                values = {
                    "token-id": name,
                    "token-secret": "0123456789abcdef",
                    "usage-bootstrap-signing": "true",
                    "expiration": rfc3339(SYSTEM.now() + seconds),
                }
                secret = {"metadata": {"name": f"bootstrap-token-{name}"}, "type": "bootstrap.kubernetes.io/token"}
                await admin.create(SECRETS, {**secret, "stringData": values}, "kube-system")

            async def signed() -> bool:
                found = (await admin.get(CONFIGMAPS, "cluster-info", "kube-public"))["data"]
                wanted = detached_signature(data["kubeconfig"], "abcdef", "0123456789abcdef")
                return found == {**data, "jws-kubeconfig-abcdef": wanted}

            async def cleaned() -> bool:
                names = {s["metadata"]["name"] for s in (await admin.list(SECRETS, "kube-system"))["items"]}
                return "bootstrap-token-old000" not in names and "bootstrap-token-abcdef" in names

            await until(signed, 10)
            await until(cleaned, 10)
        assert not [e for e in house.tokens.log if e[2] in (401, 403, 422)]


async def test_a_request_is_approved_once_its_role_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """No event tells of RBAC: the request is asked about again."""
    monkeypatch.setattr(certificate_approving, "_SOONEST_SECONDS", 0.05)
    monkeypatch.setattr(certificate_approving, "_LATEST_SECONDS", 0.1)
    async with live(tmp_path) as house:
        joining = house.client("system:node:n1", "system:nodes", "system:authenticated")
        async with house.controllers(only="certificatesigningrequest-approving-controller") as controllers:
            wanted = csr(requests.CLIENT_KUBELET, "system:node:n1", NODES, "client auth")
            await joining.create(CERTIFICATESIGNINGREQUESTS, wanted)
            (approver,) = (c for c in controllers if c.name.endswith("approving-controller"))
            refused = []

            async def asked() -> bool:
                refused.append(await approver.reconcile("r"))
                return refused[-1] is not None

            await until(asked, 10)
            await house.admin.create(CLUSTERROLEBINDINGS, RENEWAL_BINDING)

            async def approved() -> bool:
                return "Approved" in requests.conditions(await house.admin.get(CERTIFICATESIGNINGREQUESTS, "r"))

            await until(approved, 10)


async def test_conditions_are_stamped_and_keep_since_when(tmp_path: Path):
    async with live(tmp_path) as house:
        admin = house.admin
        made = await admin.create(CERTIFICATESIGNINGREQUESTS, csr(requests.CLIENT, "anna", "team", "client auth"))
        plain = {"type": "Approved", "status": "True", "reason": "x", "message": ""}
        made["status"] = {"conditions": [plain]}
        found = await admin.update(CERTIFICATESIGNINGREQUESTS, made, subresource="approval")
        (stamped,) = found["status"]["conditions"]
        assert stamped["lastUpdateTime"] == stamped["lastTransitionTime"]
        long_ago = "2020-01-01T00:00:00Z"
        found["status"]["conditions"] = [{**stamped, "lastUpdateTime": long_ago, "lastTransitionTime": long_ago}]
        found = await admin.update(CERTIFICATESIGNINGREQUESTS, found, subresource="approval")
        found["status"]["conditions"] = [{**plain, "reason": "y"}]
        found = await admin.update(CERTIFICATESIGNINGREQUESTS, found, subresource="approval")
        (stamped,) = found["status"]["conditions"]
        assert stamped["lastTransitionTime"] == long_ago
        assert stamped["lastUpdateTime"] > long_ago


async def test_an_authority_that_is_replaced_signs_from_then_on(tmp_path: Path):
    only = "certificatesigningrequest-signing-controller"
    async with live(tmp_path) as house, house.controllers(only=only) as controllers:
        (signer,) = (c for c in controllers if c.name == only)
        before = signer._load()[0]
        assert signer._load()[0] is before
        key = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (tmp_path / "ca.key").write_bytes(KEY.private_bytes(serialization.Encoding.PEM, *key))
        with pytest.raises(ValueError, match=r"ca\.key is not the key of .*ca\.crt"):
            signer._load()
        after = authority(3650)
        house.root_ca.write_bytes(after.public_bytes(serialization.Encoding.PEM))
        os.utime(house.root_ca, (1, 1))
        assert signer._load()[0] == after


async def test_writers_leave_what_the_cache_does_not_show(tmp_path: Path):
    """Both maps are written from what is stored: the shared cache has no note of what kubectl applied last."""
    applied = {"kubectl.kubernetes.io/last-applied-configuration": "{}"}
    async with live(tmp_path) as house:
        admin = house.admin
        metadata = {"name": "cluster-info", "annotations": applied}
        await admin.create(CONFIGMAPS, {"metadata": metadata, "data": {"kubeconfig": "x"}}, "kube-public")
        metadata = {"name": "kube-root-ca.crt", "annotations": applied}
        await admin.create(CONFIGMAPS, {"metadata": metadata, "data": {"ca.crt": "old"}}, "default")
        for name, token_id in (("bootstrap-token-abcdef", "abcdef"), ("bootstrap-token-fedcba", "123456")):
            values = {"token-id": token_id, "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true"}
            made = {"metadata": {"name": name}, "type": "bootstrap.kubernetes.io/token", "stringData": values}
            await admin.create(SECRETS, made, "kube-system")
        async with house.controllers(only="bootstrap-signer-controller,root-ca-certificate-publisher-controller"):

            async def written() -> bool:
                info = await admin.get(CONFIGMAPS, "cluster-info", "kube-public")
                ca = await admin.get(CONFIGMAPS, "kube-root-ca.crt", "default")
                assert applied.items() <= info["metadata"]["annotations"].items()
                assert applied.items() <= ca["metadata"]["annotations"].items()
                signatures = {key for key in info["data"] if key.startswith("jws-")}
                # The other token is not named after its id: nobody could join with it.
                return signatures == {"jws-kubeconfig-abcdef"} and ca["data"]["ca.crt"] == house.root_ca.read_text()

            await until(written, 10)
        assert not [e for e in house.tokens.log if e[2] in (401, 403, 422)]


async def test_an_account_no_longer_lists_a_token_that_is_gone(tmp_path: Path):
    async with live(tmp_path) as house:
        admin = house.admin
        async with house.controllers(only="serviceaccount-token-controller"):
            references = [{"name": "bot-token"}, {"name": "mountable"}]
            await admin.create(SERVICEACCOUNTS, {"metadata": {"name": "bot"}, "secrets": references}, "default")
            metadata = {"name": "bot-token", "annotations": {"kubernetes.io/service-account.name": "bot"}}
            made = {"metadata": metadata, "type": "kubernetes.io/service-account-token"}
            await admin.create(SECRETS, made, "default")

            async def filled() -> bool:
                return bool((await admin.get(SECRETS, "bot-token", "default")).get("data", {}).get("token"))

            await until(filled, 10)
            await admin.delete(SECRETS, "bot-token", "default")

            async def unlisted() -> bool:
                return (await admin.get(SERVICEACCOUNTS, "bot", "default"))["secrets"] == [{"name": "mountable"}]

            await until(unlisted, 10)
