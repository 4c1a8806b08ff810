"""Rows of the other kinds, as kubectl get shows them."""

# ruff: noqa: E501 - one case a line, so that the tables read as tables
from __future__ import annotations

import pytest

from shirube.api.resources import BUILTIN
from shirube.api.table import printer_of
from shirube.foundation.clock import rfc3339

NOW = 1_750_000_000.0
AGO = rfc3339(NOW - 3600)
TEMPLATE = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {"containers": [{"name": "c", "image": "i:1"}, {"name": "d", "image": "j"}]},
}
SELECTOR = {"matchLabels": {"a": "b"}}
HPA_METRIC = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
}

ROWS = [
    ("apps/v1/deployments", {"spec": {"replicas": 3, "selector": SELECTOR, "template": TEMPLATE}, "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1}}, ["x", "2/3", 3, 1, "60m", "c,d", "i:1,j", "a=b"]),
    ("apps/v1/replicasets", {"spec": {"replicas": 3, "selector": SELECTOR, "template": TEMPLATE}, "status": {"replicas": 2, "readyReplicas": 1}}, ["x", 3, 2, 1, "60m", "c,d", "i:1,j", "a=b"]),
    ("apps/v1/statefulsets", {"spec": {"replicas": 3, "template": TEMPLATE}, "status": {"readyReplicas": 1}}, ["x", "1/3", "60m", "c,d", "i:1,j"]),
    ("apps/v1/daemonsets", {"spec": {"selector": SELECTOR, "template": TEMPLATE}, "status": {"desiredNumberScheduled": 5, "currentNumberScheduled": 4, "numberReady": 3, "updatedNumberScheduled": 2, "numberAvailable": 1}}, ["x", 5, 4, 3, 2, 1, "<none>", "60m", "c,d", "i:1,j", "a=b"]),
    ("apps/v1/controllerrevisions", {"metadata": {"ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "controller": True}]}, "revision": 4}, ["x", "daemonset.apps/d", 4, "60m"]),
    ("v1/replicationcontrollers", {"spec": {"replicas": 1, "selector": {"a": "b"}, "template": TEMPLATE}}, ["x", 1, 0, 0, "60m", "c,d", "i:1,j", "a=b"]),
    ("batch/v1/jobs", {"spec": {"completions": 3, "parallelism": 1, "template": TEMPLATE}, "status": {"succeeded": 1, "startTime": AGO}}, ["x", "Running", "1/3", "60m", "60m", "c,d", "i:1,j", "<none>"]),
    ("batch/v1/jobs", {"spec": {"parallelism": 2, "template": TEMPLATE}, "status": {"conditions": [{"type": "Complete", "status": "True"}], "startTime": AGO, "completionTime": rfc3339(NOW - 3570)}}, ["x", "Complete", "0/1 of 2", "30s", "60m", "c,d", "i:1,j", "<none>"]),
    ("batch/v1/cronjobs", {"spec": {"schedule": "@hourly", "suspend": False, "jobTemplate": {"spec": {"template": TEMPLATE}}}, "status": {"active": [{}], "lastScheduleTime": rfc3339(NOW - 5)}}, ["x", "@hourly", "<none>", "False", 1, "5s", "60m", "c,d", "i:1,j", "<none>"]),
    ("v1/services", {"spec": {"type": "ClusterIP", "clusterIP": "10.96.0.1", "ports": [{"port": 443, "protocol": "TCP"}]}}, ["x", "ClusterIP", "10.96.0.1", "<none>", "443/TCP", "60m", "<none>"]),
    ("v1/services", {"spec": {"type": "NodePort", "clusterIPs": ["10.96.0.2"], "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}], "selector": {"b": "2", "a": "1"}}}, ["x", "NodePort", "10.96.0.2", "<none>", "80:30080/TCP,53/UDP", "60m", "a=1,b=2"]),
    ("v1/services", {"spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.3"}}, ["x", "LoadBalancer", "10.96.0.3", "<pending>", "<none>", "60m", "<none>"]),
    ("v1/services", {"spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.3"}, "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}}, ["x", "LoadBalancer", "10.96.0.3", "1.2.3.4", "<none>", "60m", "<none>"]),
    ("v1/services", {"spec": {"type": "ExternalName", "externalName": "example.com"}}, ["x", "ExternalName", "<none>", "example.com", "<none>", "60m", "<none>"]),
    ("v1/endpoints", {}, ["x", "<none>", "60m"]),
    ("v1/endpoints", {"subsets": [{"addresses": [{"ip": f"10.0.0.{i}"} for i in range(1, 6)], "ports": [{"port": 80}]}]}, ["x", "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more...", "60m"]),
    ("discovery.k8s.io/v1/endpointslices", {"addressType": "IPv4", "ports": [{"port": 80}, {}], "endpoints": [{"addresses": ["10.0.0.1"]}]}, ["x", "IPv4", "80,*", "10.0.0.1", "60m"]),
    ("networking.k8s.io/v1/ingresses", {"spec": {"rules": [{"host": "a"}, {"host": "b"}], "tls": [{}]}, "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}}, ["x", "<none>", "a,b", "1.2.3.4", "80, 443", "60m"]),
    ("networking.k8s.io/v1/networkpolicies", {"spec": {"podSelector": {}}}, ["x", "<none>", "60m"]),
    ("networking.k8s.io/v1/ipaddresses", {"spec": {"parentRef": {"resource": "services", "namespace": "n", "name": "s"}}}, ["x", "services/n/s"]),
    ("v1/namespaces", {"status": {"phase": "Active"}}, ["x", "Active", "60m"]),
    ("v1/nodes", {"metadata": {"labels": {"node-role.kubernetes.io/control-plane": "", "node-role.kubernetes.io/worker": ""}}, "spec": {"unschedulable": True}, "status": {"conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "172.30.0.2"}], "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Debian", "kernelVersion": "6.1", "containerRuntimeVersion": "containerd://1.6.20"}}}, ["x", "Ready,SchedulingDisabled", "control-plane,worker", "60m", "v1.36.0", "172.30.0.2", "<none>", "Debian", "6.1", "containerd://1.6.20"]),
    ("v1/nodes", {}, ["x", "Unknown", "<none>", "60m", "", "<none>", "<none>", "<unknown>", "<unknown>", "<unknown>"]),
    ("v1/events", {"involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{c}"}, "firstTimestamp": AGO, "lastTimestamp": rfc3339(NOW - 60), "count": 3, "type": "Warning", "reason": "BackOff", "message": "again \n", "source": {"component": "kubelet", "host": "n"}}, ["60s", "Warning", "BackOff", "pod/p", "spec.containers{c}", "kubelet, n", "again", "60m", 3, "x"]),
    ("events.k8s.io/v1/events", {"regarding": {"kind": "Pod", "name": "p"}, "eventTime": rfc3339(NOW - 90), "type": "Normal", "reason": "Scheduled", "note": "ok", "reportingController": "scheduler", "reportingInstance": "s-0"}, ["90s", "Normal", "Scheduled", "pod/p", "", "scheduler, s-0", "ok", "90s", 1, "x"]),
    ("v1/configmaps", {"data": {"a": ""}, "binaryData": {"b": ""}}, ["x", 2, "60m"]),
    ("v1/secrets", {"type": "Opaque", "data": {"a": ""}}, ["x", "Opaque", 1, "60m"]),
    ("v1/serviceaccounts", {}, ["x", "60m"]),
    ("v1/resourcequotas", {"status": {"hard": {"pods": "5", "limits.cpu": "2"}, "used": {"pods": "1"}}}, ["x", "pods: 1/5", "limits.cpu: 0/2", "60m"]),
    ("v1/limitranges", {}, ["x", AGO]),
    ("v1/persistentvolumeclaims", {"spec": {"volumeName": "v", "storageClassName": "s", "volumeMode": "Filesystem"}, "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce", "ReadOnlyMany"]}}, ["x", "Bound", "v", "1Gi", "RWO,ROX", "s", "<unset>", "60m", "Filesystem"]),
    ("v1/persistentvolumes", {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"], "persistentVolumeReclaimPolicy": "Retain", "claimRef": {"namespace": "n", "name": "c"}, "volumeMode": "Block"}, "status": {"phase": "Bound"}}, ["x", "1Gi", "RWX", "Retain", "Bound", "n/c", "", "<unset>", "", "60m", "Block"]),
    ("storage.k8s.io/v1/storageclasses", {"metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "p", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}, ["x (default)", "p", "Delete", "Immediate", False, "60m"]),
    ("policy/v1/poddisruptionbudgets", {"spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 1}}, ["x", "50%", "N/A", 1, "60m"]),
    ("autoscaling/v2/horizontalpodautoscalers", {"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "minReplicas": 1, "maxReplicas": 5, "metrics": [HPA_METRIC]}, "status": {"currentReplicas": 2}}, ["x", "Deployment/d", "cpu: <unknown>/80%", "1", 5, 2, "60m"]),
    ("autoscaling/v1/horizontalpodautoscalers", {"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 5, "targetCPUUtilizationPercentage": 80}, "status": {"currentCPUUtilizationPercentage": 30}}, ["x", "Deployment/d", "cpu: 30%/80%", "<unset>", 5, 0, "60m"]),
    ("scheduling.k8s.io/v1/priorityclasses", {"value": 7, "preemptionPolicy": "Never"}, ["x", 7, False, "60m", "Never"]),
    ("rbac.authorization.k8s.io/v1/rolebindings", {"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "namespace": "n", "name": "s"}]}, ["x", "Role/r", "60m", "u", "", "n/s"]),
    ("rbac.authorization.k8s.io/v1/clusterroles", {}, ["x", AGO]),
    ("certificates.k8s.io/v1/certificatesigningrequests", {"spec": {"signerName": "a/b", "username": "u"}, "status": {"conditions": [{"type": "Approved"}], "certificate": "x"}}, ["x", "60m", "a/b", "u", "<none>", "Approved,Issued"]),
    ("coordination.k8s.io/v1/leases", {"spec": {"holderIdentity": "h"}}, ["x", "h", "60m"]),
    ("apiregistration.k8s.io/v1/apiservices", {"spec": {}, "status": {"conditions": [{"type": "Available", "status": "False", "reason": "Gone"}]}}, ["x", "Local", "False (Gone)", "60m"]),
    ("admissionregistration.k8s.io/v1/validatingwebhookconfigurations", {"webhooks": [{}, {}]}, ["x", 2, "60m"]),
    ("flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations", {"spec": {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0}}}, ["x", "Exempt", "0", "<none>", "<none>", "<none>", "60m"]),
    ("resource.k8s.io/v1/resourceclaims", {"status": {"allocation": {}, "reservedFor": [{}]}}, ["x", "allocated,reserved", "60m"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "obj", "cells"), ROWS, ids=[f"{i}-{r[0].rpartition('/')[2]}" for i, r in enumerate(ROWS)]
)
def test_rows(path, obj, cells):
    group_version, _, plural = path.rpartition("/")
    group, _, version = group_version.rpartition("/")
    resource = BUILTIN.by_path(group, version, plural)
    metadata = {"name": "x", "creationTimestamp": AGO, **obj.get("metadata", {})}
    assert printer_of(resource).cells({**obj, "metadata": metadata}, NOW) == cells
