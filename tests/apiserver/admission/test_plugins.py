"""Admission as a client meets it: requests to a whole server, plugin by plugin."""

from __future__ import annotations

import asyncio

import pytest

from shirube.apiserver.admission import PLUGINS
from shirube.apiserver.user import User

NS = "/api/v1/namespaces/default"
PODS = f"{NS}/pods"
MERGE = "application/merge-patch+json"
TOLERATION = {"effect": "NoExecute", "operator": "Exists", "tolerationSeconds": 300}


def pod(name, **spec):
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


def as_node(api, name):
    api.context.authenticator.user = User(f"system:node:{name}", groups=("system:nodes", "system:authenticated"))


def as_user(api, name):
    api.context.authenticator.user = User(name, groups=("system:authenticated",))


def as_admin(api):
    api.context.authenticator.user = User("admin", groups=("system:masters", "system:authenticated"))


def test_order_is_upstreams():
    order = [
        "NamespaceLifecycle",
        "LimitRanger",
        "ServiceAccount",
        "NodeRestriction",
        "TaintNodesByCondition",
        "PodSecurity",
        "Priority",
        "DefaultTolerationSeconds",
        "DefaultStorageClass",
        "StorageObjectInUseProtection",
        "PersistentVolumeClaimResize",
        "RuntimeClass",
        "CertificateApproval",
        "CertificateSigning",
        "ClusterTrustBundleAttest",
        "CertificateSubjectRestriction",
        "DefaultIngressClass",
        "PodTopologyLabels",
        "NodeDeclaredFeatureValidator",
        "PodResizeValidator",
        "MutatingAdmissionPolicy",
        "MutatingAdmissionWebhook",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionWebhook",
        "ResourceQuota",
    ]
    ours = ("OwnerReferences", "RbacEscalation", "DeviceAdminAccess", "ResourceClaimStatus", "AdmissionExpressions")
    assert [p.name for p in PLUGINS if p.name not in ours] == order


# -- namespaces ---------------------------------------------------------------------------------------------


async def test_no_namespace_no_object(pods):
    answer = await pods.post("/api/v1/namespaces/none/configmaps", {"metadata": {"name": "x"}})
    assert (answer.status, answer.message) == (404, 'namespaces "none" not found')


async def test_nothing_new_where_everything_goes(pods):
    await pods.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "going"}})
    await pods.ok("DELETE", "/api/v1/namespaces/going")
    answer = await pods.post("/api/v1/namespaces/going/configmaps", {"metadata": {"name": "x"}})
    assert answer.status == 403
    assert answer.message == (
        'configmaps "x" is forbidden: unable to create new content in namespace going because it is being terminated'
    )
    assert answer.json["details"]["causes"] == [
        {
            "reason": "NamespaceTerminating",
            "message": "namespace going is being terminated",
            "field": "metadata.namespace",
        }
    ]


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
async def test_immortal_namespaces(pods, name):
    answer = await pods.delete(f"/api/v1/namespaces/{name}")
    assert answer.status == 403
    assert answer.message == f'namespaces "{name}" is forbidden: this namespace may not be deleted'


# -- service accounts ---------------------------------------------------------------------------------------


async def test_token_volume(pods):
    made = (await pods.ok("POST", PODS, pod("p", initContainers=[{"name": "i", "image": "i"}])))["spec"]
    assert made["serviceAccountName"] == "default"
    (volume,) = made["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    assert volume["projected"] == {
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"items": [{"key": "ca.crt", "path": "ca.crt"}], "name": "kube-root-ca.crt"}},
            {
                "downwardAPI": {
                    "items": [
                        {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
                    ]
                }
            },
        ],
    }
    mount = {
        "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
        "name": volume["name"],
        "readOnly": True,
    }
    assert made["containers"][0]["volumeMounts"] == [mount]
    assert made["initContainers"][0]["volumeMounts"] == [mount]


async def test_who_does_not_want_a_token_gets_none(pods):
    await pods.ok("POST", f"{NS}/serviceaccounts", {"metadata": {"name": "shy"}, "automountServiceAccountToken": False})
    assert "volumes" not in (await pods.ok("POST", PODS, pod("a", automountServiceAccountToken=False)))["spec"]
    assert "volumes" not in (await pods.ok("POST", PODS, pod("b", serviceAccountName="shy")))["spec"]
    wanted = pod("c", serviceAccountName="shy", automountServiceAccountToken=True)
    assert (await pods.ok("POST", PODS, wanted))["spec"]["volumes"]


