"""A small application of three tiers, from manifests to removal: frontends, replicas and a primary that find each other
by the addresses of their Services in the environment of containers."""

from __future__ import annotations

import json

import pytest
import yaml
from tests.cluster.conformance.api import Refused
from tests.waiting import eventually

# What each tier answers: the primary keeps the entry, replicas ask it, frontends write to the one and ask the other.
SCRIPT = """#!/bin/sh
echo "Content-Type: application/json"
echo
ask() { wget -q -O- "http://$1/cgi-bin/guestbook?$2"; }
case "$ROLE $QUERY_STRING" in
"primary cmd=set"*) echo "${QUERY_STRING##*value=}" > /tmp/entry; echo '{"message":"Updated"}' ;;
primary*) read entry 2>/dev/null < /tmp/entry; echo "{\\"data\\":\\"$entry\\"}" ;;
replica*) ask "$PRIMARY_SERVICE_HOST:6379" cmd=get ;;
"frontend cmd=set"*) ask "$PRIMARY_SERVICE_HOST:6379" "$QUERY_STRING" ;;
frontend*) ask "$REPLICA_SERVICE_HOST:6379" cmd=get ;;
esac
"""


def tier(name: str, replicas: int, port: int) -> list[dict]:
    """A Service and a Deployment."""
    labels = {"app": "guestbook", "tier": name}
    container = {
        "name": name,
        "image": "localhost/hello:1",
        "command": ["/bin/httpd", "-f", "-p", "8080", "-h", "/site"],
        "env": [{"name": "ROLE", "value": name}],
        "ports": [{"containerPort": 8080}],
        "volumeMounts": [{"name": "script", "mountPath": "/site/cgi-bin"}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    script = {"name": "script", "configMap": {"name": "guestbook", "defaultMode": 0o755}}
    pods = {"containers": [container], "volumes": [script], "terminationGracePeriodSeconds": 0}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "labels": labels},
            "spec": {"selector": labels, "ports": [{"port": port, "targetPort": 8080}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pods},
            },
        },
    ]


@pytest.mark.conformance(
    "[sig-cli] Kubectl client Guestbook application should create and stop a working application [Conformance]"
)
def test_guestbook(api, cluster, ns):
    script = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "guestbook"}, "data": {"guestbook": SCRIPT}}
    objects = [script, *tier("primary", 1, 6379), *tier("replica", 2, 6379), *tier("frontend", 3, 80)]
    manifest = yaml.safe_dump_all(objects)
    cluster.kubectl("-n", ns, "create", "-f", "-", input=manifest)
    for name in ("primary", "replica", "frontend"):
        cluster.kubectl("-n", ns, "rollout", "status", f"deployment/{name}", "--timeout=180s")
    assert len(api.pods(ns).items("app=guestbook,tier=frontend")) == 3

    def ask(query: str) -> dict | None:
        try:
            answer = api.ask("GET", f"/api/v1/namespaces/{ns}/services/frontend:80/proxy/cgi-bin/guestbook?{query}")
        except Refused:
            return None
        return answer if isinstance(answer, dict) else json.loads(answer or "null")

    eventually(lambda: ask("cmd=get") == {"data": ""}, "the frontends serve what the primary has", 30)
    assert ask("cmd=set&key=messages&value=TestEntry") == {"message": "Updated"}
    eventually(lambda: ask("cmd=get") == {"data": "TestEntry"}, "the entry is read through a replica", 10)
    cluster.kubectl("-n", ns, "delete", "--grace-period=0", "--force", "-f", "-", input=manifest)
    assert cluster.kubectl("-n", ns, "get", "services,deployments", "-l", "app=guestbook", "-o", "name") == ""
    eventually(lambda: not api.pods(ns).items("app=guestbook"), "its pods are gone", 30)
