"""What the audit log and encryption at rest cost a request: CPU of the whole process, the log's thread included.

Measured inside one process without sockets, so that nothing else is in the figure; by CPU time, so that other work on
the machine is not either.
"""

from __future__ import annotations

import asyncio
import base64
import tempfile
import time
from pathlib import Path

import orjson

from bench.figure import Figure
from bench.load import in_process
from bench.sharing import Shared
from shirube.apiserver import main as apiserver
from shirube.apiserver.user import User
from shirube.serving.messages import Request

WRITES, READS = 1500, 15_000
WRITERS = 32
PATH = "/api/v1/namespaces/default/configmaps"
AUDIT = {"off": None, "None": "None", "Metadata": "Metadata", "RequestResponse": "RequestResponse"}
CIPHERS = ("aesgcm", "secretbox")


class _Administrator:
    """Everybody is one; authentication is not what is measured."""

    def __init__(self) -> None:
        self.tokens = None
        self.audiences = ()
        self.user = User("bench", groups=("system:masters", "system:authenticated"))

    async def authenticate(self, headers: object, peer: object, remarks: object = None) -> User:
        return self.user


def run(shared: Shared) -> list[Figure]:
    found = []
    for name, level in AUDIT.items():
        write, read = in_process(costs, level, None)
        target = "as off" if name == "None" else "-"
        found.append(_figure(f"audit {name}", write, read, target))
    for cipher in CIPHERS:
        write, read = in_process(costs, None, cipher)
        found.append(_figure(f"encryption {cipher}", write, read, "reads as off"))
    return found


def _figure(what: str, write: float, read: float, target: str) -> Figure:
    value = f"{write:.0f} µs a create, {read:.1f} µs a get"
    return Figure(f"CPU of a request in the server, {what}", value, target, "python -m bench access")


def costs(level: str | None, cipher: str | None) -> tuple[float, float]:
    """(µs of CPU for a create, for a get)"""
    return asyncio.run(_measure(level, cipher))


async def _measure(level: str | None, cipher: str | None) -> tuple[float, float]:
    with tempfile.TemporaryDirectory(prefix="shirube-bench-") as folder:
        async with apiserver.in_process(_options(Path(folder), level, cipher)) as server:
            server.context.authenticator = _Administrator()  # type: ignore[assignment]
            body = orjson.dumps({"metadata": {"name": "NAME"}, "data": {"text": "x" * 2000}})

            async def create(n: int) -> None:
                data = body.replace(b"NAME", b"c%d" % n)
                answer = await server.handle(Request.of("POST", PATH, [("Content-Type", "application/json")], data))
                assert getattr(answer, "status", 0) == 201, answer

            began = time.process_time()
            for first in range(0, WRITES, WRITERS):
                await asyncio.gather(*(create(n) for n in range(first, min(WRITES, first + WRITERS))))
            write = (time.process_time() - began) / WRITES
            began = time.process_time()
            for n in range(READS):
                await server.handle(Request.of("GET", f"{PATH}/c{n % WRITES}"))
            read = (time.process_time() - began) / READS
    return write * 1e6, read * 1e6


def _options(folder: Path, level: str | None, cipher: str | None) -> apiserver.Options:
    options = apiserver.Options(data_dir=folder)
    if level is not None:
        policy = {"omitStages": ["RequestReceived"], "rules": [{"level": level}]}
        options.audit_policy = folder / "audit-policy.yaml"
        options.audit_policy.write_bytes(orjson.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", **policy}))
        options.audit_log = folder / "audit.log"
    if cipher is not None:
        key = {"name": "k", "secret": base64.b64encode(b"k" * 32).decode()}
        entry = {"resources": ["configmaps"], "providers": [{cipher: {"keys": [key]}}]}
        kind = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration"}
        options.encryption_config = folder / "encryption.yaml"
        options.encryption_config.write_bytes(orjson.dumps({**kind, "resources": [entry]}))
    return options
