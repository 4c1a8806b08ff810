"""The node authoriser over a small cluster: what is a node's own, and what is another's."""

from __future__ import annotations

import pytest

from shirube.apiserver.attributes import Attributes
from shirube.apiserver.authorization import Authorizer
from shirube.apiserver.user import User

NODE = User("system:node:n1", groups=("system:nodes", "system:authenticated"))


class Stored:
    def __init__(self, objects):
        self.objects = objects

    def list(self, gvr, namespace=""):
        every = self.objects.get(gvr.resource, [])
        return [o for o in every if not namespace or o["metadata"].get("namespace") == namespace]

    def get(self, gvr, namespace, name):
        found = (o for o in self.list(gvr, namespace) if o["metadata"]["name"] == name)
        return next(found, None)

    def revision(self, gvr):
        return 0


def pod(name, node, **spec):
    annotations = spec.pop("annotations", {})
    return {
        "metadata": {"name": name, "namespace": "ns", "annotations": annotations},
        "spec": {"nodeName": node, "serviceAccountName": "robot-" + node, **spec},
    }


STORED = {
    "pods": [
        pod(
            "mine",
            "n1",
            volumes=[
                {"name": "a", "secret": {"secretName": "vol"}},
                {"name": "b", "projected": {"sources": [{"configMap": {"name": "projected"}}]}},
                {"name": "c", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "d", "ephemeral": {"volumeClaimTemplate": {}}},
            ],
            containers=[
                {
                    "name": "c",
                    "env": [{"name": "x", "valueFrom": {"secretKeyRef": {"name": "env", "key": "k"}}}],
                    "envFrom": [{"configMapRef": {"name": "from"}}],
                }
            ],
            imagePullSecrets=[{"name": "pull"}],
        ),
        pod("other", "n2", volumes=[{"name": "a", "secret": {"secretName": "theirs"}}]),
        pod(
            "mirror",
            "n1",
            annotations={"kubernetes.io/config.mirror": "x"},
            volumes=[{"name": "a", "secret": {"secretName": "sneaky"}}],
        ),
    ],
    "persistentvolumeclaims": [{"metadata": {"name": "data", "namespace": "ns"}, "spec": {"volumeName": "pv1"}}],
    "persistentvolumes": [
        {
            "metadata": {"name": "pv1"},
            "spec": {
                "claimRef": {"namespace": "ns", "name": "data"},
                "csi": {"nodePublishSecretRef": {"namespace": "storage", "name": "csi"}},
            },
        },
        {"metadata": {"name": "pv2"}, "spec": {}},
    ],
    "volumeattachments": [
        {"metadata": {"name": "va1"}, "spec": {"nodeName": "n1"}},
        {"metadata": {"name": "va2"}, "spec": {"nodeName": "n2"}},
    ],
}

TABLE = [
    ("get secrets ns/vol", True),
    ("get secrets ns/env", True),
    ("get secrets ns/pull", True),
    ("get secrets storage/csi", True),
    ("get secrets ns/theirs", False),
    ("get secrets ns/sneaky", False),
    ("get secrets other/vol", False),
    ("update secrets ns/vol", False),
    ("list secrets ns/", False),
    ("watch secrets ns/ metadata.name=vol", True),
    ("list secrets ns/ metadata.name=theirs", False),
    ("get configmaps ns/from", True),
    ("get configmaps ns/projected", True),
    ("get configmaps ns/none", False),
    ("get persistentvolumeclaims ns/data", True),
    ("get persistentvolumeclaims ns/mine-d", True),
    ("get persistentvolumeclaims ns/else", False),
    ("delete persistentvolumeclaims ns/data", False),
    ("update persistentvolumeclaims/status ns/data", True),
    ("get persistentvolumes /pv1", True),
    ("get persistentvolumes /pv2", False),
    ("get storage.k8s.io|volumeattachments /va1", True),
    ("get storage.k8s.io|volumeattachments /va2", False),
    ("create serviceaccounts/token ns/robot-n1", True),
    ("create serviceaccounts/token ns/robot-n2", False),
    ("get pods ns/mine", True),
    ("get pods ns/other", False),
    ("list pods /", False),
    ("watch pods / spec.nodeName=n1", True),
    ("watch pods / spec.nodeName=n2", False),
    ("create pods ns/", True),
    ("delete pods ns/mine", True),
    ("update pods ns/mine", False),
    ("patch pods/status ns/mine", True),
    ("create pods/eviction ns/mine", True),
    ("get pods/log ns/mine", False),
    ("get nodes /n1", True),
    ("get nodes /n2", False),
    ("list nodes /", False),
    ("watch nodes / metadata.name=n1", True),
    ("patch nodes/status /n1", True),
    ("delete nodes /n1", False),
    ("get nodes/metrics /n1", True),
    ("get nodes/metrics /n2", False),
    ("update coordination.k8s.io|leases kube-node-lease/n1", True),
    ("update coordination.k8s.io|leases kube-node-lease/n2", False),
    ("create coordination.k8s.io|leases kube-node-lease/", True),
    ("get coordination.k8s.io|leases kube-system/n1", False),
    ("update storage.k8s.io|csinodes /n1", True),
    ("get storage.k8s.io|csinodes /n2", False),
    ("list services /", True),
    ("create events ns/", True),
    ("create authentication.k8s.io|tokenreviews /", True),
    ("list node.k8s.io|runtimeclasses /", True),
    ("list namespaces /", False),
    ("get apps|deployments ns/x", False),
]


def ask(text, user=NODE):
    verb, what, where, *selector = text.split(" ")
    group, _, resource = what.rpartition("|")
    resource, _, sub = resource.partition("/")
    namespace, _, name = where.partition("/")
    a = Attributes(user, verb, group, "v1", resource, sub, namespace, name)
    a.field_selector = selector[0] if selector else ""
    return a


@pytest.mark.parametrize(("text", "allowed"), TABLE)
async def test_node(text, allowed):
    assert (await Authorizer(Stored(STORED)).authorize(ask(text))).allowed is allowed


async def test_name_alone_makes_no_node():
    user = User("system:node:n1", groups=("system:authenticated",))
    assert not (await Authorizer(Stored(STORED)).authorize(ask("get nodes /n1", user))).allowed


async def test_refusal_says_why():
    authorizer = Authorizer(Stored(STORED))
    a = ask("get secrets ns/theirs")
    refusal = authorizer.refusal(a, await authorizer.authorize(a))
    assert refusal.message.endswith(": no relationship found between node 'n1' and this object")