async def test_pull_secrets_come_from_the_account(pods):
    account = {"metadata": {"name": "puller"}, "imagePullSecrets": [{"name": "registry"}]}
    await pods.ok("POST", f"{NS}/serviceaccounts", account)
    made = await pods.ok("POST", PODS, pod("p", serviceAccountName="puller"))
    assert made["spec"]["imagePullSecrets"] == [{"name": "registry"}]


async def test_no_account_no_pod(pods):
    answer = await pods.post(PODS, pod("p", serviceAccountName="ghost"))
    assert answer.status == 403
    assert answer.message == (
        'pods "p" is forbidden: error looking up service account default/ghost: serviceaccount "ghost" not found'
    )


# -- priority, tolerations, nodes ---------------------------------------------------------------------------


async def test_priority(pods):
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    assert (await pods.ok("POST", PODS, pod("a")))["spec"]["priority"] == 0
    critical = await pods.ok("POST", PODS, pod("b", priorityClassName="system-node-critical"))
    assert critical["spec"]["priority"] == 2000001000
    answer = await pods.post(PODS, pod("c", priorityClassName="none"))
    assert answer.message == 'pods "c" is forbidden: no PriorityClass with name none was found'
    answer = await pods.post(PODS, pod("d", priority=7))
    assert answer.message == (
        'pods "d" is forbidden: the integer value of priority (7) must not be provided in pod spec; priority '
        "admission controller computed 0 from the given PriorityClass name"
    )
    usual = {"metadata": {"name": "usual"}, "value": 5, "globalDefault": True, "preemptionPolicy": "Never"}
    await pods.ok("POST", classes, usual)
    made = (await pods.ok("POST", PODS, pod("e")))["spec"]
    assert (made["priority"], made["priorityClassName"], made["preemptionPolicy"]) == (5, "usual", "Never")
    second = await pods.post(classes, {**usual, "metadata": {"name": "second"}})
    assert "PriorityClass usual is already marked as default. Only one default can exist" in second.message


async def test_default_tolerations(pods):
    made = (await pods.ok("POST", PODS, pod("a")))["spec"]["tolerations"]
    assert made == [
        {**TOLERATION, "key": "node.kubernetes.io/not-ready"},
        {**TOLERATION, "key": "node.kubernetes.io/unreachable"},
    ]
    own = [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}]
    made = (await pods.ok("POST", PODS, pod("b", tolerations=own)))["spec"]["tolerations"]
    assert made == [*own, {**TOLERATION, "key": "node.kubernetes.io/unreachable"}]


async def test_new_nodes_are_not_ready(pods):
    made = await pods.ok("POST", "/api/v1/nodes", {"metadata": {"name": "n"}})
    assert made["spec"]["taints"] == [{"effect": "NoSchedule", "key": "node.kubernetes.io/not-ready"}]


async def test_a_node_minds_its_own(pods):
    for name in ("n1", "n2"):
        await pods.ok("POST", "/api/v1/nodes", {"metadata": {"name": name}})
    await pods.ok("POST", PODS, pod("theirs", nodeName="n2"))
    as_node(pods, "n1")
    answer = await pods.patch("/api/v1/nodes/n2/status", {"status": {"phase": "x"}})
    assert answer.message.startswith('nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2"')
    labels = {"metadata": {"labels": {"node-restriction.kubernetes.io/x": "y"}}}
    answer = await pods.patch("/api/v1/nodes/n1", labels)
    assert "is not allowed to modify labels: node-restriction.kubernetes.io/x" in answer.message
    answer = await pods.patch("/api/v1/nodes/n1", {"spec": {"taints": None}})
    assert 'node "n1" is not allowed to modify taints' in answer.message
    answer = await pods.patch(f"{PODS}/theirs/status", {"status": {"phase": "Failed"}})
    assert "can only update pod status for pods with spec.nodeName set to itself" in answer.message
    answer = await pods.delete(f"{PODS}/theirs")
    assert "can only delete pods with spec.nodeName set to itself" in answer.message
    answer = await pods.post(PODS, pod("made", nodeName="n1"))
    assert "can only create mirror pods" in answer.message
    assert (await pods.patch("/api/v1/nodes/n1", {"metadata": {"labels": {"mine": "y"}}})).status == 200


