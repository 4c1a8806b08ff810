"""A real image registry (Debian's docker-registry) for tests, on the loopback address of the thread's network."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from containerd import Containerd
from tests.waiting import eventually

USER, PASSWORD = "ann", "secret"
# bcrypt of PASSWORD, at the lowest cost
_HTPASSWD = f"{USER}:$2b$04$r2hBxT6mbUJcRZyPf7bPxeSIbAIwQfjagw3b5sh.hhvyMrFgDy2PC\n"
_CONFIG = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {dir}/data}}}}
http: {{addr: "{address}"}}
{auth}
"""


class Registry:
    def __init__(self, address: str, node: Containerd, user: str) -> None:
        self.address = address
        self._node = node
        self._user = user

    def push(self, local: str, name: str) -> str:
        """Put an image of the node into the registry, and take that name from the node; the image's name."""
        image = f"{self.address}/{name}"
        self._node.ctr("images", "tag", "--force", local, image)
        self._node.ctr("images", "push", "--plain-http", *(["--user", self._user] if self._user else []), image)
        self._node.ctr("images", "rm", image)
        return image


@contextlib.contextmanager
def registry_running(directory: Path, node: Containerd, *, private: bool = False) -> Iterator[Registry]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    directory.mkdir(parents=True)
    (directory / "htpasswd").write_text(_HTPASSWD)
    auth = f"auth: {{htpasswd: {{realm: test, path: {directory}/htpasswd}}}}" if private else ""
    (directory / "config.yml").write_text(_CONFIG.format(dir=directory, address=address, auth=auth))
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(directory / "config.yml")],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    try:
        _wait_until_serving(address, process, directory / "log")
        yield Registry(address, node, f"{USER}:{PASSWORD}" if private else "")
    finally:
        process.kill()
        process.wait(10)


def _wait_until_serving(address: str, process: subprocess.Popen, log: Path) -> None:
    host, _, port = address.partition(":")

    def serving() -> bool:
        if process.poll() is not None:
            raise RuntimeError("the registry ended: " + log.read_text()[-2000:])
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
            return True
        return False

    eventually(serving, "the registry answers", 15, pause=0.02)
