"""etcdctl reads what the server wrote on real etcd: a key for each object, its JSON, and revisions that agree."""

from __future__ import annotations

import shutil
import subprocess

import orjson
from tests.interop.conftest import Kubectl, start_server, stop_server
from tests.storage.etcd_process import EtcdProcess


def test_what_was_written_is_in_etcd(tmp_path):
    program = shutil.which("etcdctl")
    assert program, "etcdctl is not installed: apt-get install etcd-client"
    etcd = EtcdProcess(tmp_path / "etcd")

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
        server, config = start_server(tmp_path / "server", "--datastore", etcd.url)
        try:
            kubectl = Kubectl(config, tmp_path)
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
        finally:
            stop_server(server)
    finally:
        etcd.remove()