async def test_topology_comes_with_the_node(pods):
    labels = {"topology.kubernetes.io/zone": "z1", "other": "x"}
    await pods.ok("POST", "/api/v1/nodes", {"metadata": {"name": "n", "labels": labels}})
    await pods.ok("POST", PODS, pod("p"))
    await pods.ok("POST", f"{PODS}/p/binding", {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}})
    assert (await pods.ok("GET", f"{PODS}/p"))["metadata"]["labels"] == {"topology.kubernetes.io/zone": "z1"}


async def test_a_resize_that_its_node_cannot_follow(pods):
    sizes = {"cpu": "2", "memory": "1Gi"}
    status = {"allocatable": sizes, "declaredFeatures": ["GuaranteedQoSPodCPUResize"]}
    for name, labels, declared in (("a", {"kubernetes.io/os": "linux"}, status), ("b", {}, {"allocatable": sizes})):
        await pods.ok("POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": labels}})
        await pods.ok("PATCH", f"/api/v1/nodes/{name}/status", {"status": declared}, content_type=MERGE)
        limits = {"cpu": "1", "memory": "100Mi"}
        container = {"name": "c", "image": "i", "resources": {"requests": limits, "limits": limits}}
        await pods.ok("POST", PODS, {"metadata": {"name": name}, "spec": {"containers": [container], "nodeName": name}})

    def resized(name, **to):
        change = {"spec": {"containers": [{"name": "c", "resources": {"requests": to, "limits": to}}]}}
        return pods.patch(f"{PODS}/{name}/resize", change, kind="strategic-merge-patch+json")

    answer = await resized("a", cpu="3", memory="2Gi")
    assert answer.status == 403 and answer.message.endswith(
        "Node didn't have enough allocatable resources: cpu, requested: 3000, allocatable: 2000; "
        "memory, requested: 2147483648, allocatable: 1073741824"
    )
    assert (await resized("a", cpu="2")).status == 200
    answer = await resized("b", cpu="2")
    assert answer.message.endswith(
        'pod update requires features GuaranteedQoSPodCPUResize which are not available on node "b"'
    )
    answer = await resized("b", memory="200Mi")
    assert answer.message.endswith('pod resize is only supported on linux nodes, node "b" is ""')
    await pods.ok("DELETE", "/api/v1/nodes/b")
    assert (await resized("b", memory="300Mi")).message.endswith('node "b" not found')


