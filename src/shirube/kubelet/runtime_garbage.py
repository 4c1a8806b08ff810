"""What a container runtime that was killed while it made or ended a sandbox leaves, and never looks at again: CNI
attachments, addresses of host-local, pinned network namespaces, containerd's shims, mounted root file systems.

Whatever belongs to no sandbox that the runtime knows, in two looks at least `SURE_SECONDS` apart and since before the
oldest sandbox in the making was begun, is given back: attachments by their plugins (DEL with the cached configuration,
as "CNI specification, GC" lays out), the rest by name. A CNI that somebody else brought is treated the same way.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ctypes
import errno
import ipaddress
import os
import signal
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from shirube.foundation import log
from shirube.kubelet.cri.client import CriError, Runtime

PERIOD = 10.0
ANYWAY_SECONDS = 300.0
SURE_SECONDS = 10.0
CACHE = Path("/var/lib/cni/results")
NAMESPACES = Path("/run/netns")
_NETWORKS = "/var/lib/cni/networks"
_PLUGIN_SECONDS = 30.0
_MNT_DETACH = 2
_READY, _CREATED, _RUNNING = 0, 0, 1  # of CRI: a sandbox; containers
_libc = ctypes.CDLL(None, use_errno=True)
_logger = log.get("kubelet.runtime-garbage")
Json = dict[str, Any]


class Attachment(NamedTuple):
    """One container's interface in one network, as libcni remembers it."""

    file: Path
    container: str
    interface: str
    namespace: str
    arguments: str
    configuration: Json  # of the network: name, cniVersion, plugins
    result: Json


class Shim(NamedTuple):
    """A containerd-shim of this runtime, and the sandbox that it was started for."""

    pid: int
    sandbox: str


class Root(NamedTuple):
    """A mounted root file system, and the container or sandbox that it is of."""

    path: Path
    owner: str


Thing = Attachment | Shim | Root | Path


class Known(NamedTuple):
    """What the runtime's sandboxes have."""

    sandboxes: frozenset[str]
    alive: frozenset[str]  # sandboxes that are ready, containers that are made or run
    namespaces: frozenset[str] = frozenset()  # file names in /run/netns


