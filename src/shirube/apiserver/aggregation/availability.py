"""The Available condition of APIServices, from asking the servers behind them.

Looked at when an APIService, a Service or its endpoints change and every half minute else. What the servers answer to
the question (their list of resources) is kept for discovery. Reasons and wordings are upstream's
(`kube-aggregator/pkg/controllers/status`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from shirube.api.errors import ApiError
from shirube.api.gvr import APISERVICES, ENDPOINTSLICES, SERVICES
from shirube.apiserver.aggregation import Aggregation, Remote, connecting, registration
from shirube.apiserver.user import SERVER
from shirube.apiserver.webhooks import services
from shirube.foundation import log
from shirube.foundation.clock import rfc3339
from shirube.storage.types import StorageError

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]
_logger = log.get("aggregation")

LOOK = 0.5  # seconds between two looks at whether something changed
ASK = 30.0  # seconds between two questions when nothing did
ASK_FAILED = 2.0
TIMEOUT = 5.0
ATTEMPTS = 5
OPENAPI = 60.0  # seconds between two looks at what a server's OpenAPI says
MAX_ANSWER = 8 << 20


async def keep(server: ServerContext) -> None:
    """Until cancelled."""
    seen: Any = None
    due = 0.0
    generation = -1
    while True:
        if server.table.generation != generation:
            try:
                await registration.settle(server)
                generation = server.table.generation
            except (ApiError, StorageError) as error:
                _logger.warning("cannot keep APIServices of custom resources", error=str(error))
        now = server.clock.monotonic()
        remotes = Aggregation.of(server).remotes()
        revisions = tuple(server.reader.revision(g) for g in (APISERVICES, SERVICES, ENDPOINTSLICES))
        if remotes and (revisions != seen or now >= due):
            try:
                well = await check(server)
            except (ApiError, StorageError) as error:
                _logger.warning("cannot keep the conditions of APIServices", error=str(error))
                well = False
            seen, due = revisions, now + (ASK if well else ASK_FAILED)
        await asyncio.sleep(LOOK)


async def check(server: ServerContext) -> bool:
    """Ask all aggregated servers; whether all are available."""
    found = Aggregation.of(server)
    remotes = list(found.remotes().values())
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(_judge(server, remote), name=f"ask {remote.path}") for remote in remotes]
    for remote, task in zip(remotes, asked, strict=True):
        reason, message, resources = task.result()
        key = (remote.group, remote.version)
        now = server.clock.monotonic()
        if resources is not None and found.resources.get(key) != resources:
            found.resources[key] = resources
            found.openapi_due[key] = now
            found.changed()
        if reason == "Passed" and now >= found.openapi_due.get(key, now):
            found.openapi_due[key] = now + OPENAPI
            await openapi_of(server, remote)
        await _report(server, f"{remote.version}.{remote.group}", reason, message)
    return all(task.result()[0] == "Passed" for task in asked)


async def _judge(server: ServerContext, remote: Remote) -> tuple[str, str, Json | None]:
    """(reason, message, its resources if it answered)."""
    service = remote.spec["service"]
    namespace, name = service.get("namespace", ""), service.get("name", "")
    stored = server.reader.get(SERVICES, namespace, name)
    if stored is None:
        return "ServiceNotFound", f'service/{name} in "{namespace}" is not present', None
    spec, port = stored.get("spec") or {}, service.get("port") or 443
    if spec.get("type") != "ExternalName":
        declared = next((p for p in spec.get("ports") or () if p.get("port") == port), None)
        if declared is None:
            return "ServicePortError", f'service/{name} in "{namespace}" is not listening on port {port}', None
        slices = services.slices_of(server, namespace, name)
        if not slices:
            return "EndpointsNotFound", f'cannot find endpointslices for service/{name} in "{namespace}"', None
        port_name = declared.get("name") or ""
        if not services.endpoints_of(slices, port_name):
            why = f'have no addresses with port name "{port_name}"'
            return "MissingEndpoints", f'endpointslices for service/{name} in "{namespace}" {why}', None
    error, data = await _ask(server, remote)
    if not error:
        return "Passed", "all checks passed", _resource_list(data)
    # One of several endpoints may be ill: the server is there when any of them answers.
    async with asyncio.TaskGroup() as group:
        more = [group.create_task(_ask(server, remote), name=f"ask {remote.path} again") for _ in range(ATTEMPTS - 1)]
    well = next((task.result() for task in more if not task.result()[0]), None)
    if well is not None:
        return "Passed", "all checks passed", _resource_list(well[1])
    return "FailedDiscoveryCheck", error, None


async def _ask(server: ServerContext, remote: Remote) -> tuple[str, bytes]:
    """(what is wrong, the answer)"""
    try:
        where = connecting.place(server, remote)
    except ApiError as error:
        return f"failing or missing response: {error.message}", b""
    url = f"https://{where.host}:{where.port}{remote.path}"
    try:
        status, data, _ = await fetch(server, remote, remote.path)
    except (OSError, TimeoutError, ValueError, ApiError) as error:
        why = str(error) or ("context deadline exceeded" if isinstance(error, TimeoutError) else type(error).__name__)
        return f'failing or missing response from {url}: Get "{url}": {why}', b""
    if not 200 <= status < 300:
        return f"failing or missing response from {url}: bad status from {url}: {status}", b""
    return "", data


def _resource_list(data: bytes) -> Json | None:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("resources"), list) else None


async def openapi_of(server: ServerContext, remote: Remote) -> None:
    """Keep what an aggregated server's OpenAPI documents say now; what it does not answer stays as it was."""
    found = Aggregation.of(server)
    key = (remote.group, remote.version)
    etag, _ = found.openapi_v2.get(key, ("", {}))
    try:
        answer = await fetch(server, remote, "/openapi/v2", etag=etag)
        document = orjson.loads(answer.data) if answer.status == 200 else None
        if isinstance(document, dict) and found.openapi_v2.get(key, ("", {}))[1] != document:
            found.openapi_v2[key] = (answer.etag, document)
            found.changed()
        answer = await fetch(server, remote, "/openapi/v3")
        if answer.status == 200:
            paths = orjson.loads(answer.data).get("paths") or {}
            where = (paths.get(f"apis/{remote.group}/{remote.version}") or {}).get("serverRelativeURL") or ""
            found.openapi_v3[key] = str(where)
    except (OSError, TimeoutError, ValueError, AttributeError, ApiError) as error:
        _logger.debug("no OpenAPI from an aggregated server", path=remote.path, error=str(error))


