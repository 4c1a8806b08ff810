"""The Available condition of APIServices, from asking the servers behind them.

Looked at when an APIService, a Service or its endpoints change and every half minute else. What the servers answer to
the question (their list of resources) is kept for discovery. Reasons and wordings are upstream's
(`kube-aggregator/pkg/controllers/status`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson

from shirube.api.errors import ApiError
from shirube.api.gvr import APISERVICES, ENDPOINTSLICES, SERVICES
from shirube.apiserver.aggregation import Aggregation, Remote, connecting, registration
from shirube.apiserver.user import SERVER
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
        if resources is not None and found.resources.get(key) != resources:
            found.resources[key] = resources
            found.changed()
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
    if spec.get("type") != "ExternalName" and not any(p.get("port") == port for p in spec.get("ports") or ()):
        return "ServicePortError", f'service/{name} in "{namespace}" is not listening on port {port}', None
    try:
        where = connecting.place(server, remote)
    except ApiError:
        return "MissingEndpoints", f'endpointslices for service/{name} in "{namespace}" have no addresses', None
    url = f"https://{where.host}:{where.port}{remote.path}"
    try:
        status, data = await fetch(server, remote, remote.path)
    except (OSError, TimeoutError, ValueError, ApiError) as error:
        why = str(error) or type(error).__name__
        return "FailedDiscoveryCheck", f'failing or missing response from {url}: Get "{url}": {why}', None
    if not 200 <= status < 300:
        why = f"bad status from {url}: {status}"
        return "FailedDiscoveryCheck", f"failing or missing response from {url}: {why}", None
    return "Passed", "all checks passed", _resource_list(data)


def _resource_list(data: bytes) -> Json | None:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("resources"), list) else None


async def fetch(
    server: ServerContext, remote: Remote, target: str, accept: str = "application/json"
) -> tuple[int, bytes]:
    """GET something from an aggregated server on our own account. Raises OSError, TimeoutError, ApiError."""
    from shirube.apiserver.subresources import http_stream

    where = connecting.place(server, remote)
    headers = [("Host", f"{where.name}:{where.port}"), ("Accept", accept), *connecting.identity(SERVER)]
    async with asyncio.timeout(TIMEOUT):
        answer = await http_stream.exchange(
            where.host, where.port, "GET", target, headers, where.tls, server_hostname=where.name
        )
        return answer.status, await http_stream.read_all(answer.body, MAX_ANSWER)


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
