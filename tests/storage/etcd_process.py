"""A real etcd for tests: one process, a folder of its own, loopback ports, TLS where it is asked for.

It counts as started when it says so itself (`/health`: it has a leader and has committed something), not when its port
accepts. What it says goes to a file beside its data; the end of that is in every failure.
"""

from __future__ import annotations

import http.client
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from tests import aftermath
from tests.ports import free_port

from shirube.cluster.certificates import EtcdPki

_START_SECONDS = 30.0
_ROOM_BYTES = 512 << 20  # a log of 64 MB is reserved at once, and the next one before that is full


def _with_room(folder: Path) -> Path:
    """`folder`, or one elsewhere when its disk is too full for etcd."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder.parent).free >= _ROOM_BYTES:
        return folder
    other = Path("/var/tmp")
    room = shutil.disk_usage(other).free
    assert room >= _ROOM_BYTES, f"cannot run etcd: neither {folder.parent} nor {other} has 512 MB free"
    return Path(tempfile.mkdtemp(prefix=f"shirube-{aftermath.NAME}-etcd-", dir=other)) / "data"


class EtcdProcess:
    def __init__(
        self, folder: Path, *, pki: EtcdPki | None = None, flags: tuple[str, ...] = (), start: bool = True
    ) -> None:
        self.folder = _with_room(folder)
        self._said = self.folder.with_name(self.folder.name + ".log")
        self._pki = pki
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None
        self.port, self.peer_port = free_port(), free_port()
        if not start:
            return
        for last in (False, False, True):
            try:
                self.start()
                return
            except AssertionError:
                # Somebody else may have taken a port between our finding it free and etcd's binding it.
                if last or "address already in use" not in self._tail():
                    self.remove()
                    raise
                self.port, self.peer_port = free_port(), free_port()
                shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        if self._pki is None:
            return f"etcd://127.0.0.1:{self.port}"
        return self._pki.url(f"127.0.0.1:{self.port}")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        self._launch()
        self._wait()

    def join(self, name: str, members: dict[str, EtcdProcess]) -> None:
        """Start as one of several, which wait for one another; `healthy` tells when they are there."""
        cluster = ",".join(f"{name}=http://127.0.0.1:{one.peer_port}" for name, one in members.items())
        self._flags = (*self._flags, f"--name={name}", f"--initial-cluster={cluster}")
        self._launch()

    def healthy(self) -> None:
        """Returns when it is."""
        self._wait()

    def start_and_kill(self, after: float) -> None:
        """A start that is cut short after some seconds, wherever it is then."""
        self._launch()
        threading.Event().wait(after)
        self.kill()

    def _launch(self) -> None:
        program = shutil.which("etcd")
        assert program, "etcd is not installed: apt-get install etcd-server"
        scheme = "http" if self._pki is None else "https"
        client, peer = f"{scheme}://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.peer_port}"
        flags = [
            f"--data-dir={self.folder}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--heartbeat-interval=10",
            "--election-timeout=100",
            "--logger=zap",
            "--log-level=warn",
            *(self._pki.server_flags() if self._pki is not None else ()),
            *self._flags,
        ]
        with self._said.open("ab") as said:
            self._process = subprocess.Popen([program, *flags], stdin=subprocess.DEVNULL, stdout=said, stderr=said)

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        pause = threading.Event()
        last = "nothing asked yet"
        while time.monotonic() < deadline:
            if (code := self._process.poll()) is not None:
                raise AssertionError(f"etcd ended with {code}; it said:\n{self._tail()}")
            last = self._health()
            if last == "":
                return
            pause.wait(0.02)
        self.kill()
        raise AssertionError(f"etcd is not healthy after {_START_SECONDS:.0f} s ({last}); it said:\n{self._tail()}")

    def _health(self) -> str:
        """Empty when it is well, else what is the matter."""
        connection: http.client.HTTPConnection
        if self._pki is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        else:
            tls = ssl.create_default_context(cafile=str(self._pki.ca.cert))
            tls.load_cert_chain(self._pki.client.cert, self._pki.client.key)
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=2, context=tls)
        try:
            connection.request("GET", "/health")
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
            return "" if answer.status == 200 and '"true"' in text else f"{answer.status} {text.strip()}"
        except (OSError, http.client.HTTPException) as error:
            return repr(error)
        finally:
            connection.close()

    def _tail(self) -> str:
        return "\n".join(self._said.read_text(errors="replace").splitlines()[-15:]) if self._said.exists() else ""

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def remove(self) -> None:
        """End it and forget its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._said.unlink(missing_ok=True)
