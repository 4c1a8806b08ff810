"""A real NFS server, NFS-Ganesha, on a node's own address, and a mount.nfs on that node when its kernel has no client.

The server's own mounts and processes are in namespaces that end with it. The stand-in for mount.nfs is bound over the
real one in the node's mount namespace alone; the machine's stays as it is.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import aftermath
from tests.waiting import eventually

from shirube.cluster.layout import NodeLayout
from shirube.kubelet.volumes.nfs_directory import kernel_has_client

_STAND_IN = Path(__file__).with_name("mount_nfs.py")
_HELPER = "/sbin/mount.nfs"
_CONFIGURATION = """
NFS_CORE_PARAM {{
    Protocols = 4; NFS_Port = 2049; Bind_addr = {address};
    Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false;
}}
NFSv4 {{ Graceless = true; Only_Numeric_Owners = true; RecoveryRoot = {top}/state; }}
EXPORT {{
    Export_Id = 1; Path = {top}/export; Pseudo = {share};
    Access_Type = RW; Squash = No_Root_Squash; SecType = sys; FSAL {{ Name = VFS; }}
}}
LOG {{ Default_Log_Level = WARN; }}
"""
_SERVE = (
    'mount -n -t tmpfs tmpfs /run && mkdir /run/ganesha && exec ganesha.nfsd -F -f "$1" -L "$2" -p /run/ganesha.pid'
)


@dataclass(frozen=True)
class Export:
    server: str
    share: str
    directory: Path  # what is exported, seen from the server's side


def _in_mounts_of(node: NodeLayout, *command: str) -> subprocess.CompletedProcess[str]:
    where = f"--mount={node.mount_namespace}"
    return subprocess.run(["nsenter", where, *command], capture_output=True, text=True, check=False)


def _clients(export: Export) -> list[int]:
    """Processes of the stand-in that serve a mount of this export."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:  # it has just ended
            continue
        if any(word.startswith(f"{export.server}:{export.share}".encode()) for word in words):
            found.append(int(entry.parent.name))
    return found


@contextmanager
def nfs_server(node: NodeLayout, address: str) -> Iterator[Export]:
    top = Path(tempfile.mkdtemp(prefix=f"shirube-{aftermath.NAME}-nfs-", dir="/tmp"))
    export = Export(address, f"/{top.name}", top / "export")
    for name in ("export", "state"):
        (top / name).mkdir()
    (top / "ganesha.conf").write_text(_CONFIGURATION.format(address=address, top=top, share=export.share))
    command = ["nsenter", f"--net=/run/netns/{node.netns}"]
    command += ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
    command += ["sh", "-c", _SERVE, "sh", str(top / "ganesha.conf"), str(top / "log")]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stands_in = not kernel_has_client()
    try:
        eventually(lambda: _listens(node, server, top / "log"), "the NFS server listens")
        if stands_in:
            bound = _in_mounts_of(node, "mount", "-n", "--bind", str(_STAND_IN), _HELPER)
            assert bound.returncode == 0, bound.stderr
        yield export
    finally:
        if stands_in:
            _in_mounts_of(node, "umount", "-n", _HELPER)
        _end(server)
        for pid in _clients(export):  # of a test that failed
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(top)


def _end(server: subprocess.Popen[bytes]) -> None:
    """By the process inside: it is then reaped by `unshare`, which ends with it."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    for pid in children or [str(server.pid)]:
        os.kill(int(pid), signal.SIGKILL)
    server.wait()


def _listens(node: NodeLayout, server: subprocess.Popen[bytes], log: Path) -> bool:
    assert server.poll() is None, f"the NFS server ended: {log.read_text() if log.exists() else 'without a word'}"
    question = ["nsenter", f"--net=/run/netns/{node.netns}", "ss", "-Hltn", "sport", "=", ":2049"]
    return bool(subprocess.run(question, capture_output=True, text=True, check=True).stdout)
