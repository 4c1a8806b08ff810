"""A real containerd for tests, in namespaces of its own that this thread joins too.

The calling thread gets a network and a mount namespace (so that agent code under test sees what a node
agent sees: pod IPs, tmpfs mounts), containerd and everything that it starts also a PID namespace that dies
with it. Leaving the context kills all of it, removes the cgroups and goes back to the host's namespaces.
"""

from __future__ import annotations

import contextlib
import ctypes
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests import aftermath
from tests.waiting import eventually

CLONE_FS, CLONE_NEWNS, CLONE_NEWNET = 0x200, 0x20000, 0x40000000
_CNI = Path("/var/lib/cni")
BUSYBOX = "shirube.test/busybox:1"
PAUSE = "shirube.test/pause:1"
APPLETS = "sh cat echo ls sleep wget nc httpd id env mount stat touch true false ps hostname grep mkdir rm ln kill"
_libc = ctypes.CDLL(None, use_errno=True)

CONFIG = """
version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{dir}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun.options]
        BinaryName = "crun"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{dir}/cni"
"""

CNI = {
    "cniVersion": "0.4.0",
    "name": "test",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipMasq": False,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.244.9.0/24"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
    ],
}


class Containerd:
    def __init__(self, directory: Path) -> None:
        self.dir = directory
        self.socket = str(directory / "containerd.sock")
        self.cgroup_root = f"/{aftermath.NAME}-kubelet/kubepods"
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "slave"]
        command += ["/usr/bin/catatonit", "--", "containerd", "--config", str(self.dir / "config.toml")]
        with (self.dir / "containerd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        _wait_until_serving(self, self._process)

    def stop(self) -> None:
        """End it and all containers at once, as a power failure would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)
        _remove_cgroups("/" + self.cgroup_root.split("/")[1])

    def ctr(self, *args: str) -> None:
        command = ["ctr", "-a", self.socket, "-n", "k8s.io", *args]
        subprocess.run(command, check=True, timeout=30, capture_output=True)


def _blob(layout: Path, data: bytes, media: str) -> dict:
    digest = hashlib.sha256(data).hexdigest()
    (layout / "blobs/sha256" / digest).write_bytes(data)
    return {"mediaType": media, "digest": "sha256:" + digest, "size": len(data)}


def rootfs(files: dict[str, Path], links: dict[str, str], texts: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("bin", "etc", "tmp", "proc", "sys", "dev", "root", "var"):
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(info)
        for name, source in files.items():
            info = tarfile.TarInfo(name)
            info.mode, info.size = 0o755, source.stat().st_size
            with source.open("rb") as file:
                tar.addfile(info, file)
        for name, target in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
        for name, text in texts.items():
            info = tarfile.TarInfo(name)
            info.mode, info.size = 0o644, len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


def image_tar(directory: Path, name: str, rootfs: bytes, config: dict, *above: bytes) -> Path:
    """An OCI layout archive of one image: a layer of the root file system, and those above it."""
    layout = directory / "layout"
    shutil.rmtree(layout, ignore_errors=True)
    (layout / "blobs/sha256").mkdir(parents=True)
    oci = "application/vnd.oci.image"
    layers = [_blob(layout, gzip.compress(one, 1), f"{oci}.layer.v1.tar+gzip") for one in (rootfs, *above)]
    diffs = ["sha256:" + hashlib.sha256(one).hexdigest() for one in (rootfs, *above)]
    body = {"architecture": "amd64", "os": "linux", "config": config}
    body["rootfs"] = {"type": "layers", "diff_ids": diffs}
    image = _blob(layout, json.dumps(body).encode(), f"{oci}.config.v1+json")
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{oci}.manifest.v1+json",
        "config": image,
        "layers": layers,
    }
    top = _blob(layout, json.dumps(manifest).encode(), f"{oci}.manifest.v1+json")
    top["annotations"] = {"io.containerd.image.name": name}
    index = {"schemaVersion": 2, "manifests": [top]}
    (layout / "index.json").write_text(json.dumps(index))
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    path = directory / "image.tar"
    with tarfile.open(path, "w") as tar:
        for entry in sorted(layout.rglob("*")):
            tar.add(entry, entry.relative_to(layout), recursive=False)
    return path


def _import_images(containerd: Containerd) -> None:
    texts = {
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nweb:x:1001:1002:web:/:/bin/sh\n",
        "etc/group": "root:x:0:\nweb:x:1002:\nextra:x:1003:web\n",
    }
    links = {f"bin/{applet}": "busybox" for applet in APPLETS.split()}
    busybox = rootfs({"bin/busybox": Path("/bin/busybox")}, links, texts)
    config = {"Env": ["PATH=/bin"], "Cmd": ["sh"]}
    containerd.ctr("images", "import", str(image_tar(containerd.dir, BUSYBOX, busybox, config)))
    pause = rootfs({"pause": Path("/usr/bin/catatonit")}, {}, {})
    config = {"Entrypoint": ["/pause", "-P"]}
    containerd.ctr("images", "import", str(image_tar(containerd.dir, PAUSE, pause, config)))


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextlib.contextmanager
def _shared_folder() -> Iterator[None]:
    """There is a /var/lib/cni to mount something on, and the machine's clusters see that it is used."""
    name = f"{aftermath.NAME}-kubelet"
    made = not _CNI.exists()
    _CNI.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
        if made:
            with contextlib.suppress(OSError):  # somebody else uses it, too
                _CNI.rmdir()


@contextlib.contextmanager
def _own_namespaces() -> Iterator[None]:
    kinds = (("net", CLONE_NEWNET), ("mnt", CLONE_NEWNS))
    old = [(os.open(f"/proc/thread-self/ns/{name}", os.O_RDONLY), flag) for name, flag in kinds]
    cwd = os.getcwd()
    try:
        _checked(_libc.unshare(CLONE_NEWNET | CLONE_NEWNS))
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        # containerd's mount namespace follows this one, as if it were the same.
        subprocess.run(["mount", "--make-rshared", "/"], check=True)
        # Names of pod network namespaces, sockets of shims and addresses given out stay in here, also when a test is
        # cut short; the machine's own are left alone.
        for private in ("/run", "/var/lib/cni"):
            subprocess.run(["mount", "-n", "-t", "tmpfs", "-o", "mode=755", "tmpfs", private], check=True)
        os.mkdir("/run/netns")
        if Path("/sys/fs/cgroup/unified").is_dir():
            # crun refuses a machine with both kinds of cgroups; nothing here uses the second.
            subprocess.run(["mount", "-t", "tmpfs", "none", "/sys/fs/cgroup/unified"], check=True)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        # Threads started meanwhile (gRPC's) share this thread's root and cwd, which setns refuses.
        _checked(_libc.unshare(CLONE_FS))
        for fd, flag in old:
            _checked(_libc.setns(fd, flag))
            os.close(fd)
        os.chdir(cwd)


def _remove_cgroups(root: str) -> None:
    def gone(top: Path) -> bool:
        for directory, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):  # a process is still on its way out
                os.rmdir(directory)
        return not top.exists()

    for hierarchy in Path("/sys/fs/cgroup").iterdir():
        if hierarchy.name != "unified":  # that is a tmpfs of ours, see above
            top = hierarchy / root.strip("/")
            eventually(partial(gone, top), f"{top} is gone", 15, pause=0.01)


@contextlib.contextmanager
def containerd_running(directory: Path) -> Iterator[Containerd]:
    """containerd with its images imported and a pod network ready."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "cni").mkdir()
    (directory / "cni/10-test.conflist").write_text(json.dumps(CNI))
    (directory / "config.toml").write_text(CONFIG.format(dir=directory, pause=PAUSE))
    node = Containerd(directory)
    with _shared_folder(), _own_namespaces():
        try:
            node.start()
            _import_images(node)
            yield node
        finally:
            node.stop()


def _wait_until_serving(node: Containerd, process: subprocess.Popen) -> None:
    def serving() -> bool:
        if process.poll() is not None:
            raise RuntimeError("containerd ended: " + (node.dir / "containerd.log").read_text()[-2000:])
        with contextlib.suppress(subprocess.CalledProcessError):
            if os.path.exists(node.socket):
                node.ctr("version")
                return True
        return False

    eventually(serving, "containerd answers", 20, pause=0.01)
