"""Who may approve and sign certificate requests, and what nobody gets signed; on the real API server with RBAC."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.controllers.live import Live, live
from tests.controllers.test_identity import csr

from shirube.api.errors import ApiError
from shirube.api.gvr import CERTIFICATESIGNINGREQUESTS, CLUSTERROLEBINDINGS, CLUSTERROLES
from shirube.client.rest import Client
from shirube.controllers import certificate_request as requests

GROUP = "certificates.k8s.io"
SIGNER = "example.com/something"
APPROVED = {"type": "Approved", "status": "True", "reason": "Test", "message": "by hand"}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Live]:
    async with live(tmp_path) as house:
        yield house


async def anna(house: Live, verb: str, *signers: str) -> Client:
    """She may do this to requests to these signers, as far as the subresource goes to all."""
    rules = [
        {"apiGroups": [GROUP], "resources": ["signers"], "verbs": [verb], "resourceNames": list(signers)},
        {
            "apiGroups": [GROUP],
            "resources": ["certificatesigningrequests/approval", "certificatesigningrequests/status"],
            "verbs": ["update"],
        },
    ]
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "signers"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "anna"}
    await house.admin.create(CLUSTERROLES, {"metadata": {"name": "signers"}, "rules": rules})
    bound = {"metadata": {"name": "signers"}, "roleRef": reference, "subjects": [subject]}
    await house.admin.create(CLUSTERROLEBINDINGS, bound)
    return house.client("anna", "system:authenticated")


async def asked(house: Live, signer: str = SIGNER, organization: str = "team") -> dict[str, Any]:
    return await house.admin.create(CERTIFICATESIGNINGREQUESTS, csr(signer, "bob", organization, "client auth"))


@pytest.mark.parametrize(
    ("named", "allowed"),
    [
        (SIGNER, True),
        ("example.com/*", True),
        ("example.com/not-something", False),
        ("example.com/some*", False),
        ("*", False),
        ("other.com/*", False),
    ],
)
@pytest.mark.parametrize(("verb", "word"), [("approve", "approve"), ("sign", "sign")])
async def test_signers_are_named_in_full_or_by_their_domain(
    house: Live, named: str, allowed: bool, verb: str, word: str
):
    client = await anna(house, verb, named)
    one = await asked(house)
    if verb == "approve":
        body, subresource = {**one, "status": {"conditions": [APPROVED]}}, "approval"
    else:
        pem = base64.b64encode(house.root_ca.read_bytes()).decode()
        body, subresource = {**one, "status": {"certificate": pem}}, "status"
    try:
        await client.update(CERTIFICATESIGNINGREQUESTS, body, subresource=subresource)
        done = True
    except ApiError as error:
        done = False
        refused = f'user not permitted to {word} requests with signerName "{SIGNER}"'
        assert (error.code, error.message.partition("forbidden: ")[2]) == (403, refused)
    assert done is allowed


async def test_who_may_approve_may_not_sign(house: Live):
    client = await anna(house, "approve", SIGNER)
    one = await asked(house)
    approved = await client.update(
        CERTIFICATESIGNINGREQUESTS, {**one, "status": {"conditions": [APPROVED]}}, subresource="approval"
    )
    failed = {**APPROVED, "type": "Failed"}
    status = {"conditions": [*approved["status"]["conditions"], failed]}
    with pytest.raises(ApiError, match="not permitted to sign"):
        await client.update(CERTIFICATESIGNINGREQUESTS, {**approved, "status": status}, subresource="status")
    pem = base64.b64encode(house.root_ca.read_bytes()).decode()
    smuggled = {**approved, "status": {**approved["status"], "certificate": pem}}
    stored = await client.update(CERTIFICATESIGNINGREQUESTS, smuggled, subresource="approval")
    assert "certificate" not in stored["status"], "an approval changes conditions only"


@pytest.mark.parametrize(
    ("signer", "organization", "allowed"),
    [
        (requests.CLIENT, "system:masters", False),
        (requests.CLIENT, "system:notmasters", True),
        (SIGNER, "system:masters", True),
    ],
)
async def test_the_client_signer_makes_no_masters(house: Live, signer: str, organization: str, allowed: bool):
    try:
        await asked(house, signer, organization)
        done = True
    except ApiError as error:
        done = False
        assert error.message.endswith(f"use of {requests.CLIENT} signer with system:masters group is not allowed")
    assert done is allowed


async def test_who_asks_is_what_the_server_saw(house: Live):
    """Not what the request says; and it is found by its signer."""
    forged = {**csr(SIGNER, "bob", "team", "client auth")}
    forged["spec"] |= {"username": "root", "groups": ["system:masters"], "uid": "1", "extra": {"a": ["b"]}}
    made = await house.admin.create(CERTIFICATESIGNINGREQUESTS, forged)
    spec = made["spec"]
    assert (spec["username"], spec.get("uid"), "a" in spec.get("extra", {})) == ("kubernetes-admin", None, False)
    assert spec["groups"] == ["system:masters", "system:authenticated"]
    found = await house.admin.list(CERTIFICATESIGNINGREQUESTS, field_selector=f"spec.signerName={SIGNER}")
    other = await house.admin.list(CERTIFICATESIGNINGREQUESTS, field_selector=f"spec.signerName={requests.CLIENT}")
    assert ([c["metadata"]["name"] for c in found["items"]], other["items"]) == (["r"], [])
