"""Tokens, bootstrap tokens and certificate requests in all the states that people bring them into."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from tests.controllers.live import Live, live
from tests.controllers.test_identity import NODE, NODES, condition, csr
from tests.waiting import until

from shirube.api.gvr import CONFIGMAPS, NAMESPACES, SECRETS, SERVICEACCOUNTS
from shirube.controllers import bootstrap_tokens
from shirube.controllers import certificate_request as requests
from shirube.controllers.bootstrap_tokens import detached_signature
from shirube.controllers.certificate_signing import to_sign
from shirube.foundation.clock import rfc3339

NOW = 1_800_000_000.0


def encoded(**values: str) -> dict[str, str]:
    return {key.replace("_", "."): base64.b64encode(value.encode()).decode() for key, value in values.items()}


# -- accounts and their tokens ---------------------------------------------------------------------------------


async def test_every_namespace_has_its_account_again_and_again(tmp_path: Path):
    async with live(tmp_path) as house, house.controllers(only="serviceaccount-controller"):
        await house.admin.create(NAMESPACES, {"metadata": {"name": "team"}})

        async def there() -> str:
            found = (await house.admin.list(SERVICEACCOUNTS, "team"))["items"]
            return found[0]["metadata"]["uid"] if found else ""

        first = await until(there, 10)
        await house.admin.create(SERVICEACCOUNTS, {"metadata": {"name": "other"}}, "team")
        await house.admin.delete(SERVICEACCOUNTS, "other", "team")
        await house.admin.delete(SERVICEACCOUNTS, "default", "team")

        async def again() -> bool:
            return (await there()) not in ("", first)

        await until(again, 10)


@pytest.mark.parametrize(
    ("given", "namespace"),
    [
        ({}, "default"),
        (encoded(ca_crt="of another cluster"), "default"),
        (encoded(namespace="elsewhere"), "elsewhere"),
        (encoded(namespace="elsewhere", extra="1"), "elsewhere"),
    ],
)
async def test_what_a_token_secret_lacks_is_filled_in(tmp_path: Path, given: dict[str, str], namespace: str):
    """A namespace that is there was meant; another cluster's CA was not."""
    async with live(tmp_path) as house, house.controllers(only="serviceaccount-token-controller"):
        await house.admin.create(SERVICEACCOUNTS, {"metadata": {"name": "bot"}}, "default")
        metadata = {"name": "bot-token", "annotations": {"kubernetes.io/service-account.name": "bot"}}
        secret = {"metadata": metadata, "type": "kubernetes.io/service-account-token", "data": given}
        await house.admin.create(SECRETS, secret, "default")

        async def filled() -> dict[str, str] | None:
            data = (await house.admin.get(SECRETS, "bot-token", "default")).get("data") or {}
            return data if data.get("token") else None

        data = await until(filled, 10)
        assert base64.b64decode(data["ca.crt"]).decode() == house.root_ca.read_text()
        assert base64.b64decode(data["namespace"]).decode() == namespace
        assert data.keys() == {*given, "token", "ca.crt", "namespace"}


async def test_only_tokens_go_with_their_account(tmp_path: Path):
    """Not those of an account of the same name that came later, nor what only looks like one."""
    async with live(tmp_path) as house, house.controllers(only="serviceaccount-token-controller"):
        admin = house.admin
        account = await admin.create(SERVICEACCOUNTS, {"metadata": {"name": "bot"}}, "default")
        named = {"kubernetes.io/service-account.name": "bot"}
        kind = "kubernetes.io/service-account-token"
        uid = "kubernetes.io/service-account.uid"

        async def make(name: str, type_: str, **annotations: str) -> None:
            secret = {"metadata": {"name": name, "annotations": {**named, **annotations}}, "type": type_}
            await admin.create(SECRETS, secret, "default")

        await make("opaque", "Opaque")
        await make("own", kind, **{uid: account["metadata"]["uid"]})
        await make("of-a-former", kind, **{uid: "another"})
        stranger = {"metadata": {"name": "stray", "annotations": {"kubernetes.io/service-account.name": "nobody"}}}
        await admin.create(SECRETS, {**stranger, "type": kind}, "default")

        def left(*names: str) -> Any:
            async def check() -> bool:
                return {s["metadata"]["name"] for s in (await admin.list(SECRETS, "default"))["items"]} == set(names)

            return check

        await until(left("opaque", "own"), 10)
        await admin.delete(SERVICEACCOUNTS, "bot", "default")
        await until(left("opaque"), 10)


# -- bootstrap tokens ------------------------------------------------------------------------------------------


def test_a_signature_is_what_others_make_of_it():
    """As kubeadm checks it."""
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"abc123"}').rstrip(b"=").decode()
    wanted = f"{header}..QSxpUG7Q542CirTI2ECPSZjvBOJURUW5a7XqFpNI958"
    assert detached_signature("payload", "abc123", "tokenSecret") == wanted


@pytest.mark.parametrize(
    ("expiration", "left"),
    [(None, None), ("", None), (rfc3339(NOW + 60), 60.0), (rfc3339(NOW - 60), -60.0), ("tomorrow", 0.0)],
)
def test_how_long_a_bootstrap_token_lives(expiration: str | None, left: float | None):
    secret = {"data": {} if expiration is None else encoded(expiration=expiration)}
    assert bootstrap_tokens.time_left(secret, NOW) == left


