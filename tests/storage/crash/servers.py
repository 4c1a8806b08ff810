"""What is killed: `shirube server` processes, and the etcd behind them."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import orjson
from tests.ports import free_port

from shirube.storage import open_storage
from shirube.storage.types import Storage

from .judge import Happened
from .load import PREFIX

_SOURCE = Path(__file__).resolve().parents[3] / "src"
_READY_SECONDS = 60.0


class ApiServer:
    """`shirube server` on a port and a folder of its own; `datastore` as on its command line."""

    def __init__(self, folder: Path, datastore: str = "", within: tuple[str, ...] = ()) -> None:
        """`within`: a command that runs another, to put the server somewhere."""
        self.folder = folder
        self._within = within
        self.port = free_port()
        self._datastore = datastore
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        command = [
            *self._within,
            sys.executable,
            "-m",
            "shirube",
            "server",
            f"--data-dir={self.folder}",
            f"--port={self.port}",
        ]
        if self._datastore:
            command.append(f"--datastore={self._datastore}")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": str(_SOURCE)}
            )

    async def ready(self) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        anything = ssl.create_default_context()
        anything.check_hostname, anything.verify_mode = False, ssl.CERT_NONE
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            while True:
                try:
                    async with session.get(f"{self.url}/readyz", ssl=anything) as answer:
                        if answer.status == 200:
                            return
                        last = await answer.text()
                except (TimeoutError, aiohttp.ClientError, OSError) as error:
                    last = repr(error)
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"the server is not ready ({last}); it said:\n{self.said()}")
                await asyncio.sleep(0.02)

    def said(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])

    def complaints(self) -> list[str]:
        """Lines of its log that no crash explains."""
        lines = self._log.read_text(errors="replace").splitlines()
        return [line[:2000] for line in lines if "Traceback" in line or "request failed" in line]

    def tls(self) -> ssl.SSLContext:
        pki = self.folder / "pki"
        tls = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        return tls

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()


async def history(url: str, after: int) -> tuple[list[Happened], int]:
    """What the store itself tells: the events after `after`, and how far that is."""
    store: Storage = await open_storage(url)
    try:
        revision = await store.current_revision()
        found: list[Happened] = []
        async with store.watch(PREFIX, max(after, 1)) as watch:
            while watch.revision < revision:
                watch.request_progress()
                for event in await anext(watch):
                    name = event.key[len(PREFIX) :]
                    value = orjson.loads(event.value)["data"]["v"] if event.kind == "PUT" else ""
                    found.append(Happened(event.revision, event.kind, name, value))
        return [event for event in found if event.revision <= revision], revision
    finally:
        await store.close()