class RuntimeGarbage:
    def __init__(self, runtime: Runtime, conf_dir: Path, bin_dir: Path) -> None:
        self._runtime = runtime
        self._conf_dir = conf_dir
        self._bin_dir = bin_dir
        self._seen: dict[str, float] = {}  # what is nobody's, and when that was found, in the loop's time
        self._clean: tuple[int, ...] = ()  # the folders' state when nothing was
        self._clean_at = float("-inf")

    async def run(self) -> None:
        """Look from time to time, until cancelled."""
        while True:
            try:
                await self.look()
            except CriError as error:
                _logger.debug("cannot ask for the sandboxes", error=str(error))
            except OSError as error:
                _logger.warning("cannot give back what a sandbox left", error=str(error))
            await asyncio.sleep(PERIOD)

    async def look(self) -> int:
        """Give back what is surely nobody's; how many things. Raises CriError, OSError."""
        now = asyncio.get_running_loop().time()
        state, mounted = self._state(), await asyncio.to_thread(_mounted)
        known = await self._known()
        still = state == self._clean and now < self._clean_at + ANYWAY_SECONDS
        if still and all(_belongs(root, known) for root in mounted):
            return 0
        candidates = [*await asyncio.to_thread(self._candidates), *mounted]
        known = await self._with_namespaces(known, candidates)
        unknown = {_name(c): c for c in candidates if not _belongs(c, known)}
        self._seen = {key: self._seen.get(key, now) for key in unknown}
        if not unknown:
            self._clean, self._clean_at = state, now
        begun = min((now, *self._runtime.begun("RunPodSandbox"), *self._runtime.begun("StartContainer")))
        sure = [unknown[k] for k, since in self._seen.items() if since + SURE_SECONDS <= now and since < begun]
        given = 0
        for each in sorted(sure, key=lambda c: not isinstance(c, Attachment)):  # plugins may need the namespace
            try:
                await asyncio.to_thread(self._give_back, each)
            except (OSError, subprocess.TimeoutExpired) as error:
                _logger.warning("cannot give back what no sandbox has", what=_name(each), error=str(error))
            else:
                _logger.info("gave back what no sandbox has", what=_name(each))
                given += 1
        return given

    def _state(self) -> tuple[int, ...]:
        """Changes when a sandbox is made or ends, and when the runtime starts."""
        folders = (CACHE, NAMESPACES, *host_local_folders(self._conf_dir), Path(self._runtime.endpoint))
        return tuple(folder.stat().st_mtime_ns if folder.exists() else 0 for folder in folders)

    def _candidates(self) -> list[Thing]:
        addresses = [p for folder in host_local_folders(self._conf_dir) for p in _files(folder) if _is_address(p.name)]
        namespaces = [p for p in _files(NAMESPACES) if p.name.startswith("cni-")]
        return [*attachments(CACHE), *addresses, *namespaces, *shims(self._runtime.endpoint)]

    async def _known(self) -> Known:
        sandboxes = (await self._runtime.call("ListPodSandbox")).items
        containers = (await self._runtime.call("ListContainers")).containers
        alive = {one.id for one in sandboxes if one.state == _READY}
        alive |= {one.id for one in containers if one.state in (_CREATED, _RUNNING)}
        return Known(frozenset(one.id for one in sandboxes), frozenset(alive))

    async def _with_namespaces(self, known: Known, candidates: Iterable[Thing]) -> Known:
        ids = known.sandboxes
        attached = [c for c in candidates if isinstance(c, Attachment) and c.container in ids]
        namespaces = {Path(c.namespace).name for c in attached}
        if any(isinstance(c, Path) and c.parent == NAMESPACES and c.name not in namespaces for c in candidates):
            for sandbox in ids:  # rare, and dear: a call for each
                status = await self._runtime.call("PodSandboxStatus", pod_sandbox_id=sandbox, verbose=True)
                namespaces |= _namespaces(status.info.get("info", "{}"))
        return known._replace(namespaces=frozenset(namespaces))

    def _give_back(self, what: Thing) -> None:
        if isinstance(what, Attachment):
            self._detach(what)
        elif isinstance(what, Shim):
            _end(what)
        elif isinstance(what, Root):
            _unmount(what.path)
        elif what.parent == NAMESPACES:
            _unmount(what)
            what.unlink(missing_ok=True)
        else:
            what.unlink(missing_ok=True)

    def _detach(self, attachment: Attachment) -> None:
        """DEL, the last plugin first. What a plugin cannot undo stays remembered and is tried again."""
        network = attachment.configuration
        common = {"name": network.get("name"), "cniVersion": network.get("cniVersion"), "prevResult": attachment.result}
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "CNI_COMMAND": "DEL",
            "CNI_CONTAINERID": attachment.container,
            "CNI_IFNAME": attachment.interface,
            "CNI_NETNS": attachment.namespace if Path(attachment.namespace or "/nothing").exists() else "",
            "CNI_ARGS": attachment.arguments,
            "CNI_PATH": str(self._bin_dir),
        }
        for plugin in reversed(network.get("plugins") or [network]):
            program = self._bin_dir / Path(plugin["type"]).name
            done = subprocess.run(
                [program],
                input=orjson.dumps({**plugin, **common}),
                capture_output=True,
                env=environment,
                timeout=_PLUGIN_SECONDS,
                check=False,
            )
            if done.returncode != 0:
                said = (done.stdout or done.stderr)[:300].decode(errors="replace")
                raise OSError(f"{plugin['type']} cannot detach {attachment.container}: {said}")
        attachment.file.unlink(missing_ok=True)


