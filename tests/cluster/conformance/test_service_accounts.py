"""Service accounts, their tokens, and who may do what with them."""

from __future__ import annotations

import jwt
import pytest
from tests.cluster.conformance.api import Refused, refused
from tests.cluster.conformance.objects import container, pod, running
from tests.waiting import eventually

MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


@pytest.fixture
def accounts(api, ns):
    return api.at("v1", "serviceaccounts", ns)


@pytest.mark.conformance(
    "[sig-auth] ServiceAccounts should run through the lifecycle of a ServiceAccount [Conformance]"
)
def test_lifecycle(accounts, ns):
    label = f"test-serviceaccount-static={ns}"
    with accounts.watch(label) as watch:
        accounts.create({"metadata": {"name": "testserviceaccount", "labels": {"test-serviceaccount-static": ns}}})
        assert watch.until("ADDED")["metadata"]["name"] == "testserviceaccount"
        patched = accounts.patch("testserviceaccount", {"automountServiceAccountToken": False})
        assert patched["automountServiceAccountToken"] is False
        watch.until("MODIFIED", lambda o: o.get("automountServiceAccountToken") is False)
        [listed] = accounts.everywhere().items(label)
        assert listed["automountServiceAccountToken"] is False
        accounts.delete_all(label)
        watch.until("DELETED")
    assert accounts.everywhere().items(label) == []


@pytest.mark.conformance("[sig-auth] ServiceAccounts should update a ServiceAccount [Conformance]")
def test_update(accounts):
    accounts.create({"metadata": {"name": "e2e-sa"}})
    updated = accounts.edit("e2e-sa", lambda o: o.update(automountServiceAccountToken=True))
    assert updated["automountServiceAccountToken"] is True
    assert accounts.get("e2e-sa")["automountServiceAccountToken"] is True


def token(accounts, name: str, **spec) -> str:
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    answer = accounts.api.ask("POST", f"{accounts.path}/{name}/token", request)
    assert answer["status"]["expirationTimestamp"]
    return answer["status"]["token"]


