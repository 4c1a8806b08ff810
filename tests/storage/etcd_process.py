"""A real etcd for tests: one process, a folder of its own, loopback ports."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path


def _free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


class EtcdProcess:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port, self._peer_port = _free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"etcd://127.0.0.1:{self._port}"

    def start(self) -> None:
        program = shutil.which("etcd")
        assert program, "etcd is not installed: apt-get install etcd-server"
        client, peer = f"http://127.0.0.1:{self._port}", f"http://127.0.0.1:{self._peer_port}"
        flags = [
            f"--data-dir={self._folder}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--heartbeat-interval=10",
            "--election-timeout=50",
            "--log-level=error",
        ]
        self._process = subprocess.Popen([program, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 15
        pause = threading.Event()
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
                return
            except OSError:
                pause.wait(0.02)
        raise AssertionError("etcd does not answer")

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def remove(self) -> None:
        """End it and forget its data."""
        self.kill()
        shutil.rmtree(self._folder)