class Fetched(NamedTuple):
    status: int
    data: bytes
    etag: str


async def fetch(
    server: ServerContext, remote: Remote, target: str, accept: str = "application/json", etag: str = ""
) -> Fetched:
    """GET something from an aggregated server on our own account, unless it is still what `etag` says. Raises OSError,
    TimeoutError, ApiError."""
    from shirube.apiserver.subresources import http_stream

    where = connecting.place(server, remote)
    headers = [("Host", f"{where.name}:{where.port}"), ("Accept", accept), *connecting.identity(SERVER)]
    if etag:
        headers.append(("If-None-Match", etag))
    async with asyncio.timeout(TIMEOUT):
        answer = await http_stream.exchange(
            where.host, where.port, "GET", target, headers, where.tls, server_hostname=where.name
        )
        data = await http_stream.read_all(answer.body, MAX_ANSWER)
        return Fetched(answer.status, data, answer.headers.get("etag") or "")


async def _report(server: ServerContext, name: str, reason: str, message: str) -> None:
    status = "True" if reason == "Passed" else "False"

    def change(obj: Json) -> Json | None:
        conditions = obj.setdefault("status", {}).setdefault("conditions", [])
        have = next((c for c in conditions if c.get("type") == "Available"), None)
        if have is not None and (have.get("status"), have.get("reason"), have.get("message")) == (
            status,
            reason,
            message,
        ):
            return None
        made: Json = {"type": "Available", "status": status, "reason": reason, "message": message}
        same = have is not None and have.get("status") == status
        made["lastTransitionTime"] = (have or {}).get("lastTransitionTime") if same else rfc3339(server.clock.now())
        if have is None:
            conditions.append(made)
        else:
            have |= made
        return obj

    try:
        await server.store.guaranteed_update(APISERVICES, "", name, change, subresource="status")
    except ApiError as error:
        if error.code not in (404, 409):
            raise
