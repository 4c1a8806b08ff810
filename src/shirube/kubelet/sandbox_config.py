"""The CRI `PodSandboxConfig` of a pod. Pure."""

from __future__ import annotations

from typing import Any

from shirube.kubelet import dns, labels, qos, security
from shirube.kubelet import pod as pods
from shirube.kubelet.paths import Paths


def sandbox_config(
    pod: pods.Pod, attempt: int, *, paths: Paths, cluster: dns.ClusterDNS, cgroup_parent: str
) -> dict[str, Any]:
    shared = pod["spec"].get("securityContext") or {}
    linux: dict[str, Any] = {
        "cgroup_parent": cgroup_parent,
        "security_context": security.sandbox_context(pod, str(paths.seccomp)),
        "sysctls": {s["name"]: s["value"] for s in shared.get("sysctls") or ()},
    }
    config: dict[str, Any] = {
        "metadata": {
            "name": pods.name(pod),
            "namespace": pods.namespace(pod),
            "uid": pods.uid(pod),
            "attempt": attempt,
        },
        "hostname": dns.sandbox_hostname(pod, cluster.domain),
        "log_directory": str(paths.pod_logs(pod)),
        "dns_config": dns.dns_config(pod, cluster),
        "port_mappings": _port_mappings(pod),
        "labels": labels.pod_labels(pod),
        "annotations": pod["metadata"].get("annotations") or {},
        "linux": linux,
    }
    if overhead := pod["spec"].get("overhead"):
        linux["overhead"] = {
            "cpu_shares": qos.shares(qos.amount({"limits": overhead}, "limits", "cpu") or 0),
            "memory_limit_in_bytes": qos.amount({"limits": overhead}, "limits", "memory") or 0,
        }
    return config


def _port_mappings(pod: pods.Pod) -> list[dict[str, Any]]:
    if pods.is_host_network(pod):
        return []
    return [
        {
            "protocol": port.get("protocol") or "TCP",
            "container_port": port["containerPort"],
            "host_port": port["hostPort"],
            "host_ip": port.get("hostIP") or "",
        }
        for _, container in pods.containers(pod)
        for port in container.get("ports") or ()
        if port.get("hostPort")
    ]
