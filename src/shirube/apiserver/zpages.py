"""/statusz and /flagz: what this server is and how it was started, for people who look into a cluster.

See KEP-4827 and KEP-4828.
Plain text without guarantees of its form, as upstream says in it.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shirube import KUBERNETES_VERSION
from shirube.apiserver import encoding
from shirube.serving.messages import Response

if TYPE_CHECKING:
    from shirube.apiserver.context import RequestContext, ServerContext

TEXT = "text/plain; charset=utf-8"
NAME = "kube-apiserver"
WARNING = (
    "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is "
    "for debugging purposes only."
)
_HIDDEN = frozenset(("sockets",))  # not things that somebody set


def _page(title: str, lines: list[str]) -> bytes:
    return "\n".join(["", f"{NAME} {title}", WARNING, "", *lines, ""]).encode()


async def statusz(server: ServerContext, rc: RequestContext) -> Response:
    from shirube.apiserver.routes import PATHS

    up = int(server.clock.monotonic() - server.started)
    started = datetime.fromtimestamp(server.clock.now() - up, UTC)
    version = KUBERNETES_VERSION.removeprefix("v")
    paths = sorted(r.path for r in PATHS if "{" not in r.path and r.path.count("/") == 1 and r.path != "/")
    lines = [
        f"Started: {started:%a %b %d %H:%M:%S UTC %Y}",
        f"Up: {up // 3600} hr {up // 60 % 60:02} min {up % 60:02} sec",
        f"Binary version: {version}",
        f"Emulation version: {'.'.join(version.split('.')[:2])}",
        f"Paths: {' '.join(paths)}",
    ]
    return encoding.respond_raw(rc, _page("statusz", lines), TEXT)


async def flagz(server: ServerContext, rc: RequestContext) -> Response:
    options = server.options
    lines = [
        f"{field.name.replace('_', '-')}={getattr(options, field.name)}"
        for field in sorted(dataclasses.fields(options), key=lambda f: f.name)
        if field.name not in _HIDDEN
    ]
    return encoding.respond_raw(rc, _page("flagz", lines), TEXT)
