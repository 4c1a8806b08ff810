"""One process that starts a cluster's components in their namespaces and restarts what dies.

It imports what the components share, freezes that memory and forks them, so that the pages are shared and a restart
costs milliseconds. It runs no event loop and no thread: a fork is only safe so. It holds the sockets that listen on the
host (the API's, published ports) and hands them into namespaces: a restarted API server finds its connections waiting.

Others talk to it over a Unix socket, a JSON object a line (`shirube.cluster.control` is the other end):

    {"op": "status"}                                  -> {"ok": true, "children": [{name, pid, restarts, ...}]}
    {"op": "listen", "address", "port", "protocol"}   -> {"ok": true} with the listening socket attached (SCM_RIGHTS)
    {"op": "close", "address", "port", "protocol"}    -> {"ok": true}
    {"op": "add_node", "node": N}                     -> {"ok": true}, and the node's processes are started
    {"op": "remove_node", "node": N}                  -> {"ok": true}; they are told to end, and gone from `status` when
                                                         they have
    {"op": "stop"}                                    -> {"ok": true}, then every child is stopped, last started first

Should it be killed, the kernel sends its children SIGTERM (they drain and end); containers go on, and the next `up`
starts everything again around them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from shirube.cluster import cgroups, namespaces
from shirube.foundation import log

_logger = log.get("supervisor")
_libc = ctypes.CDLL(None, use_errno=True)
_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG = 1

_FIRST_BACKOFF = 0.2
_LONGEST_BACKOFF = 10.0
_STABLE_SECONDS = 30.0
_STOP_SECONDS = 15.0
_LOG_BYTES = 20 * 2**20
_LINE_BYTES = 65536


@dataclass(slots=True)
class ChildSpec:
    """A process to keep running: a function in a fork of this process, or a program."""

    name: str
    log: Path
    cgroup: str
    main: Callable[[], int] | None = None
    argv: list[str] | None = None
    network: Path | None = None
    mount: Path | None = None
    uts: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)
    keep: tuple[socket.socket, ...] = ()  # inherited sockets; everything else is closed in the child


@dataclass(slots=True)
class _Child:
    spec: ChildSpec
    pid: int = 0
    started: float = 0.0
    restarts: int = 0
    backoff: float = _FIRST_BACKOFF
    start_at: float | None = 0.0
    last_exit: str = ""
    kill_at: float | None = None  # set: it is to end for good, and is killed then


class Supervisor:
    def __init__(
        self, control: Path, children: list[ChildSpec], node_children: Callable[[int], list[ChildSpec]] | None = None
    ) -> None:
        self._children = [_Child(spec) for spec in children]
        self._node_children = node_children
        self._published: dict[tuple[str, int, str], socket.socket] = {}
        self._control_path = control
        self._selector = selectors.DefaultSelector()
        self._stopping = False

    def run(self) -> int:
        """Start everything and keep it running until told to stop. Returns the exit code."""
        wakeup_read, wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        self._selector.register(wakeup_read, selectors.EVENT_READ, "signal")
        control = self._open_control()
        try:
            while not self._stopping:
                self._start_due()
                for key, _ in self._selector.select(self._timeout()):
                    if key.data == "signal":
                        self._on_signals(os.read(wakeup_read, 512))
                    elif key.data == "control":
                        self._accept(control)
                    else:
                        self._serve(key.data)
                self._end_leaving()
                self._limit_logs()
            self._stop_all()
        finally:
            control.close()
            self._control_path.unlink(missing_ok=True)
        return 0

    # Children

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.start_at is not None and child.start_at <= now:
                self._start(child)

    def _start(self, child: _Child) -> None:
        child.start_at = None
        child.started = time.monotonic()
        parent = os.getpid()
        # A signal for the child that comes before it is itself would be lost, or told to this process as its own.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if pid == 0:
            _become(child.spec, parent, mask)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        child.pid = pid
        _logger.info("started", component=child.spec.name, pid=pid, restarts=child.restarts)

    def _on_signals(self, numbers: bytes) -> None:
        if signal.SIGTERM in numbers or signal.SIGINT in numbers:
            self._stopping = True
        self._reap()

    def _reap(self) -> None:
        for child in self._children:
            if not child.pid:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid == 0:
                continue
            code = os.waitstatus_to_exitcode(status)
            child.pid = 0
            child.last_exit = f"signal {-code}" if code < 0 else f"exit status {code}"
            if self._stopping or child.kill_at is not None:
                continue
            if time.monotonic() - child.started > _STABLE_SECONDS:
                child.backoff = _FIRST_BACKOFF
            child.start_at = time.monotonic() + child.backoff
            _logger.warning("ended", component=child.spec.name, how=child.last_exit, restart_in=f"{child.backoff:.1f}s")
            child.backoff = min(child.backoff * 2, _LONGEST_BACKOFF)
            child.restarts += 1

    def _stop_all(self) -> None:
        for child in reversed(self._children):
            if not child.pid:
                continue
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGTERM)
            deadline = time.monotonic() + _STOP_SECONDS
            while child.pid and time.monotonic() < deadline:
                self._reap()
                time.sleep(0.01)
            if child.pid:
                _logger.warning("does not stop, killing it", component=child.spec.name, pid=child.pid)
                os.kill(child.pid, signal.SIGKILL)
                os.waitpid(child.pid, 0)
                child.pid = 0

    def _timeout(self) -> float:
        times = [t for c in self._children for t in (c.start_at, c.kill_at) if t is not None]
        waits = [t - time.monotonic() for t in times]
        return max(0.0, min(waits, default=60.0))

    # Nodes that come and go

    def _add_node(self, number: int) -> None:
        if self._node_children is None:
            raise ValueError("this supervisor knows no nodes")
        wanted = self._node_children(number)
        present = {c.spec.name for c in self._children}
        if taken := sorted(present & {spec.name for spec in wanted}):
            raise ValueError(f"{', '.join(taken)} runs already")
        self._children += [_Child(spec) for spec in wanted]

    def _remove_node(self, number: int) -> None:
        if self._node_children is None:
            raise ValueError("this supervisor knows no nodes")
        names = {spec.name for spec in self._node_children(number)}
        for child in self._children:
            if child.spec.name in names and child.kill_at is None:
                child.start_at = None
                child.kill_at = time.monotonic() + _STOP_SECONDS
                if child.pid:
                    os.kill(child.pid, signal.SIGTERM)

    def _end_leaving(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.kill_at is not None and child.pid and child.kill_at <= now:
                _logger.warning("does not stop, killing it", component=child.spec.name, pid=child.pid)
                os.kill(child.pid, signal.SIGKILL)
                child.kill_at = now + _STOP_SECONDS
        self._children = [c for c in self._children if c.kill_at is None or c.pid]

    def _limit_logs(self) -> None:
        # The writers hold the files open for appending: copy away, then truncate in place.
        for child in self._children:
            with contextlib.suppress(FileNotFoundError):
                if child.spec.log.stat().st_size > _LOG_BYTES:
                    child.spec.log.with_suffix(".log.1").write_bytes(child.spec.log.read_bytes())
                    os.truncate(child.spec.log, 0)

    # Control

    def _open_control(self) -> socket.socket:
        self._control_path.parent.mkdir(parents=True, exist_ok=True)
        self._control_path.unlink(missing_ok=True)
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        server.bind(str(self._control_path))
        os.chmod(self._control_path, 0o600)
        server.listen(16)
        server.setblocking(False)
        self._selector.register(server, selectors.EVENT_READ, "control")
        return server

    def _accept(self, control: socket.socket) -> None:
        connection, _ = control.accept()
        connection.settimeout(1.0)
        self._selector.register(connection, selectors.EVENT_READ, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            line = connection.recv(_LINE_BYTES)
            if line:
                answer, attached = self._answer(line)
                data = orjson.dumps(answer) + b"\n"
                fds = [attached.fileno()] if attached is not None else []
                socket.send_fds(connection, [data], fds)
                return
        except OSError as error:
            _logger.warning("control connection failed", error=str(error))
        self._selector.unregister(connection)
        connection.close()

    def _answer(self, line: bytes) -> tuple[dict[str, Any], socket.socket | None]:
        try:
            request = orjson.loads(line)
            operation = request["op"]
            if operation == "status":
                return {"ok": True, "pid": os.getpid(), "children": [self._describe(c) for c in self._children]}, None
            if operation == "stop":
                self._stopping = True
                return {"ok": True, "pid": os.getpid()}, None
            if operation == "add_node":
                self._add_node(int(request["node"]))
                return {"ok": True}, None
            if operation == "remove_node":
                self._remove_node(int(request["node"]))
                return {"ok": True}, None
            if operation in ("listen", "close"):
                key = (str(request["address"]), int(request["port"]), str(request["protocol"]).upper())
                if operation == "listen":
                    return {"ok": True}, self._listen(*key)
                self._close(*key)
                return {"ok": True}, None
            return {"ok": False, "error": f"unknown operation {operation!r}"}, None
        except OSError as error:
            return {"ok": False, "error": f"cannot listen: {error.strerror}"}, None
        except (KeyError, TypeError, ValueError) as error:
            return {"ok": False, "error": f"bad request: {error}"}, None

    def _describe(self, child: _Child) -> dict[str, Any]:
        return {
            "name": child.spec.name,
            "pid": child.pid,
            "seconds": round(time.monotonic() - child.started, 1) if child.pid else 0,
            "restarts": child.restarts,
            "last_exit": child.last_exit,
            "log": str(child.spec.log),
        }

    def _listen(self, address: str, port: int, protocol: str) -> socket.socket:
        key = (address, port, protocol)
        if key not in self._published:
            self._published[key] = open_listener(address, port, protocol)
        return self._published[key]

    def _close(self, address: str, port: int, protocol: str) -> None:
        if (found := self._published.pop((address, port, protocol), None)) is not None:
            found.close()


def open_listener(address: str, port: int, protocol: str = "TCP") -> socket.socket:
    """A bound socket in this process's network namespace; TCP ones listen. Loopback addresses and IPv4 only."""
    if not address.startswith("127."):
        raise ValueError(f"cannot publish on {address}: only loopback addresses of the host are published")
    kind = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}.get(protocol)
    if kind is None:
        raise ValueError(f"cannot publish protocol {protocol}")
    opened = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((address, port))
        if kind == socket.SOCK_STREAM:
            opened.listen(1024)
    except OSError:
        opened.close()
        raise
    return opened


def _become(spec: ChildSpec, parent: int, mask: set[int]) -> None:
    """In the forked child: become the component. Never returns."""
    code = 1
    try:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(0)
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.setpgid(0, 0)
        out = os.open(spec.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(null, 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        _close_all_but({0, 1, 2, *(s.fileno() for s in spec.keep)})
        cgroups.join(spec.cgroup, os.getpid())
        namespaces.join(network=spec.network, uts=spec.uts, mount=spec.mount)
        if spec.argv is not None:
            # Python ignores these two; programs expect the default.
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            os.execvpe(spec.argv[0], spec.argv, {**os.environ, **spec.environment})  # noqa: S606
        if spec.main is not None:
            code = spec.main()
    except BaseException:  # the child must not return into the supervisor's loop, whatever happened
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)


def _close_all_but(keep: set[int]) -> None:
    # The objects behind these descriptors stay referenced by the frames below us, so nothing closes them twice.
    for entry in os.listdir("/proc/self/fd"):
        if (number := int(entry)) not in keep:
            with contextlib.suppress(OSError):  # the one that listed the directory
                os.close(number)