def _unmount(path: Path) -> None:
    """Raises OSError, but not when nothing is mounted there."""
    if _libc.umount2(os.fsencode(path), _MNT_DETACH) != 0 and (number := ctypes.get_errno()) not in (0, errno.EINVAL):
        raise OSError(number, os.strerror(number), str(path))


def _mounted() -> list[Root]:
    return roots(Path("/proc/self/mountinfo").read_text())


def roots(mountinfo: str) -> list[Root]:
    """The root file systems that containerd has mounted in this mount namespace."""
    found = []
    for line in mountinfo.splitlines():
        path = line.split(" ", 5)[4]
        if path.endswith("/rootfs") and "/io.containerd.runtime.v2.task/" in path:
            found.append(Root(Path(path), path.split("/")[-2]))
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _name(what: Thing) -> str:
    if isinstance(what, Root):
        return str(what.path)
    if isinstance(what, Shim):
        return f"shim {what.pid} of {what.sandbox}"
    return str(what.file if isinstance(what, Attachment) else what)


def shims(endpoint: str) -> list[Shim]:
    """Those that were started by the containerd of this socket. Each holds one sandbox and its containers."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended meanwhile
        if Path(os.fsdecode(words[0])).name.startswith("containerd-shim") and endpoint.encode() in words:
            at = words.index(b"-id") if b"-id" in words else -2
            if b"delete" not in words and at >= 0:
                found.append(Shim(int(path.parent.name), words[at + 1].decode()))
    return found


def _end(shim: Shim) -> None:
    """Its processes first: without it nobody would know them any more."""
    _send(shim.pid, signal.SIGSTOP)
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if parent == shim.pid:
            _send(int(path.parent.name), signal.SIGKILL)
    _send(shim.pid, signal.SIGKILL)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def attachments(cache: Path) -> list[Attachment]:
    """What libcni remembers; files that it is just writing, or that are not its own, are left out."""
    found = []
    for file in _files(cache):
        try:
            said = orjson.loads(file.read_bytes())
            configuration = orjson.loads(base64.b64decode(said["config"]))
            result = said.get("result") or {}
            sandboxes = [i["sandbox"] for i in result.get("interfaces") or () if i.get("sandbox")]
            arguments = ";".join(f"{key}={value}" for key, value in said.get("cniArgs") or ())
            namespace = sandboxes[0] if sandboxes else ""
            found.append(
                Attachment(file, said["containerId"], said["ifName"], namespace, arguments, configuration, result)
            )
        except (ValueError, KeyError, TypeError, FileNotFoundError):
            continue
    return found


def host_local_folders(conf_dir: Path) -> list[Path]:
    """Where the networks of these configurations keep the addresses that they gave out."""
    found = []
    for file in _files(conf_dir):
        try:
            network = orjson.loads(file.read_bytes())
        except ValueError:
            continue
        for plugin in network.get("plugins") or [network]:
            ipam = plugin.get("ipam") or {}
            if ipam.get("type") == "host-local":
                found.append(Path(ipam.get("dataDir") or _NETWORKS) / network["name"])
    return found


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.replace("_", ":"))
    except ValueError:
        return False
    return True


def _belongs(what: Thing, known: Known) -> bool:
    if isinstance(what, Attachment):
        return what.container in known.sandboxes
    if isinstance(what, Shim):
        return what.sandbox in known.sandboxes
    if isinstance(what, Root):
        return what.owner in known.alive
    if what.parent == NAMESPACES:
        return what.name in known.namespaces
    try:
        return what.read_text().partition("\n")[0].strip() in known.sandboxes
    except FileNotFoundError:
        return True


def _namespaces(info: str) -> set[str]:
    """File names of the network namespaces in a sandbox's verbose status."""
    try:
        said: Mapping[str, Any] = orjson.loads(info)
    except orjson.JSONDecodeError:
        return set()
    listed = ((said.get("runtimeSpec") or {}).get("linux") or {}).get("namespaces") or ()
    return {Path(n["path"]).name for n in listed if n.get("type") == "network" and n.get("path")}
