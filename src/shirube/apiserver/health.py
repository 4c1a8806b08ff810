"""/livez, /readyz, /healthz: named checks, each also a path of its own.

livez: the process works. readyz: it should be given requests; fails first when the server is told to stop. The
names are upstream's where we have what they stand for. `?verbose` lists them, `?exclude=name` leaves one out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from shirube.apiserver import encoding
from shirube.foundation import log
from shirube.storage.types import StorageError

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext, ServerContext
    from shirube.serving.messages import Response

_logger = log.get("health")

STORE_TIMEOUT = 2.0  # seconds
TEXT = "text/plain; charset=utf-8"
Check = Callable[[], Awaitable[str]]  # "" when all is well, else what is wrong

BOOTSTRAP = (
    "poststarthook/bootstrap-controller",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/start-system-namespaces-controller",
)
STARTED = (
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/storage-readiness",
)
CHECKS: dict[str, tuple[str, ...]] = {
    "livez": ("ping", "log", "etcd", *STARTED, *BOOTSTRAP),
    "healthz": ("ping", "log", "etcd", *STARTED, *BOOTSTRAP),
    "readyz": ("ping", "log", "etcd", "informer-sync", *STARTED, *BOOTSTRAP, "shutdown"),
}


class Health:
    def __init__(self, server: ServerContext) -> None:
        self._server = server
        self.bootstrapped = False  # what a cluster has from its first second is there
        self.stopping = False
        self.bootstrap_error = ""

    async def check(self, name: str) -> str:
        """ "" when all is well, else what is wrong."""
        if name == "etcd":
            return await self._store()
        if name == "shutdown":
            return "process is shutting down" if self.stopping else ""
        if name == "informer-sync" or name in STARTED:
            return "" if self._server.caches.ready() else "caches are not filled yet"
        if name in BOOTSTRAP:
            return "" if self.bootstrapped else self.bootstrap_error or "not finished"
        return ""

    async def _store(self) -> str:
        try:
            async with asyncio.timeout(STORE_TIMEOUT):
                await self._server.storage.current_revision()
        except (StorageError, TimeoutError) as error:
            return f"error getting data from the store: {error}"
        return ""


async def handle(server: ServerContext, rc: RequestContext) -> Response:
    """`/livez`, `/readyz`, `/healthz`, and `/…/NAME` for one check."""
    endpoint, _, single = rc.info.path[1:].rstrip("/").partition("/")
    names = CHECKS[endpoint]
    if single:
        if single not in names:
            return encoding.respond_raw(rc, b"404 page not found\n", TEXT, 404)
        why = await server.health.check(single)
        return _plain(rc, 500 if why else 200, f"internal server error: {why}\n" if why else "ok")
    excluded = set(rc.params.all("exclude"))
    lines, failed = [], []
    for name in names:
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
            continue
        why = await server.health.check(name)
        if why:
            failed.append(name)
            _logger.debug("health check failed", endpoint=endpoint, check=name, reason=why)
            lines.append(f"[-]{name} failed: reason withheld")
        else:
            lines.append(f"[+]{name} ok")
    unknown = sorted(excluded - set(names))
    if unknown:
        shown = ",".join(f'"{name}"' for name in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {shown}")
    if failed:
        lines.append(f"{endpoint} check failed")
        return _plain(rc, 500, "\n".join(lines) + "\n")
    if "verbose" in rc.params:
        lines.append(f"{endpoint} check passed")
        return _plain(rc, 200, "\n".join(lines) + "\n")
    return _plain(rc, 200, "ok")


def _plain(rc: RequestContext, status: int, text: str) -> Response:
    return encoding.respond_raw(rc, text.encode(), TEXT, status, [("X-Content-Type-Options", "nosniff")])