def bootstrap(name: str, **values: str) -> dict[str, Any]:
    said = {
        "token-id": name,
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-signing": "true",
        **{key.replace("_", "-"): value for key, value in values.items()},
    }
    return {
        "metadata": {"name": f"bootstrap-token-{name}"},
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {k: v for k, v in said.items() if v},
    }


async def signatures(house: Live) -> dict[str, str]:
    data = (await house.admin.get(CONFIGMAPS, "cluster-info", "kube-public"))["data"]
    return {key.removeprefix("jws-kubeconfig-"): value for key, value in data.items() if key != "kubeconfig"}


async def test_signatures_come_change_and_go(tmp_path: Path):
    """With their tokens, with what is signed; others' are taken away."""
    async with live(tmp_path) as house, house.controllers(only="bootstrap-signer-controller"):
        admin = house.admin
        await admin.create(SECRETS, bootstrap("early0"), "kube-system")  # before there is anything to sign
        data = {"kubeconfig": "one", "jws-kubeconfig-gone00": "old", "jws-kubeconfig-early0": "wrong"}
        await admin.create(CONFIGMAPS, {"metadata": {"name": "cluster-info"}, "data": data}, "kube-public")

        def are(content: str, *tokens: str) -> Any:
            wanted = {name: detached_signature(content, name, "0123456789abcdef") for name in tokens}

            async def check() -> bool:
                return await signatures(house) == wanted

            return check

        await until(are("one", "early0"), 10)
        await admin.create(SECRETS, bootstrap("mute00", usage_bootstrap_signing="false"), "kube-system")
        await admin.create(SECRETS, bootstrap("quiet0", usage_bootstrap_signing=""), "kube-system")
        await admin.create(SECRETS, {**bootstrap("opaque"), "type": "Opaque"}, "kube-system")
        await admin.create(SECRETS, bootstrap("away00"), "default")
        await admin.create(SECRETS, bootstrap("later0"), "kube-system")
        await until(are("one", "early0", "later0"), 10)
        await admin.patch(CONFIGMAPS, "cluster-info", {"data": {"kubeconfig": "two"}}, "kube-public")
        await until(are("two", "early0", "later0"), 10)
        await admin.delete(SECRETS, "bootstrap-token-early0", "kube-system")
        await until(are("two", "later0"), 10)


# -- certificate requests --------------------------------------------------------------------------------------

ENCIPHER = "key encipherment"


@pytest.mark.parametrize(
    ("request_", "username", "kubelets", "own"),
    [
        (csr(requests.CLIENT_KUBELET, NODE, NODES, "client auth", ENCIPHER), NODE, True, True),
        (csr(requests.CLIENT_KUBELET, NODE, NODES, "client auth"), NODE, True, True),
        (csr(requests.CLIENT_KUBELET, NODE, NODES, "client auth", ENCIPHER), "joe", True, False),
        (csr(requests.CLIENT_KUBELET, "system:node:b", NODES, "client auth", ENCIPHER), NODE, True, False),
        (csr(requests.CLIENT_KUBELET, "mike", NODES, "client auth", ENCIPHER), "mike", False, True),
        (csr(requests.CLIENT_KUBELET, NODE, "system:master", "client auth", ENCIPHER), NODE, False, True),
        (csr(requests.CLIENT_KUBELET, NODE, NODES, "client auth", "server auth", ENCIPHER), NODE, False, True),
        (csr(requests.CLIENT_KUBELET, NODE, NODES, ENCIPHER), NODE, False, True),
        (csr(requests.KUBELET_SERVING, NODE, NODES, "server auth", ENCIPHER, dns="a"), NODE, False, True),
        (csr(requests.LEGACY, NODE, NODES, "client auth", ENCIPHER), NODE, False, True),
    ],
)
def test_whose_request_it_is(request_: dict[str, Any], username: str, kubelets: bool, own: bool):
    request_["spec"]["username"] = username
    asked = requests.read(request_)
    assert (requests.is_kubelet_client(request_, asked), requests.is_own(request_, asked)) == (kubelets, own)


@pytest.mark.parametrize(
    ("signer", "status", "signed"),
    [
        (requests.CLIENT, {"conditions": [condition("Approved")]}, True),
        (requests.LEGACY, {"conditions": [condition("Approved")]}, True),
        (requests.KUBELET_SERVING, {}, False),
        (requests.CLIENT, {"conditions": [condition("Denied")]}, False),
        (requests.CLIENT, {"conditions": [condition("Approved"), condition("Failed")]}, False),
        (requests.CLIENT, {"conditions": [condition("Approved")], "certificate": "b3RoZXI="}, False),
        ("kubernetes.io/not-a-real-signer", {"conditions": [condition("Approved")]}, False),
        ("example.com/own", {"conditions": [condition("Approved")]}, False),
    ],
)
def test_what_is_signed(signer: str, status: dict[str, Any], signed: bool):
    assert to_sign({"spec": {"signerName": signer}, "status": status}) is signed