@pytest.mark.conformance(
    "[sig-auth] ServiceAccounts should create a serviceAccountToken and ensure a successful TokenReview [Conformance]"
)
def test_token_review(api, accounts, ns):
    accounts.create({"metadata": {"name": "e2e-sa"}})
    given = token(accounts, "e2e-sa")
    assert given
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": given}}
    status = api.ask("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)["status"]
    assert status["authenticated"] is True and not status.get("error")
    assert status["user"]["username"] == f"system:serviceaccount:{ns}:e2e-sa"
    assert f"system:serviceaccounts:{ns}" in status["user"]["groups"]


@pytest.mark.conformance("[sig-auth] SubjectReview should support SubjectReview API operations [Conformance]")
def test_subject_reviews(api, accounts, ns):
    version = "authorization.k8s.io/v1"
    accounts.create({"metadata": {"name": "e2e"}})
    user = f"system:serviceaccount:{ns}:e2e"

    def call_allowed() -> bool:
        with api.acting(User=user) as impersonated:
            try:
                impersonated.get(f"/api/v1/namespaces/{ns}/pods")
            except Refused as error:
                assert error.code == 403 and error.reason == "Forbidden"
                return False
            return True

    def reviews() -> list[bool]:
        attributes = {"verb": "list", "resource": "pods", "namespace": ns, "version": "v1"}
        spec = {"user": user, "resourceAttributes": attributes}
        subject = {"apiVersion": version, "kind": "SubjectAccessReview", "spec": spec}
        local = {**subject, "kind": "LocalSubjectAccessReview", "metadata": {"namespace": ns}}
        return [
            api.ask("POST", f"/apis/{version}/subjectaccessreviews", subject)["status"]["allowed"],
            api.ask("POST", f"/apis/{version}/namespaces/{ns}/localsubjectaccessreviews", local)["status"]["allowed"],
        ]

    assert reviews() == [False, False] == [call_allowed()] * 2
    subjects = [{"kind": "ServiceAccount", "name": "e2e", "namespace": ns}]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    bindings = api.at("rbac.authorization.k8s.io/v1", "rolebindings", ns)
    bindings.create({"metadata": {"name": "e2e"}, "subjects": subjects, "roleRef": role})
    eventually(lambda: reviews() == [True, True] and call_allowed(), "the role counts", 5)


@pytest.mark.conformance(
    "[sig-auth] ServiceAccounts should guarantee kube-root-ca.crt exist in any namespace [Conformance]"
)
def test_root_ca(api, ns):
    maps, name = api.at("v1", "configmaps", ns), "kube-root-ca.crt"

    def right() -> bool:
        found = maps.find(name)
        return bool(found) and found["data"] == {"ca.crt": api.ca} and "deletionTimestamp" not in found["metadata"]

    eventually(right, "it is created")
    before = maps.get(name)["metadata"]["uid"]
    maps.delete(name)
    eventually(lambda: right() and maps.get(name)["metadata"]["uid"] != before, "it is made again")
    maps.edit(name, lambda o: o.update(data={"ca.crt": ""}))
    eventually(right, "it is put right")


@pytest.mark.conformance("[sig-auth] ServiceAccounts should allow opting out of API token automount [Conformance]")
def test_opting_out(api, accounts, ns):
    pods = api.pods(ns)
    for account in (None, True, False):
        name = f"account-{account}".lower()
        body = {"metadata": {"name": name}}
        accounts.create(body if account is None else {**body, "automountServiceAccountToken": account})
        for spec in (None, True, False):
            asked = pod(f"{name}-{spec}".lower(), serviceAccountName=name, nodeSelector={"no": "node"})
            if spec is not None:
                asked["spec"]["automountServiceAccountToken"] = spec
            made = pods.create(asked)
            mounts = [m["mountPath"] for m in made["spec"]["containers"][0].get("volumeMounts", [])]
            wanted = account is not False if spec is None else spec
            assert (MOUNT in mounts) is wanted, (account, spec)


def read(api, ns: str, name: str, path: str) -> str:
    """A file of a pod by its web server, which serves the root directory."""
    return api.ask("GET", f"/api/v1/namespaces/{ns}/pods/{name}:8080/proxy{path}")


SERVE_ROOT = container(command=["/bin/catatonit", "--", "/bin/httpd", "-f", "-p", "8080", "-h", "/"])


@pytest.mark.conformance("[sig-auth] ServiceAccounts should mount an API token into pods [Conformance]")
def test_mounted(api, accounts, ns):
    pods = api.pods(ns)
    accounts.create({"metadata": {"name": "mount-test"}})
    pods.create(pod("reader", SERVE_ROOT, serviceAccountName="mount-test"))
    eventually(lambda: running(pods.get("reader")), "the pod runs")
    given = eventually(lambda: _or_none(lambda: read(api, ns, "reader", f"{MOUNT}/token")), "the token", 10)
    assert read(api, ns, "reader", f"{MOUNT}/ca.crt") == api.ca
    assert read(api, ns, "reader", f"{MOUNT}/namespace") == ns
    with api.bearing(given) as inside:
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        user = inside.ask("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)["status"]["userInfo"]
    assert user["username"] == f"system:serviceaccount:{ns}:mount-test"
    assert user["extra"]["authentication.kubernetes.io/pod-name"] == ["reader"]


def _or_none(function):
    try:
        return function()
    except Refused:
        return None


@pytest.mark.conformance("[sig-auth] ServiceAccounts should mount projected service account token [Conformance]")
def test_projected(api, ns):
    pods = api.pods(ns)
    projection = {"serviceAccountToken": {"path": "my-token", "expirationSeconds": 600, "audience": "somebody"}}
    mounted = {**SERVE_ROOT, "volumeMounts": [{"name": "token", "mountPath": "/projected"}]}
    volume = {"name": "token", "projected": {"sources": [projection]}}
    pods.create(pod("projected", mounted, volumes=[volume]))
    eventually(lambda: running(pods.get("projected")), "the pod runs")
    given = eventually(lambda: _or_none(lambda: read(api, ns, "projected", "/projected/my-token")), "the token", 10)

    def reviewed(audience: str):
        spec = {"token": given, "audiences": [audience]}
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        return api.ask("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)["status"]

    assert reviewed("somebody")["authenticated"] is True
    assert not reviewed("another").get("authenticated")
    with api.bearing(given) as outsider, refused(401, "Unauthorized"):
        outsider.get("/api/v1/namespaces/default/pods")


@pytest.mark.conformance(
    "[sig-auth] ServiceAccounts ServiceAccountIssuerDiscovery should support OIDC discovery of service account issuer "
    "[Conformance]"
)
def test_issuer_discovery(api, accounts, ns):
    """What a verifier does: from the token's issuer to the keys, and the token verifies with them."""

    accounts.create({"metadata": {"name": "verifier"}})
    given = token(accounts, "verifier", audiences=["oidc-discovery-test"])
    # With nothing but the account's own token: every service account may read these documents.
    with api.bearing(token(accounts, "verifier")) as inside:
        document = inside.call("GET", "/.well-known/openid-configuration")
        keys = inside.call("GET", "/openid/v1/jwks")
    assert document.headers["Content-Type"] == "application/json"
    assert keys.headers["Content-Type"] == "application/jwk-set+json"
    found = document.json()
    header, claims = jwt.get_unverified_header(given), jwt.decode(given, options={"verify_signature": False})
    assert found["issuer"] == claims["iss"]
    assert found["jwks_uri"].endswith("/openid/v1/jwks")
    [key] = [k for k in keys.json()["keys"] if k["kid"] == header["kid"]]
    assert header["alg"] in found["id_token_signing_alg_values_supported"]
    verified = jwt.decode(
        given,
        jwt.PyJWK(key).key,
        algorithms=[header["alg"]],
        audience="oidc-discovery-test",
        issuer=found["issuer"],
    )
    assert verified["sub"] == f"system:serviceaccount:{ns}:verifier"
    assert verified["kubernetes.io"]["namespace"] == ns
