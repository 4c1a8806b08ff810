"""Nodes editing foreign objects or restricted labels (as in CVE-2021-25735 and CVE-2025-5187): a node agent whose
credentials are stolen reaches its own node's things and no others.

Through the whole server: the node authoriser, NodeRestriction and RBAC together.
"""

from __future__ import annotations

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.apiserver.conftest import PODS, pod
from tests.apiserver.flaws.conftest import allow

N1 = "system:node:n1"
NS = "/api/v1/namespaces/default"
NODES = "/api/v1/nodes"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
CSI = "/apis/storage.k8s.io/v1/csinodes"
SLICES = "/apis/resource.k8s.io/v1/resourceslices"
MERGE = "application/merge-patch+json"


def lease(name):
    return {"metadata": {"name": name}, "spec": {"holderIdentity": name, "leaseDurationSeconds": 40}}


def slice_of(name, node):
    pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
    return {"metadata": {"name": name}, "spec": {"driver": "d.example.com", "nodeName": node, "pool": pool}}


@pytest.fixture
async def nodes(world):
    """Two nodes with a pod each, which uses a secret, a config map, a claim and an account of its own."""
    for n in ("1", "2"):
        await world.ok("POST", NODES, {"metadata": {"name": f"n{n}"}})
        await world.ok("POST", f"{NS}/secrets", {"metadata": {"name": f"secret{n}"}})
        await world.ok("POST", f"{NS}/configmaps", {"metadata": {"name": f"config{n}"}})
        await world.ok("POST", f"{NS}/serviceaccounts", {"metadata": {"name": f"account{n}"}})
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        await world.ok("POST", f"{NS}/persistentvolumeclaims", {"metadata": {"name": f"claim{n}"}, "spec": claim})
        volumes = [
            {"name": "s", "secret": {"secretName": f"secret{n}"}},
            {"name": "c", "configMap": {"name": f"config{n}"}},
            {"name": "p", "persistentVolumeClaim": {"claimName": f"claim{n}"}},
            {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
        ]
        spec = {"nodeName": f"n{n}", "volumes": volumes, "serviceAccountName": f"account{n}"}
        await world.ok("POST", PODS, pod(f"pod{n}", **spec))
        await world.ok("POST", LEASES, lease(f"n{n}"))
        await world.ok("POST", CSI, {"metadata": {"name": f"n{n}"}, "spec": {"drivers": []}})
        await world.ok("POST", SLICES, slice_of(f"slice{n}", f"n{n}"))
    await world.ok("POST", f"{NS}/secrets", {"metadata": {"name": "nobodys"}})
    return world


OWN = [
    ("GET", f"{NODES}/n1"),
    ("GET", f"{NS}/secrets/secret1"),
    ("GET", f"{NS}/configmaps/config1"),
    ("GET", f"{NS}/persistentvolumeclaims/claim1"),
    ("GET", f"{PODS}/pod1"),
    ("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1"),
    ("GET", f"{LEASES}/n1"),
    ("GET", f"{CSI}/n1"),
    ("GET", f"{SLICES}/slice1"),
    ("GET", f"{SLICES}?fieldSelector=spec.nodeName%3Dn1"),
    ("GET", "/api/v1/services"),
]


async def test_what_is_its_own_it_may(nodes):
    for method, target in OWN:
        answer = await nodes.call(method, target, x_test_user=N1)
        assert answer.status == 200, (target, answer.raw)


FOREIGN = [
    ("GET", f"{NODES}/n2", None),
    ("GET", NODES, None),
    ("PATCH", f"{NODES}/n2", {"metadata": {"labels": {"a": "b"}}}),
    ("PATCH", f"{NODES}/n2/status", {"status": {"phase": "x"}}),
    ("DELETE", f"{NODES}/n2", None),
    ("DELETE", f"{NODES}/n1", None),
    ("POST", NODES, {"metadata": {"name": "n3"}}),
    ("GET", f"{NS}/secrets/secret2", None),
    ("GET", f"{NS}/secrets/nobodys", None),
    ("GET", f"{NS}/secrets", None),
    ("GET", "/api/v1/secrets", None),
    ("GET", f"{NS}/secrets?fieldSelector=metadata.name%3Dsecret2", None),
    ("GET", f"{NS}/secrets?fieldSelector=metadata.name%3Dsecret1,metadata.name%3Dsecret2", "either"),
    ("POST", f"{NS}/secrets", {"metadata": {"name": "made"}}),
    ("PATCH", f"{NS}/secrets/secret1", {"data": {}}),
    ("DELETE", f"{NS}/secrets/secret1", None),
    ("GET", f"{NS}/configmaps/config2", None),
    ("GET", f"{NS}/configmaps", None),
    ("PATCH", f"{NS}/configmaps/config1", {"data": {}}),
    ("GET", f"{NS}/persistentvolumeclaims/claim2", None),
    ("PATCH", f"{NS}/persistentvolumeclaims/claim1", {"metadata": {"labels": {"a": "b"}}}),
    ("PATCH", f"{NS}/persistentvolumeclaims/claim2/status", {"status": {"capacity": {"storage": "2Gi"}}}),
    ("GET", f"{PODS}/pod2", None),
    ("GET", PODS, None),
    ("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn2", None),
    ("GET", "/api/v1/pods?fieldSelector=spec.nodeName!%3Dn1", None),
    ("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1&fieldSelector=spec.nodeName%3Dn2", "either"),
    ("PATCH", f"{PODS}/pod2/status", {"status": {"phase": "Failed"}}),
    ("PATCH", f"{PODS}/pod1", {"metadata": {"labels": {"a": "b"}}}),
    ("PATCH", f"{PODS}/pod1/status", {"metadata": {"labels": {"a": "b"}}}),
    ("DELETE", f"{PODS}/pod2", None),
    ("POST", f"{PODS}/pod2/eviction", {"metadata": {"name": "pod2", "namespace": "default"}}),
    ("POST", f"{PODS}/pod1/exec?command=id", None),
    ("POST", f"{PODS}/pod1/binding", {"target": {"kind": "Node", "name": "n1"}}),
    ("POST", PODS, pod("made", nodeName="n1")),
    ("PATCH", f"{LEASES}/n2", {"spec": {"holderIdentity": "n1"}}),
    ("POST", LEASES, lease("n3")),
    ("DELETE", f"{LEASES}/n2", None),
    ("POST", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases", lease("n1")),
    ("PATCH", f"{CSI}/n2", {"metadata": {"labels": {"a": "b"}}}),
    ("POST", CSI, {"metadata": {"name": "n3"}, "spec": {"drivers": []}}),
    ("GET", f"{SLICES}/slice2", None),
    ("GET", SLICES, None),
    ("POST", SLICES, slice_of("made", "n2")),
    ("PATCH", f"{SLICES}/slice2", {"metadata": {"labels": {"a": "b"}}}),
    ("PATCH", f"{SLICES}/slice1", {"spec": {"nodeName": "n2"}}),
    ("DELETE", f"{SLICES}/slice2", None),
    ("GET", f"{NS}/serviceaccounts/account2", None),
    ("POST", f"{NS}/serviceaccounts/account2/token", {"spec": {}}),
    ("POST", f"{NS}/serviceaccounts/account1/token", {"spec": {}}),
    ("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles", None),
    ("POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests/x/approval", {}),
    ("GET", f"{NODES}/n2/proxy/pods", None),
]


async def test_what_is_not_it_may_not(nodes):
    for method, target, body in FOREIGN:
        shown = (method, target)
        before = await nodes.context.storage.current_revision()
        kind = MERGE if method == "PATCH" else "application/json"
        answer = await nodes.call(method, target, None if body == "either" else body, x_test_user=N1, content_type=kind)
        if body == "either":  # what is authorised by the first term or parameter is selected by all
            found = [item["metadata"]["name"] for item in answer.json.get("items", ())]
            assert answer.status == 403 or found in (["pod1"], []), shown
            continue
        assert answer.status in (403, 404, 405, 422), (shown, answer.raw)
        assert await nodes.context.storage.current_revision() == before, shown


async def test_tokens_are_for_pods_of_the_node(nodes):
    account = f"{NS}/serviceaccounts/account1/token"
    uid = {n: (await nodes.ok("GET", f"{PODS}/pod{n}"))["metadata"]["uid"] for n in ("1", "2")}

    def bound(n, uid):
        return {"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": f"pod{n}", "uid": uid}}}

    assert (await nodes.post(account, bound("1", uid["1"]), x_test_user=N1)).status == 201
    for body in (bound("2", uid["2"]), bound("1", uid["2"]), bound("1", ""), bound("3", "x")):
        assert (await nodes.post(account, body, x_test_user=N1)).status == 403
    secret = {"apiVersion": "v1", "kind": "Secret", "name": "secret1"}
    assert (await nodes.post(account, {"spec": {"boundObjectRef": secret}}, x_test_user=N1)).status == 403


