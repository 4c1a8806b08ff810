"""etcdctl reads what the server wrote on real etcd: a key for each object, its JSON, and revisions that agree."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import NamedTuple

import orjson
import pytest
from kubernetes import client
from kubernetes import config as loading
from kubernetes.client.exceptions import ApiException
from tests.interop.conftest import Kubectl, start_server, stop_server
from tests.storage.etcd_process import EtcdProcess
from tests.waiting import eventually

COUNT, LIMIT = 40, 7


class OnEtcd(NamedTuple):
    kubectl: Kubectl
    etcdctl: Callable[..., str]


@pytest.fixture(scope="module")
def on_etcd(tmp_path_factory) -> Iterator[OnEtcd]:
    """A server whose store is an etcd of its own, kubectl for the one and etcdctl for the other."""
    program = shutil.which("etcdctl")
    assert program, "etcdctl is not installed: apt-get install etcd-client"
    folder = tmp_path_factory.mktemp("on-etcd")
    etcd = EtcdProcess(folder / "etcd")

    def etcdctl(*arguments: str) -> str:
        done = subprocess.run(
            [program, f"--endpoints={etcd.url.removeprefix('etcd://')}", *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
            env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"},
        )
        return done.stdout

    try:
        server, config = start_server(folder / "server", "--datastore", etcd.url)
        try:
            yield OnEtcd(Kubectl(config, folder), etcdctl)
        finally:
            stop_server(server)
    finally:
        etcd.remove()


def test_what_was_written_is_in_etcd(on_etcd):
    kubectl, etcdctl = on_etcd
    kubectl("create", "configmap", "seen", "--from-literal=a=1")
    stored = kubectl.json("get", "configmap", "seen")
    key = etcdctl("get", "--prefix", "/registry/", "--keys-only")
    name = next(line for line in key.split() if line.endswith("/configmaps/default/seen"))
    found = orjson.loads(etcdctl("get", name, "-w", "json"))["kvs"][0]
    assert str(found["mod_revision"]) == stored["metadata"]["resourceVersion"]
    value = orjson.loads(etcdctl("get", name, "--print-value-only"))
    assert value["metadata"]["uid"] == stored["metadata"]["uid"] and value["data"] == {"a": "1"}
    kubectl("delete", "configmap", "seen")
    assert etcdctl("get", name) == ""


@pytest.mark.conformance(
    "[sig-api-machinery] Servers with support for API chunking should support continue listing from the last key if "
    "the original version has been compacted away, though the list is inconsistent [Slow] [Conformance]"
)
def test_a_list_goes_on_after_its_version_was_compacted(on_etcd):
    """Compacted by etcdctl, where upstream's test waits five minutes for the server to do it."""
    kubectl, etcdctl = on_etcd
    with loading.new_client_from_config(str(kubectl.config)) as api:
        core = client.CoreV1Api(api)

        def template(number: int) -> dict:
            pods = {"spec": {"containers": [{"name": "c", "image": "i"}]}}
            return {"metadata": {"name": f"template-{number:04d}"}, "template": pods}

        for number in range(COUNT):
            core.create_namespaced_pod_template("default", template(number))
        first = core.list_namespaced_pod_template("default", limit=LIMIT)
        assert first.metadata.remaining_item_count == COUNT - LIMIT
        token, version = first.metadata._continue, first.metadata.resource_version
        second = core.list_namespaced_pod_template("default", limit=LIMIT, _continue=token)
        assert second.metadata.resource_version == version
        core.create_namespaced_pod_template("default", template(COUNT))
        newest = core.list_namespaced_pod_template("default", limit=1).metadata.resource_version
        etcdctl("compact", newest)

        def refused() -> ApiException | None:
            try:
                core.list_namespaced_pod_template("default", limit=LIMIT, _continue=token)
            except ApiException as error:
                return error
            return None

        status = orjson.loads(eventually(refused, "the token has expired").body)
        assert status["code"] == 410 and status["reason"] == "Expired"
        page = core.list_namespaced_pod_template("default", limit=LIMIT, _continue=status["metadata"]["continue"])
        assert int(page.metadata.resource_version) > int(version)  # of another moment than the first page
        assert page.metadata.remaining_item_count == COUNT + 1 - 2 * LIMIT
        names = [item.metadata.name for item in page.items]
        while page.metadata._continue:
            page = core.list_namespaced_pod_template("default", limit=LIMIT, _continue=page.metadata._continue)
            names += [item.metadata.name for item in page.items]
        assert names == [f"template-{number:04d}" for number in range(LIMIT, COUNT + 1)]
