"""The everyday commands of official kubectl against a real cluster."""

from __future__ import annotations

import json
import subprocess
import urllib.request

import pytest
from tests.cluster.conftest import NAME, Cluster
from tests.ports import free_port
from tests.waiting import eventually

pytestmark = pytest.mark.cluster

IMAGE = "localhost/hello:1"
SLEEPER = ["--image", IMAGE, "--restart=Never", "--command", "--", "/bin/sh", "-c"]


def deployment(name: str, replicas: int = 1, page: str = "one") -> str:
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: {IMAGE}
        env: [{{name: PAGE, value: "{page}"}}]
        command: [/bin/sh, -c, 'mkdir -p /tmp/www; echo $PAGE > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www']
        readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
"""


@pytest.fixture
def ctl(cluster: Cluster, namespace: str):
    def run(*arguments: str, input: str | None = None, **more) -> str:
        return cluster.kubectl("-n", namespace, *arguments, input=input, **more)

    return run


def test_client_and_server_side_apply(cluster, namespace, ctl):
    assert "created" in ctl("apply", "-f", "-", input=deployment("web"))
    assert "configured" in ctl("apply", "-f", "-", input=deployment("web", page="two"))
    manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: '1'}\n"
    assert "serverside-applied" in ctl("apply", "--server-side", "-f", "-", input=manifest)
    other = manifest.replace("'1'", "'2'")
    error = cluster.fails("-n", namespace, "apply", "--server-side", "--field-manager=b", "-f", "-", input=other)
    assert 'conflict with "kubectl"' in error and ".data.a" in error
    ctl("apply", "--server-side", "--field-manager=b", "--force-conflicts", "-f", "-", input=other)
    assert ctl("get", "cm", "c", "-o", "jsonpath={.data.a}") == "2"


def test_get_in_every_form(cluster, namespace, ctl):
    ctl("apply", "-f", "-", input=deployment("web", 2))
    ctl("rollout", "status", "deployment/web", "--timeout=180s")
    lines = ctl("get", "pods").splitlines()
    assert lines[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert [line.split()[1:4] for line in lines[1:]] == [["1/1", "Running", "0"]] * 2
    assert "NODE" in ctl("get", "pods", "-o", "wide").splitlines()[0]
    assert len(json.loads(ctl("get", "pods", "-o", "json"))["items"]) == 2
    assert "kind: Deployment" in ctl("get", "deploy", "web", "-o", "yaml")
    assert ctl("get", "deploy", "web", "-o", "jsonpath={.status.readyReplicas}") == "2"
    assert len(ctl("get", "pods", "-l", "app=web", "-o", "name").splitlines()) == 2
    assert ctl("get", "pods", "-l", "app!=web", "-o", "name") == ""
    assert len(ctl("get", "pods", "--field-selector", "status.phase=Running", "-o", "name").splitlines()) == 2
    assert namespace in cluster.kubectl("get", "pods", "-A")
    assert "deployment.apps/web" in ctl("get", "all")


def test_get_watch(cluster, namespace):
    command = [cluster.kubectl_program, "--kubeconfig", str(cluster.layout.admin_kubeconfig), "-n", namespace]
    watching = subprocess.Popen([*command, "get", "cm", "-w", "-o", "name"], stdout=subprocess.PIPE, text=True)
    try:
        cluster.kubectl("-n", namespace, "create", "cm", "seen")
        for line in watching.stdout:
            if line.strip() == "configmap/seen":
                break
        else:
            pytest.fail("the watch ended without the new object")
    finally:
        watching.kill()
        watching.communicate()


def test_describe_explain_and_lists(cluster, ctl):
    ctl("apply", "-f", "-", input=deployment("web"))
    ctl("rollout", "status", "deployment/web", "--timeout=180s")
    eventually(lambda: "ScalingReplicaSet" in ctl("describe", "deployment", "web"), "the event is described")
    pod = ctl("get", "pods", "-o", "name").strip()
    described = eventually(lambda: (d := ctl("describe", pod)) and "Started" in d and d, "the start is described")
    for word in ("Scheduled", "Pulled", "Created", "Status:", "Running", "QoS Class:"):
        assert word in described
    assert "replicas" in cluster.kubectl("explain", "deployment.spec")
    assert "deployments" in cluster.kubectl("api-resources")
    assert "Server Version: v1.36" in cluster.kubectl("version")
    assert "is running at" in cluster.kubectl("cluster-info")
    assert "Ready" in cluster.kubectl("get", "nodes", "-o", "wide")
    assert "Capacity" in cluster.kubectl("describe", "nodes")


def test_label_annotate_edit_and_three_patches(cluster, namespace, ctl):
    ctl("create", "cm", "c", "--from-literal=a=1")
    ctl("label", "cm", "c", "tier=web")
    ctl("annotate", "cm", "c", "note=hello there")
    ctl("patch", "cm", "c", "--type=merge", "-p", '{"data":{"b":"2"}}')
    ctl("patch", "cm", "c", "--type=json", "-p", '[{"op":"add","path":"/data/c","value":"3"}]')
    ctl("patch", "cm", "c", "--type=strategic", "-p", '{"data":{"a":null}}')
    command = [cluster.kubectl_program, "--kubeconfig", str(cluster.layout.admin_kubeconfig), "-n", namespace]
    edited = subprocess.run(
        [*command, "edit", "cm", "c"],
        env={"KUBE_EDITOR": "sed -i s/'c: \"3\"'/'c: \"4\"'/", "PATH": "/usr/bin:/bin", "HOME": "/tmp"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert "edited" in edited.stdout, edited.stderr
    made = json.loads(ctl("get", "cm", "c", "-o", "json"))
    assert made["data"] == {"b": "2", "c": "4"}
    assert made["metadata"]["labels"] == {"tier": "web"} and made["metadata"]["annotations"]["note"] == "hello there"


def test_scale_and_rollout(ctl):
    ctl("apply", "-f", "-", input=deployment("web", 2))
    ctl("rollout", "status", "deployment/web", "--timeout=180s")
    ctl("scale", "deployment/web", "--replicas=3")
    ctl("rollout", "status", "deployment/web", "--timeout=180s")
    ctl("apply", "-f", "-", input=deployment("web", 3, page="two"))
    ctl("rollout", "status", "deployment/web", "--timeout=180s")
    history = ctl("rollout", "history", "deployment/web")
    assert [line.split()[0] for line in history.splitlines() if line[:1].isdigit()] == ["1", "2"]

    def page():
        return ctl("exec", "deploy/web", "--", "wget", "-q", "-O-", "http://127.0.0.1:8080/").strip()

    assert page() == "two"
    ctl("rollout", "undo", "deployment/web")
    ctl("rollout", "status", "deployment/web", "--timeout=180s")
    assert page() == "one"
    before = ctl("get", "pods", "-o", "name", "--field-selector", "status.phase=Running")
    ctl("rollout", "restart", "deployment/web")
    ctl("rollout", "status", "deployment/web", "--timeout=180s")
    eventually(lambda: not set(before.split()) & set(ctl("get", "pods", "-o", "name").split()), "all pods are new")


def test_logs(ctl):
    ctl("run", "talk", *SLEEPER, "echo first; echo second; sleep 0.5; echo third")
    ctl("wait", "pod/talk", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=180s")
    assert ctl("logs", "talk") == "first\nsecond\nthird\n"
    assert ctl("logs", "talk", "--tail=1") == "third\n"
    ctl("run", "follow", *SLEEPER, "for i in 1 2 3; do echo $i; sleep 0.3; done")
    ctl("wait", "pod/follow", "--for=condition=PodReadyToStartContainers", "--timeout=180s")
    assert eventually(lambda: ctl("logs", "-f", "follow") == "1\n2\n3\n", "the log is followed to its end")
    ctl(
        "run", "again", "--image", IMAGE, "--restart=Always", "--command", "--", "/bin/sh", "-c", "echo life; sleep 0.2"
    )
    eventually(lambda: "life" in ctl("logs", "--previous", "again"), "the log of the container before")


def test_exec_attach_cp_and_port_forward(cluster, namespace, ctl):
    ctl("apply", "-f", "-", input=deployment("web"))
    ctl("rollout", "status", "deployment/web", "--timeout=180s")
    pod = ctl("get", "pods", "-o", "jsonpath={.items[0].metadata.name}")
    assert ctl("exec", pod, "--", "sh", "-c", "echo out; echo err >&2") == "out\n"
    assert ctl("exec", "-i", pod, "--", "cat", input="to and fro") == "to and fro"
    assert cluster.run("-n", namespace, "exec", pod, "--", "sh", "-c", "exit 7").returncode == 7
    ctl("cp", "README.md", f"{pod}:/tmp/copied")
    assert ctl("exec", pod, "--", "cat", "/tmp/copied").startswith("# Shirube")
    port = free_port()
    command = [cluster.kubectl_program, "--kubeconfig", str(cluster.layout.admin_kubeconfig), "-n", namespace]
    forwarding = subprocess.Popen(
        [*command, "port-forward", pod, f"{port}:8080"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert "Forwarding" in forwarding.stdout.readline()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
            assert answer.read() == b"one\n"
    finally:
        forwarding.kill()
        forwarding.communicate()
    out = cluster.kubectl(
        "-n", namespace, "run", "echo", "-i", "--image", IMAGE, "--restart=Never", "--command", "--", "cat",
        input="through attach\n",
    )  # fmt: skip
    assert "through attach" in out


def test_exec_on_a_terminal(cluster, namespace, ctl):
    ctl("run", "shell", *SLEEPER, "sleep 60")
    ctl("wait", "pod/shell", "--for=condition=Ready", "--timeout=180s")
    command = (
        f"{cluster.kubectl_program} --kubeconfig {cluster.layout.admin_kubeconfig} -n {namespace} exec -it shell -- sh"
    )
    done = subprocess.run(
        ["script", "-qec", command, "/dev/null"],
        input="tty; echo done-$((40+2))\nexit 3\n",
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "done-42" in done.stdout and "/dev/pts/" in done.stdout
    ctl("delete", "pod", "shell", "--grace-period=0", "--force")


def test_expose_and_wait(ctl):
    ctl("apply", "-f", "-", input=deployment("web"))
    ctl("expose", "deployment", "web", "--port=80", "--target-port=8080")
    ctl("wait", "deployment/web", "--for=condition=Available", "--timeout=180s")
    assert eventually(
        lambda: ctl("exec", "deploy/web", "--", "wget", "-q", "-O-", "http://web/") == "one\n",
        "the Service works",
    )


def test_delete_cascades(ctl):
    for mode in ("background", "foreground", "orphan"):
        name = f"web-{mode}"
        ctl("apply", "-f", "-", input=deployment(name))
        ctl("rollout", "status", f"deployment/{name}", "--timeout=180s")
        ctl("delete", "deployment", name, f"--cascade={mode}", "--timeout=180s")
        left = ctl("get", "replicasets", "-l", f"app={name}", "-o", "name").split()
        if mode == "orphan":
            assert len(left) == 1
            assert "ownerReferences" not in ctl("get", *left, "-o", "yaml")
        else:
            eventually(lambda n=name: not ctl("get", "rs,pods", "-l", f"app={n}", "-o", "name"), f"{mode}: all is gone")


def test_auth_can_i(cluster, namespace):
    assert cluster.kubectl("auth", "can-i", "create", "pods").strip() == "yes"
    denied = cluster.run("auth", "can-i", "get", "secrets", "--as=nobody", "-n", namespace)
    assert denied.stdout.strip() == "no"
    error = cluster.fails("get", "secrets", "--as=nobody", "-n", namespace)
    assert 'secrets is forbidden: User "nobody" cannot list resource "secrets" in API group ""' in error


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: UPPER}\n",
            "a lowercase RFC 1123 subdomain must consist of",
        ),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: []}\n", "spec.containers: Required value"),
        ("apiVersion: v1\nkind: Nonsense\nmetadata: {name: p}\n", 'no matches for kind "Nonsense" in version "v1"'),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: 1}\n", "cannot unmarshal number"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndatum: {a: b}\n", 'unknown field "datum"'),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: nope}\n", 'namespaces "nope" not found'),
    ],
)
def test_a_broken_manifest_changes_nothing_and_says_why(cluster, manifest, message):
    before = cluster.kubectl("get", "cm,pods", "-n", "default", "-o", "name")
    error = cluster.fails("create", "--validate=strict", "-f", "-", input=manifest)
    assert message in error
    assert cluster.kubectl("get", "cm,pods", "-n", "default", "-o", "name") == before


def test_a_stale_write_conflicts(cluster, namespace, ctl):
    ctl("create", "cm", "c", "--from-literal=a=1")
    stale = ctl("get", "cm", "c", "-o", "json")
    ctl("label", "cm", "c", "x=y")
    error = cluster.fails("replace", "-f", "-", input=stale)
    assert "the object has been modified; please apply your changes to the latest version and try again" in error


def test_the_service_account_issuer_is_discovered_from_a_pod(cluster, ctl):
    cluster.shirube("image", "build", "tests/cluster/curl", "--name", NAME)
    ctl("run", "asker", "--image", "localhost/curl:1", "--restart=Never")
    ctl("wait", "pod/asker", "--for=condition=Ready", "--timeout=180s")
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"

    def get(path: str):
        url = f"https://kubernetes.default.svc{path}"
        fetch = f'curl -sS --cacert {folder}/ca.crt -H "Authorization: Bearer $(cat {folder}/token)" {url}'
        return json.loads(ctl("exec", "asker", "--", "sh", "-c", fetch))

    discovered = get("/.well-known/openid-configuration")
    assert discovered["issuer"] == "https://kubernetes.default.svc.cluster.local"
    [key] = get("/openid/v1/jwks")["keys"]
    assert key["kty"] == "EC" and key["use"] == "sig"
    assert get("/api/v1/namespaces")["code"] == 403
    ctl("delete", "pod", "asker", "--grace-period=0", "--force")