async def test_tokens_are_for_audiences_that_the_pod_uses(nodes):
    account = f"{NS}/serviceaccounts/account1/token"
    sources = [{"serviceAccountToken": {"path": "t", "audience": "vault"}}, {"serviceAccountToken": {"path": "u"}}]
    spec = {"nodeName": "n1", "serviceAccountName": "account1"}
    made = await nodes.ok(
        "POST", PODS, pod("asking", volumes=[{"name": "v", "projected": {"sources": sources}}], **spec)
    )
    plain = await nodes.ok("POST", PODS, pod("plain", volumes=[], **spec))

    async def status(bound, *audiences):
        ref = {"apiVersion": "v1", "kind": "Pod", "name": bound["metadata"]["name"], "uid": bound["metadata"]["uid"]}
        body = {"spec": {"boundObjectRef": ref, "audiences": list(audiences)}}
        return (await nodes.post(account, body, x_test_user=N1)).status

    assert await status(made, "vault") == await status(made) == 201
    assert await status(made, "other") == await status(plain, "vault") == await status(plain) == 403
    assert await status(made, "vault", "other") == 403
    # a role may allow more
    rules = [{"apiGroups": [""], "resources": ["other"], "verbs": ["request-serviceaccounts-token-audience"]}]
    await allow(nodes, N1, rules)
    assert await status(made, "other") == 201


