"""Pods on every runtime that is installed here, by RuntimeClass."""

from __future__ import annotations

import shutil

from tests.cluster.conftest import Cluster

from shirube.cluster.containerd import RUNTIMES

# Writes, waits for nobody, and ends in a way of its own; and one that stays.
PODS = """
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {{name: {handler}}}
handler: {handler}
---
apiVersion: v1
kind: Pod
metadata: {{name: {handler}-ends, namespace: {namespace}}}
spec:
  runtimeClassName: {handler}
  restartPolicy: Never
  containers:
  - {{name: c, image: localhost/hello:1, command: [/bin/sh, -c, "cat /proc/version; exit 3"]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: {handler}-stays, namespace: {namespace}}}
spec:
  runtimeClassName: {handler}
  terminationGracePeriodSeconds: 2
  containers:
  - name: c
    image: localhost/hello:1
    readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
"""


def test_pods_run_on_every_runtime(cluster: Cluster, namespace: str):
    handlers = [handler for handler, (program, *_) in RUNTIMES.items() if shutil.which(program)]
    assert "runc" in handlers
    kernels = {}
    try:
        for handler in handlers:
            cluster.apply(PODS.format(handler=handler, namespace=namespace))
        for handler in handlers:
            ended = f"pod/{handler}-ends"
            wait = ("-n", namespace, "wait", "--timeout=180s")
            cluster.kubectl(*wait, "--for=jsonpath={.status.phase}=Failed", ended)
            state = cluster.get("-n", namespace, ended)["status"]["containerStatuses"][0]["state"]["terminated"]
            assert (state["exitCode"], state["reason"]) == (3, "Error")
            kernels[handler] = cluster.kubectl("-n", namespace, "logs", ended)
            # Probes, exec and the way out by a signal work alike.
            cluster.kubectl(*wait, "--for=condition=Ready", f"pod/{handler}-stays")
            said = cluster.kubectl("-n", namespace, "exec", f"{handler}-stays", "--", "/bin/cat", "/proc/version")
            assert said == kernels[handler]
            cluster.kubectl("-n", namespace, "delete", "pod", f"{handler}-stays", "--timeout=180s")
    finally:
        cluster.kubectl("delete", "runtimeclass", *handlers, "--ignore-not-found")
    if "runsc" in kernels:
        # gVisor is a kernel of its own.
        assert kernels["runsc"] != kernels["runc"]
