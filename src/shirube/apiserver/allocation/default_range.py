"""The ServiceCIDR `kubernetes`: what the server's own `--service-cluster-ip-range` says, as an object that people see.

It is there, and comes back when somebody deletes it. A cluster that gets a second address family gets it here, too. One
that says something else than the server's options is left as it is, and told of once: whoever runs the cluster means
one of the two. Follows upstream's kubernetes-service-cidr-controller, which also runs inside the API server.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from shirube.api.errors import ApiError
from shirube.api.gvr import SERVICECIDRS
from shirube.apiserver.allocation.ledger import DEFAULT_RANGE
from shirube.apiserver.allocation.looking import keep_looking
from shirube.apiserver.allocation.telling import recorder
from shirube.apiserver.bootstrap.objects import default_range_ready
from shirube.client.events import WARNING
from shirube.foundation import log
from shirube.foundation.clock import rfc3339

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]
COMPONENT = "kubernetes-service-cidr-controller"
INTERVAL = 10.0
_ERROR = "KubernetesDefaultServiceCIDRError"
_logger = log.get("allocation")


async def keep(ctx: ServerContext) -> None:
    """Runs until cancelled."""
    await keep_looking(DefaultRange(ctx), "the default ServiceCIDR", INTERVAL)


class DefaultRange:
    def __init__(self, ctx: ServerContext) -> None:
        self._ctx = ctx
        self._events = recorder(ctx, COMPONENT, style="core")
        self._told: set[str] = set()

    async def close(self) -> None:
        await self._events.close()

    async def look(self) -> None:
        """Raises StorageError, ApiError."""
        wanted = [cidr.strip() for cidr in self._ctx.options.service_cidr.split(",")]
        block = self._ctx.reader.get(SERVICECIDRS, "", DEFAULT_RANGE)
        if block is None:
            block = await self._make(wanted)
        if block["metadata"].get("deletionTimestamp"):
            return
        have = block["spec"]["cidrs"]
        if len(wanted) == 2 and have == wanted[:1]:
            await self._extend(block, wanted)
        elif have != wanted:
            message = f"The default ServiceCIDR [{' '.join(have)}] does not match the controller flag configurations "
            self._tell_once(block, "KubernetesDefaultServiceCIDRInconsistent", f"{message}[{' '.join(wanted)}]")
        else:
            await self._settle(block)

    def _tell_once(self, block: Json, reason: str, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            self._events.event(block, WARNING, reason, message)
            _logger.warning("default ServiceCIDR", reason=reason, text=message)

    async def _make(self, wanted: list[str]) -> Json:
        block = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": {"name": DEFAULT_RANGE},
            "spec": {"cidrs": wanted},
        }
        try:
            return await self._ctx.store.create(SERVICECIDRS, block, manager=COMPONENT)
        except ApiError as error:
            if error.code == 409:  # another server's
                return await self._ctx.store.get(SERVICECIDRS, "", DEFAULT_RANGE)
            self._tell_once(block, _ERROR, "The default ServiceCIDR can not be created")
            raise

    async def _extend(self, block: Json, wanted: list[str]) -> None:
        def both(stored: Json) -> Json:
            return {**stored, "spec": {**stored["spec"], "cidrs": wanted}}

        try:
            await self._ctx.store.guaranteed_update(SERVICECIDRS, "", DEFAULT_RANGE, both, manager=COMPONENT)
        except ApiError as error:
            message = f"The default ServiceCIDR can not be upgraded from {wanted[0]} to dual stack "
            self._tell_once(block, _ERROR, f"{message}[{' '.join(wanted)}] : {error.message}")

    async def _settle(self, block: Json) -> None:
        """Ready, unless somebody has said so or otherwise."""
        said = _ready(block)
        if said is not None and said["status"] == "False":
            message = f"Configuration matches, but {said.get('message', '')}"
            self._tell_once(block, said.get("reason") or _ERROR, message)
        elif said is None or said["status"] == "Unknown":
            ready = functools.partial(_made_ready, now=rfc3339(self._ctx.clock.now()))
            try:
                await self._ctx.store.guaranteed_update(
                    SERVICECIDRS, "", DEFAULT_RANGE, ready, subresource="status", manager=COMPONENT
                )
            except ApiError:
                self._tell_once(block, _ERROR, "The default ServiceCIDR Status can not be set to Ready=True")
                raise


def _ready(block: Json) -> Json | None:
    conditions = (block.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] == "Ready"), None)


def _made_ready(block: Json, now: str) -> Json | None:
    said = _ready(block)
    if said is not None and said["status"] != "Unknown":
        return None
    others = [c for c in (block.get("status") or {}).get("conditions") or () if c["type"] != "Ready"]
    return {**block, "status": {"conditions": [*others, default_range_ready(now)]}}
