"""Certificates, bootstrap tokens and tokens kept in secrets."""

from __future__ import annotations

import base64
import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.client.waiting import until
from tests.controllers.live import live

from shirube.api.gvr import (
    CERTIFICATESIGNINGREQUESTS,
    CLUSTERROLEBINDINGS,
    CONFIGMAPS,
    SECRETS,
    SERVICEACCOUNTS,
    TOKENREVIEWS,
)
from shirube.controllers import certificate_request as requests
from shirube.controllers.bootstrap_tokens import detached_signature
from shirube.controllers.certificate_cleaning import keep_until
from shirube.foundation.clock import SYSTEM, parse_rfc3339, rfc3339

KEY = ec.generate_private_key(ec.SECP256R1())


def csr(signer: str, common_name: str, organization: str, *usages: str, dns: str = "", **spec: Any) -> dict[str, Any]:
    subject = [(NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, common_name)]
    builder = x509.CertificateSigningRequestBuilder(x509.Name([x509.NameAttribute(o, v) for o, v in subject]))
    if dns:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(dns)]), critical=False)
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


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (csr(requests.CLIENT, "anna", "team", "client auth"), ""),
        (csr(requests.CLIENT, "anna", "team", "server auth"), "usages"),
        (csr(requests.CLIENT_KUBELET, "system:node:a", "system:nodes", "client auth"), ""),
        (csr(requests.CLIENT_KUBELET, "system:node:a", "others", "client auth"), "organization"),
        (csr(requests.CLIENT_KUBELET, "a", "system:nodes", "client auth"), "common name"),
        (csr(requests.CLIENT_KUBELET, "system:node:a", "system:nodes", "client auth", dns="a"), "not allowed"),
        (csr(requests.KUBELET_SERVING, "system:node:a", "system:nodes", "server auth", dns="a"), ""),
        (csr(requests.KUBELET_SERVING, "system:node:a", "system:nodes", "server auth"), "required"),
    ],
)
def test_signers_are_choosy(request_: dict[str, Any], why: str):
    asked = requests.read(request_)
    if not why:
        requests.check(request_, asked)
        return
    with pytest.raises(requests.Refused, match=why):
        requests.check(request_, asked)


def test_old_requests_go():
    one = {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "status": {}}
    assert keep_until(one) == parse_rfc3339("2026-01-02T00:00:00Z")
    denied = {"type": "Denied", "status": "True", "lastUpdateTime": "2026-01-01T01:00:00Z"}
    assert keep_until({**one, "status": {"conditions": [denied]}}) == parse_rfc3339("2026-01-01T02:00:00Z")


async def test_a_bootstrapping_kubelet_gets_its_certificate(tmp_path: Path):
    async with live(tmp_path) as house:
        joining = house.client("system:node:n1", "system:nodes", "system:authenticated")
        names = ",".join(f"certificatesigningrequest-{n}-controller" for n in ("approving", "signing", "cleaner"))
        async with house.controllers(only=names):
            wanted = csr(
                requests.CLIENT_KUBELET, "system:node:n1", "system:nodes", "client auth", expirationSeconds=600
            )
            role = {
                "metadata": {"name": "renew"},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
                },
                "subjects": [{"kind": "Group", "name": "system:nodes", "apiGroup": "rbac.authorization.k8s.io"}],
            }
            await house.admin.create(CLUSTERROLEBINDINGS, role)
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
