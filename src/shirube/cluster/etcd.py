"""The etcd that `up --datastore etcd` runs: one member beside the API server, kept running like every other process.

It listens on the loopback address inside the control plane's network namespace, with TLS, and answers nobody without
a certificate of its own authority. Old history is compacted by the API servers, so etcd's own compaction is off. Its
data stays in `lib/NAME/etcd`; what it logs is in `log/etcd.log`.

For a cluster that is stopped, `running` starts the same member on other ports for as long as a backup or a restore
takes. Flags follow etcd's "Configuration flags" (3.4 and later).
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator

from shirube.cluster import certificates
from shirube.cluster.certificates import EtcdPki
from shirube.cluster.layout import ClusterLayout
from shirube.cluster.namespaces import network_namespace_path
from shirube.cluster.supervisor import ChildSpec

ADDRESS = "127.0.0.1"
CLIENT_PORT = 2379
PEER_PORT = 2380
PACKAGE = "etcd-server"
_START_SECONDS = 30.0


class EtcdError(Exception):
    """etcd cannot be run; the message says why and what to do."""


def program() -> str:
    found = shutil.which("etcd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        raise EtcdError(f"cannot run etcd: it is not installed; run `apt-get install {PACKAGE}`")
    return found


def pki(cluster: ClusterLayout) -> EtcdPki:
    return certificates.ensure_etcd(cluster.pki / "etcd", [ADDRESS])


def url(cluster: ClusterLayout, port: int = CLIENT_PORT) -> str:
    """Where the API server finds it; `storage.open_storage` takes this."""
    return pki(cluster).url(f"{ADDRESS}:{port}")


def child(cluster: ClusterLayout) -> ChildSpec:
    """The supervised process."""
    return ChildSpec(
        name="etcd",
        log=cluster.logs / "etcd.log",
        cgroup=f"{cluster.cgroup}/control-plane",
        argv=_command(cluster, CLIENT_PORT, PEER_PORT),
        network=network_namespace_path(cluster.netns),
    )


def _command(cluster: ClusterLayout, client_port: int, peer_port: int) -> list[str]:
    cluster.etcd.mkdir(parents=True, exist_ok=True, mode=0o700)
    files = pki(cluster)
    client, advertised = f"https://{ADDRESS}:{client_port}", f"https://{ADDRESS}:{PEER_PORT}"
    return [
        program(),
        f"--name={cluster.name}",
        f"--data-dir={cluster.etcd}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls=https://{ADDRESS}:{peer_port}",
        f"--initial-advertise-peer-urls={advertised}",  # the member's name for itself, wherever it listens
        f"--initial-cluster={cluster.name}={advertised}",
        *files.server_flags(),
        f"--peer-cert-file={files.server.cert}",
        f"--peer-key-file={files.server.key}",
        f"--peer-trusted-ca-file={files.ca.cert}",
        "--peer-client-cert-auth=true",
        # The only member need not give others time to answer: it leads at once.
        "--heartbeat-interval=20",
        "--election-timeout=200",
        "--quota-backend-bytes=8589934592",
        "--snapshot-count=10000",
        "--max-snapshots=2",
        "--max-wals=2",
        "--logger=zap",
        "--log-level=warn",
    ]


@contextlib.contextmanager
def running(cluster: ClusterLayout) -> Iterator[str]:
    """The member of a stopped cluster, in this process's network namespace; yields its URL. Raises EtcdError."""
    client_port, peer_port = _free_ports(2)
    cluster.logs.mkdir(parents=True, exist_ok=True)
    log = cluster.logs / "etcd.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            _command(cluster, client_port, peer_port), stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        _wait(cluster, client_port, process)
        yield url(cluster, client_port)
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(cluster: ClusterLayout, port: int, process: subprocess.Popen[bytes]) -> None:
    log = cluster.logs / "etcd.log"
    deadline = time.monotonic() + _START_SECONDS
    while (problem := health(cluster, port)) is not None:
        if process.poll() is not None:
            raise EtcdError(f"cannot run etcd: it ended with status {process.returncode}; see {log}")
        if time.monotonic() > deadline:
            raise EtcdError(f"cannot run etcd: it is not healthy ({problem}); see {log}")
        time.sleep(0.05)


def health(cluster: ClusterLayout, port: int = CLIENT_PORT) -> str | None:
    """What is wrong with it in its own words; None when it is well."""
    files = pki(cluster)
    tls = ssl.create_default_context(cafile=str(files.ca.cert))
    tls.load_cert_chain(files.client.cert, files.client.key)
    connection = http.client.HTTPSConnection(ADDRESS, port, timeout=2, context=tls)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace").strip()
        return None if answer.status == 200 and '"true"' in text else text
    except (OSError, http.client.HTTPException) as error:
        return str(error)
    finally:
        connection.close()


def _free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind((ADDRESS, 0))
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()
