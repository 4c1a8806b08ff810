"""Official kubectl against the live API: what it makes of OpenAPI, discovery and our answers must come out right."""

from __future__ import annotations

import subprocess

import orjson
import pytest
import yaml
from tests.interop.conftest import Kubectl, definition, official
from tests.waiting import eventually

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "example.com/web:1", ports: [{containerPort: 80}]}
"""


@pytest.fixture
def ctl(kubectl: Kubectl, namespace: str):
    def run(*arguments: str, input: str | None = None) -> str:
        return kubectl("-n", namespace, *arguments, input=input)

    return run


def test_apply_diff_and_prune_by_three_ways(kubectl, namespace, ctl):
    assert ctl("apply", "-f", "-", input=WEB) == "deployment.apps/web created\n"
    assert ctl("apply", "-f", "-", input=WEB) == "deployment.apps/web unchanged\n"
    assert ctl("diff", "-f", "-", input=WEB) == ""
    changed = WEB.replace("web:1", "web:2").replace(", labels: {app: web}}\nspec:\n  replicas", "}\nspec:\n  replicas")
    differs = kubectl.run("-n", namespace, "diff", "-f", "-", input=changed)
    assert differs.returncode == 1, differs.stderr
    lines = [line for line in differs.stdout.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert "-      - image: example.com/web:1" in lines and "+      - image: example.com/web:2" in lines
    assert ctl("apply", "--dry-run=server", "-f", "-", input=changed).endswith("configured (server dry run)\n")
    assert ctl("apply", "-f", "-", input=changed) == "deployment.apps/web configured\n"
    assert "labels" not in kubectl.json("-n", namespace, "get", "deployment", "web")["metadata"]


def test_server_side_apply_and_migration(kubectl, namespace, ctl):
    ctl("apply", "-f", "-", input=WEB)
    # What client-side apply owned is taken over.
    assert ctl("apply", "--server-side", "-f", "-", input=WEB) == "deployment.apps/web serverside-applied\n"
    smaller = WEB.replace("  replicas: 2\n", "")
    ctl("apply", "--server-side", "-f", "-", input=smaller)
    made = kubectl.json("-n", namespace, "get", "deployment", "web", "--show-managed-fields")
    assert made["spec"]["replicas"] == 1  # nobody wants two any more: the default
    owners = {m["manager"]: m["operation"] for m in made["metadata"]["managedFields"]}
    assert owners == {"kubectl": "Apply", "kubectl-last-applied": "Apply"}  # of its own annotation
    error = kubectl.fails(
        "-n", namespace, "apply", "--server-side", "--field-manager=b", "-f", "-", input=WEB.replace("web:1", "web:3")
    )
    assert 'conflict with "kubectl": .spec.template.spec.containers[name="web"].image' in error


def test_wait_and_watch(kubectl, namespace, ctl):
    program = [str(official.program()), "--kubeconfig", str(kubectl.config), "-n", namespace]
    kubectl("apply", "-f", "-", input=orjson.dumps(definition("pulleys", "Pulley")).decode())
    kubectl("wait", "--for=condition=Established", "crd/pulleys.interop.example.com", "--timeout=10s")
    pulley = "apiVersion: interop.example.com/v1\nkind: Pulley\nmetadata: {name: p}\nspec: {size: 2}\n"
    eventually(lambda: kubectl.run("-n", namespace, "apply", "-f", "-", input=pulley).returncode == 0, "it is served")
    waiting = subprocess.Popen(
        [*program, "wait", "--for=jsonpath={.status.phase}=Up", "pulley/p", "--timeout=20s"], stdout=subprocess.PIPE
    )
    ctl("patch", "pulley", "p", "--subresource=status", "--type=merge", "-p", '{"status":{"phase":"Up"}}')
    out, _ = waiting.communicate(timeout=30)
    assert out == b"pulley.interop.example.com/p condition met\n"
    assert ctl("get", "pulleys").splitlines()[0].split() == ["NAME", "SIZE"]
    assert ctl("get", "pulley", "p", "--subresource=scale", "-o", "jsonpath={.spec.replicas}") == "2"
    ctl("scale", "pulley/p", "--replicas=5")
    assert ctl("get", "pulley", "p", "-o", "jsonpath={.spec.size}") == "5"
    error = kubectl.fails("-n", namespace, "patch", "pulley", "p", "--type=merge", "-p", '{"spec":{"size":100}}')
    assert "size is too large" in error
    bad = pulley.replace("size: 2", "size: 2, sise: 3")
    error = kubectl.fails("-n", namespace, "apply", "-f", "-", input=bad)
    assert 'strict decoding error: unknown field "spec.sise"' in error
    assert "size\t<integer> -required-" in kubectl("explain", "pulley.spec")
    waiting = subprocess.Popen([*program, "wait", "--for=delete", "pulley/p", "--timeout=20s"], stdout=subprocess.PIPE)
    ctl("delete", "pulley", "p")
    out, _ = waiting.communicate(timeout=30)
    assert waiting.returncode == 0


def test_explain_and_discovery(kubectl):
    explained = kubectl("explain", "pod.spec.containers.livenessProbe")
    assert "KIND:       Pod" in explained and "FIELD: livenessProbe <Probe>" in explained
    assert "  httpGet\t<HTTPGetAction>" in explained
    assert "rollingUpdate" in kubectl("explain", "deployment", "--recursive")
    assert "replicas" in kubectl("explain", "deployment.spec", "--output=plaintext-openapiv2")
    rows = kubectl("api-resources", "--no-headers", "--api-group=apps", "-o", "name").split()
    names = "controllerrevisions daemonsets deployments replicasets statefulsets"
    assert rows == [f"{name}.apps" for name in names.split()]
    shown = kubectl("api-resources", "--verbs=list", "--namespaced=false", "-o", "wide")
    assert "nodes" in shown and "create,delete,deletecollection,get,list,patch,update,watch" in shown
    assert "networking.k8s.io/v1" in kubectl("api-versions").split()
    assert "Server Version: v1.36" in kubectl("version")


def test_who_may(kubectl, namespace, ctl):
    assert ctl("auth", "can-i", "create", "pods") == "yes\n"
    ctl("create", "serviceaccount", "robot")
    ctl("create", "role", "reader", "--verb=get,list", "--resource=pods,deployments.apps")
    ctl("create", "rolebinding", "robot", "--role=reader", f"--serviceaccount={namespace}:robot")
    as_robot = f"--as=system:serviceaccount:{namespace}:robot"
    assert ctl("auth", "can-i", "list", "deployments.apps", as_robot) == "yes\n"
    assert kubectl.run("-n", namespace, "auth", "can-i", "delete", "pods", as_robot).stdout == "no\n"
    assert "deployments.apps" in ctl("auth", "can-i", "--list", as_robot)
    token = ctl("create", "token", "robot", "--duration=1h").strip()
    who = orjson.loads(kubectl("auth", "whoami", f"--token={token}", "--client-certificate=", "-o", "json"))
    assert who["status"]["userInfo"]["username"] in (f"system:serviceaccount:{namespace}:robot", "kubernetes-admin")
    rules = yaml.dump(kubectl.json("-n", namespace, "get", "role", "reader"))
    assert "reconciled" in ctl("auth", "reconcile", "-f", "-", input=rules)


def test_patches_labels_and_set(kubectl, namespace, ctl):
    ctl("create", "-f", "-", input=WEB)
    assert ctl("label", "deployment/web", "tier=a") == "deployment.apps/web labeled\n"
    assert "already has a value" in kubectl.fails("-n", namespace, "label", "deployment/web", "tier=b")
    ctl("label", "deployment/web", "tier-", "team=b", "--overwrite")
    ctl("annotate", "deployment/web", "note=hello")
    ctl(
        "patch", "deployment", "web", "-p", '{"spec":{"template":{"spec":{"containers":[{"name":"log","image":"l"}]}}}}'
    )
    ctl("patch", "deployment", "web", "--type=json", "-p", '[{"op":"replace","path":"/spec/replicas","value":3}]')
    ctl("set", "image", "deployment/web", "web=example.com/web:9")
    ctl("set", "env", "deployment/web", "-c", "web", "A=1")
    ctl("set", "resources", "deployment/web", "-c", "web", "--limits=cpu=200m,memory=512Mi")
    made = kubectl.json("-n", namespace, "get", "deployment", "web")
    assert made["metadata"]["labels"] == {"app": "web", "team": "b"}
    containers = {c["name"]: c for c in made["spec"]["template"]["spec"]["containers"]}
    assert containers["web"]["image"] == "example.com/web:9" and containers["log"]["image"] == "l"
    assert containers["web"]["env"] == [{"name": "A", "value": "1"}]
    assert containers["web"]["resources"] == {"limits": {"cpu": "200m", "memory": "512Mi"}}
    assert made["spec"]["replicas"] == 3 and made["metadata"]["generation"] == 7  # annotations count
    ctl("replace", "-f", "-", input=WEB)
    assert ctl("get", "deployment", "web", "-o", "jsonpath={..image}") == "example.com/web:1"


def test_rollouts_without_a_controller(kubectl, namespace, ctl):
    ctl("create", "-f", "-", input=WEB)
    ctl("rollout", "pause", "deployment/web")
    assert ctl("get", "deployment", "web", "-o", "jsonpath={.spec.paused}") == "true"
    ctl("rollout", "resume", "deployment/web")
    ctl("rollout", "restart", "deployment/web")
    restarted = "jsonpath={.spec.template.metadata.annotations.kubectl\\.kubernetes\\.io/restartedAt}"
    assert ctl("get", "deployment", "web", "-o", restarted).startswith("20")
    ctl("autoscale", "deployment/web", "--min=1", "--max=4", "--cpu=60%")
    assert ctl("get", "hpa", "web", "-o", "jsonpath={.spec.maxReplicas}") == "4"
    ctl("expose", "deployment/web", "--port=80")
    assert ctl("get", "service", "web", "-o", "jsonpath={.spec.selector.app}") == "web"
    ctl("scale", "deployment/web", "--replicas=7", "--current-replicas=2")
    assert "Expected replicas to be 2, was 7" in kubectl.fails(
        "-n", namespace, "scale", "deployment/web", "--replicas=1", "--current-replicas=2"
    )


def test_generators_and_printing(kubectl, namespace, ctl):
    ctl("create", "configmap", "c", "--from-literal=a=1")
    ctl("create", "secret", "generic", "s", "--from-literal=a=1")
    ctl("create", "quota", "q", "--hard=pods=3")
    ctl("create", "pdb", "p", "--selector=app=a", "--min-available=1")
    ctl("create", "ingress", "i", "--rule=a.example.com/*=web:80")
    ctl("create", "job", "j", "--image=i")
    ctl("create", "cronjob", "k", "--image=i", "--schedule=* * * * *")
    ctl("run", "one", "--image=i")
    ctl("run", "debugged", "--image=i", "--labels=a=b", "--env=A=1")
    assert ctl("get", "secret", "s", "-o", "go-template={{.data.a}}") == "MQ=="
    columns = "custom-columns=N:.metadata.name,P:.spec.priority"
    assert [row.split() for row in ctl("get", "pods", "-o", columns, "--sort-by=.metadata.name").splitlines()] == [
        ["N", "P"],
        ["debugged", "0"],
        ["one", "0"],
    ]
    assert "debugged" in ctl("get", "pods", "-l", "a=b", "-o", "wide", "--show-labels")
    many = ctl("get", "cm,secret,quota,pdb,ingress,job,cronjob,pod", "-o", "name").split()
    assert len(many) == 9
    assert "No events found" in kubectl.run("-n", namespace, "events").stderr
    assert "Hard" in ctl("describe", "quota", "q")
    error = kubectl.fails("-n", namespace, "create", "configmap", "c")
    assert error == 'error: failed to create configmap: configmaps "c" already exists\n'
    edited = kubectl("-n", namespace, "edit", "cm", "c", KUBE_EDITOR="sed -i s/'a: \"1\"'/'a: \"2\"'/")
    assert edited == "configmap/c edited\n"
    assert ctl("get", "cm", "c", "-o", "jsonpath={.data}") == '{"a":"2"}'
    assert 'pod "one" force deleted' in ctl("delete", "pod", "one", "--grace-period=0", "--force")


def test_nodes_and_certificates(kubectl):
    node = "apiVersion: v1\nkind: Node\nmetadata: {name: interop-node}\n"
    kubectl("create", "-f", "-", input=node)
    kubectl("cordon", "interop-node")
    kubectl("taint", "node", "interop-node", "dedicated=a:NoSchedule")
    made = kubectl.json("get", "node", "interop-node")["spec"]
    assert made["unschedulable"] is True
    assert {"effect": "NoSchedule", "key": "dedicated", "value": "a"} in made["taints"]
    assert "SchedulingDisabled" in kubectl("get", "nodes")
    kubectl("delete", "node", "interop-node")


def test_kustomize(kubectl, namespace, ctl, tmp_path):
    (tmp_path / "web.yaml").write_text(WEB)
    (tmp_path / "kustomization.yaml").write_text(
        f"namespace: {namespace}\nresources: [web.yaml]\nnamePrefix: pre-\n"
        "configMapGenerator: [{name: c, literals: [a=1]}]\nimages: [{name: example.com/web, newTag: '7'}]\n"
    )
    out = kubectl("apply", "-k", str(tmp_path))
    assert "deployment.apps/pre-web created" in out
    assert ctl("get", "deployment", "pre-web", "-o", "jsonpath={..image}") == "example.com/web:7"
    assert "deleted" in kubectl("delete", "-k", str(tmp_path))
