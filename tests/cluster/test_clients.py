"""What the official Python clients need a node for: commands in containers, logs, forwarded ports, in both editions."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from kubernetes import client, stream
from kubernetes import config as loading
from kubernetes_asyncio import client as aio_client
from kubernetes_asyncio import config as aio_loading
from kubernetes_asyncio import stream as aio_stream
from tests.cluster.conftest import Cluster

pytestmark = pytest.mark.cluster
PAGE = "echo hello from $HOSTNAME > /tmp/index.html; echo started; exec httpd -f -p 8080 -h /tmp"


@pytest.fixture
def pod(cluster: Cluster, namespace: str) -> Iterator[str]:
    image = ["--image=localhost/hello:1", "--restart=Never"]
    cluster.kubectl("-n", namespace, "run", "web", *image, "--command", "--", "/bin/sh", "-c", PAGE)
    cluster.kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod/web", "--timeout=180s")
    yield "web"
    cluster.kubectl("-n", namespace, "delete", "pod", "web", "--grace-period=0", "--force")


def test_the_official_client(cluster, namespace, pod):
    with loading.new_client_from_config(str(cluster.layout.admin_kubeconfig)) as api:
        core = client.CoreV1Api(api)
        command = ["/bin/sh", "-c", "echo to stdout; echo to stderr >&2; read line; echo got $line; exit 3"]
        session = stream.stream(
            core.connect_get_namespaced_pod_exec,
            pod,
            namespace,
            command=command,
            stdin=True,
            stdout=True,
            stderr=True,
            tty=False,
            _preload_content=False,
        )
        session.write_stdin("a line\n")
        session.run_forever(timeout=60)
        assert session.read_stdout() == "to stdout\ngot a line\n" and session.read_stderr() == "to stderr\n"
        assert session.returncode == 3
        session.sock.shutdown()  # its own close leaves the socket open after a close of ours

    with loading.new_client_from_config(str(cluster.layout.admin_kubeconfig)) as api:
        core = client.CoreV1Api(api)
        # Its own decoding of plain text gives "b'…'".
        log = core.read_namespaced_pod_log(pod, namespace, _preload_content=False)
        assert log.data == b"started\n"
        forwarded = stream.portforward(core.connect_get_namespaced_pod_portforward, pod, namespace, ports="8080")
        connection = forwarded.socket(8080)
        connection.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
        answer = b""
        while data := connection.recv(65536):
            answer += data
        assert b"hello from web" in answer
        connection.close()
        forwarded.close()
        for thread in threading.enumerate():
            if thread.name.startswith("Kubernetes port forward proxy"):
                thread.join(10)
        forwarded.websocket.shutdown()


async def test_the_asyncio_client(cluster, namespace, pod):
    configuration = aio_client.Configuration()
    await aio_loading.load_kube_config(str(cluster.layout.admin_kubeconfig), client_configuration=configuration)
    async with aio_stream.WsApiClient(configuration) as api:
        core = aio_client.CoreV1Api(api)
        command = ["/bin/sh", "-c", "cat /tmp/index.html"]
        said = await core.connect_get_namespaced_pod_exec(
            pod, namespace, command=command, stderr=True, stdin=False, stdout=True, tty=False
        )
        assert said == "hello from web\n"
    async with aio_client.ApiClient(configuration) as api:
        core = aio_client.CoreV1Api(api)
        assert await core.read_namespaced_pod_log(pod, namespace, tail_lines=1) == "started\n"
        page = await core.connect_get_namespaced_pod_proxy_with_path(f"{pod}:8080", namespace, "index.html")
        assert page == "hello from web\n"