def request_for(name: str) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()


async def test_certificates_are_for_the_node_itself(nodes):
    target = "/apis/certificates.k8s.io/v1/certificatesigningrequests"

    async def status(name, signer, usages):
        spec = {"request": request_for(name), "signerName": signer, "usages": usages}
        return (await nodes.post(target, {"metadata": {"generateName": "c-"}, "spec": spec}, x_test_user=N1)).status

    client = ("kubernetes.io/kube-apiserver-client-kubelet", ["digital signature", "client auth"])
    serving = ("kubernetes.io/kubelet-serving", ["digital signature", "server auth"])
    for signer, usages in (client, serving):
        assert await status("system:node:n1", signer, usages) == 201
        assert await status("system:node:n2", signer, usages) == 403
        assert await status("admin", signer, usages) == 403
    assert await status("anybody", "example.com/signer", ["client auth"]) == 201


async def test_reviews_know_what_a_selector_narrows(nodes):
    review = "/apis/authorization.k8s.io/v1/subjectaccessreviews"

    async def allowed(*requirements, **more):
        about = {"verb": "list", "resource": "pods", **more}
        if requirements:
            about["fieldSelector"] = {"requirements": list(requirements)}
        spec = {"user": N1, "groups": ["system:nodes"], "resourceAttributes": about}
        return (await nodes.ok("POST", review, {"spec": spec}))["status"]["allowed"]

    own = {"key": "spec.nodeName", "operator": "In", "values": ["n1"]}
    assert await allowed(own)
    assert not await allowed()
    assert not await allowed({**own, "operator": "NotIn"})
    assert not await allowed({**own, "values": ["n2"]})
    assert not await allowed({**own, "values": ["n1", "n2"]})
    assert not await allowed({**own, "values": ["n1,spec.x=y"]})
    assert await allowed(fieldSelector={"rawSelector": "spec.nodeName=n1"})


