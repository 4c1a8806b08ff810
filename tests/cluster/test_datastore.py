"""A cluster that keeps its objects in etcd: supervised, healed, backed up, and brought over to SQLite.

A control plane alone, under a name of its own: what is shown here is about its store, and needs no node.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.conftest import NAME, own_home
from tests.ports import free_port
from tests.waiting import eventually

from shirube.cluster.api import Api, ApiUnavailable
from shirube.cluster.layout import ClusterLayout, LayoutError
from shirube.cluster.spec import ClusterSpec, datastore_of
from shirube.cluster.status import store_of

pytestmark = pytest.mark.cluster
ETCD_NAME = f"{NAME}-e"
PATH = "/api/v1/namespaces/default/configmaps"


class ControlPlane:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = str(free_port())
        self.layout = ClusterLayout(ETCD_NAME, home / "lib" / ETCD_NAME, home / "run" / ETCD_NAME)

    def shirube(self, command: str, *arguments: str, fails: bool = False) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "shirube", command, *arguments, "--name", ETCD_NAME],
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "SHIRUBE_HOME": str(self.home)},
            check=False,
        )
        assert (done.returncode != 0) == fails, f"shirube {command}: {done.stderr}{done.stdout}"
        assert "Traceback" not in done.stderr
        return done.stderr if fails else done.stdout

    def up(self, *arguments: str) -> None:
        self.shirube("up", "--nodes", "0", "--port", self.port, *arguments)

    @property
    def api(self) -> Api:
        return Api(self.layout.admin_kubeconfig)

    def kept(self) -> dict[str, Any] | None:
        try:
            return self.api.get(f"{PATH}/kept")
        except ApiUnavailable:
            return None

    def processes(self) -> dict[str, dict[str, Any]]:
        found = json.loads(self.shirube("status", "-o", "json"))
        return {c["name"]: c for c in found[0]["components"]}


@pytest.fixture
def control_plane(host_before: dict[str, str]) -> Iterator[ControlPlane]:
    made = ControlPlane(own_home("-e"))
    try:
        yield made
    finally:
        made.shirube("down", "--purge")
        shutil.rmtree(made.home, ignore_errors=True)


def test_objects_in_etcd(control_plane: ControlPlane, tmp_path: Path):
    """Started, killed, backed up while it runs, restored into SQLite and back."""
    made, file = control_plane, tmp_path / "backup"
    made.up("--datastore", "etcd")
    made.api.request("POST", PATH, {"metadata": {"name": "kept"}, "data": {"n": "1"}})
    before = made.api.get(f"{PATH}/kept")
    assert before is not None
    # Nobody without a certificate of etcd's own authority; nobody outside of the namespace at all.
    assert stat.S_IMODE((made.layout.pki / "etcd" / "ca.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(made.layout.etcd.stat().st_mode) == 0o700
    assert f"etcd in {made.layout.etcd}" in made.shirube("status")

    etcd, server = (made.processes()[name]["pid"] for name in ("etcd", "apiserver"))
    os.kill(etcd, signal.SIGKILL)
    eventually(lambda: made.processes()["etcd"]["pid"] not in (0, etcd), "etcd is started again", 15)
    assert eventually(made.kept, "the API serves again", 15) == before
    made.api.request("POST", PATH, {"metadata": {"name": "after-the-kill"}})
    assert made.processes()["apiserver"]["pid"] == server, "the API server outlives etcd"

    made.shirube("backup", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "while it runs" in made.shirube("restore", str(file), fails=True)
    made.shirube("down")
    assert "`shirube backup FILE`" in made.shirube("up", "--datastore", "sqlite", fails=True)
    file.with_name("short").write_bytes(file.read_bytes()[:-20])
    refused = made.shirube("restore", str(file.with_name("short")), "--datastore", "sqlite", fails=True)
    assert "it is cut short" in refused

    made.shirube("restore", str(file), "--datastore", "sqlite")
    made.up()
    assert set(made.processes()) >= {"apiserver", "controllers"}
    assert "etcd" not in made.processes()
    after = made.api.get(f"{PATH}/kept")
    assert after is not None
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert int(after["metadata"]["resourceVersion"]) > int(before["metadata"]["resourceVersion"])
    assert made.api.get(f"{PATH}/after-the-kill") is not None

    made.shirube("backup", str(file))
    made.shirube("down")
    assert "say --overwrite" in made.shirube("restore", str(file), "--datastore", "etcd", fails=True)
    made.shirube("restore", str(file), "--datastore", "etcd", "--overwrite")
    made.up()
    again = made.api.get(f"{PATH}/kept")
    assert again is not None
    assert int(again["metadata"]["resourceVersion"]) > int(after["metadata"]["resourceVersion"])


def test_what_a_store_may_be(tmp_path: Path):
    assert datastore_of("sqlite") == ""
    url = "etcds://10.0.0.1:2379?ca=/a&cert=/b&key=/c"
    assert datastore_of(url) == url
    with pytest.raises(LayoutError, match="use sqlite, etcd, or the URL of an etcd"):
        datastore_of("mysql")
    cluster = ClusterLayout("x", tmp_path, tmp_path)
    assert store_of(cluster, ClusterSpec(datastore=url)) == "etcds://10.0.0.1:2379"
    ClusterSpec(datastore=url).save(tmp_path / "cluster.json")
    found = ClusterSpec.load(tmp_path / "cluster.json")
    assert found is not None
    assert found.datastore == url