async def test_only_who_may_attest_publishes_trust(pods):
    names = {"plural": "clustertrustbundles", "singular": "clustertrustbundle", "kind": "ClusterTrustBundle"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    spec = {
        "group": "certificates.k8s.io",
        "scope": "Cluster",
        "names": names,
        "versions": [{"name": "v1beta1", "served": True, "storage": True, "schema": schema}],
    }
    approved = {"api-approved.kubernetes.io": "https://github.com/kubernetes/kubernetes/pull/1"}
    meta = {"name": "clustertrustbundles.certificates.k8s.io", "annotations": approved}
    await pods.ok("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {"metadata": meta, "spec": spec})
    path = "/apis/certificates.k8s.io/v1beta1/clustertrustbundles"
    async with asyncio.timeout(60):
        while (await pods.get(path)).status != 200:
            await asyncio.sleep(0)
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    rules = [{"apiGroups": ["certificates.k8s.io"], "resources": ["clustertrustbundles"], "verbs": ["create"]}]
    await pods.ok("POST", f"{rbac}/clusterroles", {"metadata": {"name": "publisher"}, "rules": rules})
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "publisher"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "publisher"}
    binding = {"metadata": {"name": "publisher"}, "roleRef": ref, "subjects": [subject]}
    await pods.ok("POST", f"{rbac}/clusterrolebindings", binding)
    as_user(pods, "publisher")
    body = {"apiVersion": "certificates.k8s.io/v1beta1", "kind": "ClusterTrustBundle", "metadata": {"name": "b"}}
    signed = {**body, "spec": {"signerName": "e.com/s", "trustBundle": "x"}}
    answer = await pods.post(path, signed)
    assert answer.status == 403 and 'not permitted to attest for signerName "e.com/s"' in answer.message
    assert (await pods.post(path, body)).status == 201  # for nobody's signer


# -- limits -------------------------------------------------------------------------------------------------


async def test_limit_range(pods):
    limits = {
        "type": "Container",
        "default": {"cpu": "500m", "memory": "256Mi"},
        "defaultRequest": {"cpu": "100m"},
        "max": {"cpu": "1"},
        "min": {"cpu": "50m"},
        "maxLimitRequestRatio": {"cpu": "10"},
    }
    await pods.ok("POST", f"{NS}/limitranges", {"metadata": {"name": "l"}, "spec": {"limits": [limits]}})
    made = await pods.ok("POST", PODS, pod("a"))
    assert made["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "500m", "memory": "256Mi"},
        "requests": {"cpu": "100m", "memory": "256Mi"},
    }
    assert made["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c"
    )

    def asking(name, request, limit):
        resources = {"requests": {"cpu": request}, "limits": {"cpu": limit}}
        return pod(name, containers=[{"name": "c", "image": "i", "resources": resources}])

    ratio = "cpu max limit to request ratio per Container"
    table = [
        (asking("b", "1", "2"), "maximum cpu usage per Container is 1, but limit is 2"),
        (asking("c", "10m", "50m"), "minimum cpu usage per Container is 50m, but request is 10m"),
        (asking("d", "50m", "1"), f"{ratio} is 10, but provided ratio is 20.000000"),
    ]
    for body, message in table:
        answer = await pods.post(PODS, body)
        assert answer.message == f'pods "{body["metadata"]["name"]}" is forbidden: {message}'


async def test_quota_is_never_exceeded(pods):
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "5", "requests.cpu": "1", "count/configmaps": "1"}}}
    await pods.ok("POST", f"{NS}/resourcequotas", quota)
    containers = [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}}]
    answers = await asyncio.gather(*(pods.post(PODS, pod(f"p{i}", containers=containers)) for i in range(20)))
    assert sorted(a.status for a in answers) == [201] * 5 + [403] * 15
    refused = next(a for a in answers if a.status == 403)
    assert refused.message.endswith("is forbidden: exceeded quota: q, requested: pods=1, used: pods=5, limited: pods=5")
    status = (await pods.ok("GET", f"{NS}/resourcequotas/q"))["status"]
    assert status["used"] == {"pods": "5", "requests.cpu": "500m", "count/configmaps": "0"}
    await pods.ok("POST", f"{NS}/configmaps", {"metadata": {"name": "a"}})
    answer = await pods.post(f"{NS}/configmaps", {"metadata": {"name": "b"}})
    assert answer.message == (
        'configmaps "b" is forbidden: exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=1, '
        "limited: count/configmaps=1"
    )


async def test_quota_wants_requests(pods):
    quota = {"metadata": {"name": "q"}, "spec": {"hard": {"cpu": "1", "limits.memory": "1Gi"}}}
    await pods.ok("POST", f"{NS}/resourcequotas", quota)
    answer = await pods.post(PODS, pod("p"))
    assert answer.message == 'pods "p" is forbidden: failed quota: q: must specify cpu for: c; limits.memory for: c'


async def test_quota_scopes(pods):
    spec = {"hard": {"pods": "0"}, "scopes": ["BestEffort"]}
    await pods.ok("POST", f"{NS}/resourcequotas", {"metadata": {"name": "q"}, "spec": spec})
    assert (await pods.post(PODS, pod("a"))).status == 403
    containers = [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}]
    assert (await pods.post(PODS, pod("b", containers=containers))).status == 201


# -- pod security -------------------------------------------------------------------------------------------


async def test_pod_security(pods):
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    await pods.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "strict", "labels": labels}})
    await pods.ok("POST", "/api/v1/namespaces/strict/serviceaccounts", {"metadata": {"name": "default"}})
    answer = await pods.post("/api/v1/namespaces/strict/pods", pod("p"))
    assert answer.status == 403
    assert answer.message == (
        'pods "p" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false '
        '(container "c" must set securityContext.allowPrivilegeEscalation=false), runAsNonRoot != true (pod or '
        'container "c" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container "c" must set '
        'securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"), unrestricted capabilities '
        '(container "c" must set securityContext.capabilities.drop=["ALL"])'
    )
    good = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
        "capabilities": {"drop": ["ALL"]},
    }
    containers = [{"name": "c", "image": "i", "securityContext": good}]
    await pods.ok("POST", "/api/v1/namespaces/strict/pods", pod("q", containers=containers))


