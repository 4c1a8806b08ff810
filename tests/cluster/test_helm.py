"""Helm 4 against a real cluster: a chart with a CRD, an object of it, and Jobs as hooks, from install to uninstall."""

from __future__ import annotations

import subprocess

import pytest
from tests.cluster.conftest import ROOT, Cluster, official
from tests.waiting import eventually

pytestmark = pytest.mark.cluster


@pytest.fixture
def helm(cluster: Cluster, namespace: str, tmp_path):
    program = str(official.program("helm"))

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [program, *arguments, "--kubeconfig", str(cluster.layout.admin_kubeconfig), "--namespace", namespace],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
            cwd=ROOT,
        )
        assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    return run


def test_a_release_from_installation_to_removal(cluster, namespace, helm):
    def replicas() -> str:
        return cluster.kubectl("-n", namespace, "get", "deployment", "site", "-o", "jsonpath={.status.readyReplicas}")

    def level() -> str:
        return cluster.kubectl("-n", namespace, "get", "gauge", "site", "-o", "jsonpath={.spec.level}")

    def said(hook: str) -> str:
        return cluster.kubectl("-n", namespace, "logs", f"job/site-{hook}").strip()

    chart = "tests/cluster/chart"
    helm("install", "site", chart, "--wait", "--timeout", "180s")
    assert replicas() == "2"
    assert level() == "2"
    helm("upgrade", "site", chart, "--set", "replicas=3", "--wait", "--timeout", "180s")
    assert replicas() == "3"
    hook = cluster.get("configmap", "-n", namespace, "site-before")
    assert hook["data"] == {"revision": "2"}
    assert level() == "3"
    assert said("pre-upgrade") == "pre-upgrade of revision 2"
    helm("rollback", "site", "1", "--wait", "--timeout", "180s")
    eventually(lambda: replicas() == "2", "the first revision is back")
    assert level() == "2"
    assert said("pre-rollback") == "pre-rollback of revision 1"
    assert [line.split()[0] for line in helm("history", "site").splitlines()[1:]] == ["1", "2", "3"]
    helm("uninstall", "site", "--wait", "--timeout", "180s")
    assert said("pre-delete") == "pre-delete of revision 1"  # the manifests are those of the first revision
    left = "deployments,replicasets,services,gauges"
    eventually(lambda: not cluster.kubectl("-n", namespace, "get", left, "-o", "name"), "everything of it is gone")
    # Helm leaves definitions, since deleting them would delete everybody's objects.
    cluster.kubectl("delete", "crd", "gauges.chart.example.com", "--timeout=180s")