LABELS = [
    ("node-restriction.kubernetes.io/team", False),
    ("sub.node-restriction.kubernetes.io/team", False),
    ("node-role.kubernetes.io/control-plane", False),
    ("example.kubernetes.io/x", False),
    ("k8s.io/x", False),
    ("deep.k8s.io/x", False),
    ("kubernetes.io/hostname", True),
    ("topology.kubernetes.io/zone", True),
    ("node.kubernetes.io/x", True),
    ("x.kubelet.kubernetes.io/y", True),
    ("example.com/x", True),
    ("plain", True),
    ("kubernetes.io.example.com/x", True),
]


async def test_labels(nodes):
    for label, allowed in LABELS:
        labels = {"metadata": {"labels": {label: "v"}}}
        for target in (f"{NODES}/n1", f"{NODES}/n1/status"):
            answer = await nodes.patch(target, labels, x_test_user=N1)
            assert answer.status == (200 if allowed else 403), (label, answer.raw)
        # nor may one that is there be taken away
        await nodes.patch(f"{NODES}/n1", labels)
        answer = await nodes.patch(f"{NODES}/n1", {"metadata": {"labels": {label: None}}}, x_test_user=N1)
        assert answer.status == (200 if allowed else 403), (label, answer.raw)


async def test_labels_of_a_node_that_registers(world):
    body = {"metadata": {"name": "n1", "labels": {"node-restriction.kubernetes.io/x": "y"}}}
    assert (await world.post(NODES, body, x_test_user=N1)).status == 403
    body["metadata"]["labels"] = {"kubernetes.io/os": "linux"}
    assert (await world.post(NODES, body, x_test_user=N1)).status == 201


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}},
        {"spec": {"taints": None}},
        {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "1"}]}},
    ],
)
async def test_taints_and_owners(nodes, change):
    for kind in ("merge-patch+json", "strategic-merge-patch+json"):
        answer = await nodes.patch(f"{NODES}/n1", change, kind=kind, x_test_user=N1)
        assert answer.status in (403, 422), answer.raw
    node = await nodes.ok("GET", f"{NODES}/n1")
    assert node["spec"]["taints"] and not node["metadata"].get("ownerReferences")


async def test_mirror_pods_open_nothing(nodes):
    node = await nodes.ok("GET", f"{NODES}/n1")
    owner = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": node["metadata"]["uid"], "controller": True}
    mirror = pod("mirror", nodeName="n1")
    mirror["metadata"] |= {"annotations": {"kubernetes.io/config.mirror": "x"}, "ownerReferences": [owner]}
    assert (await nodes.post(PODS, mirror, x_test_user=N1)).status == 201
    for more in (
        {"volumes": [{"name": "v", "secret": {"secretName": "secret2"}}]},
        {"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "secret2"}}]}}]},
        {"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]},
        {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "claim2"}}]},
        {"serviceAccountName": "account2"},
        {"imagePullSecrets": [{"name": "secret2"}]},
        {"initContainers": [{"name": "i", "image": "i", "envFrom": [{"secretRef": {"name": "secret2"}}]}]},
        {"nodeName": "n2"},
        {"resourceClaims": [{"name": "c", "resourceClaimName": "x"}]},
    ):
        bad = pod("mirror2", **{"nodeName": "n1", **more})
        bad["metadata"] |= {"annotations": {"kubernetes.io/config.mirror": "x"}, "ownerReferences": [owner]}
        answer = await nodes.post(PODS, bad, x_test_user=N1)
        assert answer.status in (403, 422), (more, answer.raw)
    assert (await nodes.get(f"{NS}/secrets/secret2", x_test_user=N1)).status == 403


@pytest.mark.parametrize("name", ["system:node:", "system:nodes", "system:node:n1 ", "SYSTEM:NODE:n1"])
async def test_near_names_are_no_nodes(nodes, name):
    from shirube.apiserver.user import User

    nodes.context.authenticator.users[name] = User(name, groups=("system:nodes", "system:authenticated"))
    assert (await nodes.get(f"{NS}/secrets/secret1", x_test_user=name)).status == 403
    assert (await nodes.get(f"{NODES}/n1", x_test_user=name)).status == 403