async def test_pod_security_warns(pods):
    labels = {"pod-security.kubernetes.io/warn": "baseline"}
    await pods.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "warned", "labels": labels}})
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {**pod("x")["spec"], "hostNetwork": True}}
    body = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    answer = await pods.post("/apis/apps/v1/namespaces/warned/deployments", body)
    assert answer.status == 201
    assert any('would violate PodSecurity \\"baseline:latest\\": host namespaces (hostNetwork=true)' in w
               for w in answer.warnings)  # fmt: skip


async def test_pod_security_labels_are_checked(pods):
    labels = {"pod-security.kubernetes.io/enforce": "tight"}
    answer = await pods.post("/api/v1/namespaces", {"metadata": {"name": "x", "labels": labels}})
    assert answer.status == 422
    assert "must be one of privileged, baseline, restricted" in answer.message


# -- storage, classes, runtimes -----------------------------------------------------------------------------


async def test_claims(pods):
    classes = "/apis/storage.k8s.io/v1/storageclasses"
    mark = {"storageclass.kubernetes.io/is-default-class": "true"}
    await pods.ok("POST", classes, {"metadata": {"name": "fast", "annotations": mark}, "provisioner": "p"})
    await pods.ok("POST", classes, {"metadata": {"name": "slow"}, "provisioner": "p"})
    claims = f"{NS}/persistentvolumeclaims"
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    made = await pods.ok("POST", claims, {"metadata": {"name": "a"}, "spec": spec})
    assert made["spec"]["storageClassName"] == "fast"
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    none = await pods.ok("POST", claims, {"metadata": {"name": "b"}, "spec": {**spec, "storageClassName": ""}})
    assert none["spec"]["storageClassName"] == ""


async def test_default_ingress_class(pods):
    classes = "/apis/networking.k8s.io/v1/ingressclasses"
    mark = {"ingressclass.kubernetes.io/is-default-class": "true"}
    body = {"metadata": {"name": "front", "annotations": mark}, "spec": {"controller": "example.com/front"}}
    await pods.ok("POST", classes, body)
    backend = {"service": {"name": "s", "port": {"number": 80}}}
    made = await pods.ok(
        "POST",
        "/apis/networking.k8s.io/v1/namespaces/default/ingresses",
        {"metadata": {"name": "i"}, "spec": {"defaultBackend": backend}},
    )
    assert made["spec"]["ingressClassName"] == "front"


async def test_runtime_class(pods):
    body = {
        "metadata": {"name": "vm"},
        "handler": "kata",
        "overhead": {"podFixed": {"cpu": "250m"}},
        "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm", "operator": "Exists"}]},
    }
    await pods.ok("POST", "/apis/node.k8s.io/v1/runtimeclasses", body)
    made = (await pods.ok("POST", PODS, pod("a", runtimeClassName="vm")))["spec"]
    assert (made["overhead"], made["nodeSelector"]) == ({"cpu": "250m"}, {"vm": "yes"})
    assert {"key": "vm", "operator": "Exists"} in made["tolerations"]
    answer = await pods.post(PODS, pod("b", runtimeClassName="none"))
    assert answer.message == 'pods "b" is forbidden: pod rejected: RuntimeClass "none" not found'
    answer = await pods.post(PODS, pod("c", runtimeClassName="vm", nodeSelector={"vm": "no"}))
    assert "conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no" in answer.message


# -- rights, and what is not enforced -----------------------------------------------------------------------


async def test_nobody_grants_more_than_he_holds(pods):
    roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles"
    bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings"
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"}
    subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]
    await pods.ok("POST", bindings, {"metadata": {"name": "jane"}, "roleRef": ref, "subjects": subjects})
    pods.context.authenticator.user = User("jane", groups=("system:authenticated",))
    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
    await pods.ok("POST", roles, {"metadata": {"name": "ok"}, "rules": [rule]})
    answer = await pods.post(roles, {"metadata": {"name": "no"}, "rules": [{**rule, "resources": ["nodes"]}]})
    assert answer.status == 403
    assert '{APIGroups:[""], Resources:["nodes"], Verbs:["get"]}' in answer.message
    strong = {"metadata": {"name": "b"}, "roleRef": {**ref, "name": "cluster-admin"}, "subjects": subjects}
    assert (await pods.post(bindings, strong)).status == 403
