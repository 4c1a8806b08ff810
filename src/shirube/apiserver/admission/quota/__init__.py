"""ResourceQuota: a namespace uses no more than its quotas allow, however many create at once.

Usage is taken before the object is stored, by compare-and-commit on the quota's status: two writers, or two
servers, can never both take the last of it. Requests for one namespace that come together are decided together
and written once. What is deleted, or taken for an object that was not stored after all, comes back when the quota
controller counts again. A quota whose status nobody has counted yet is counted here first.

`usage` says what an object costs. See "Resource Quotas" in the upstream documentation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shirube.api import quantity
from shirube.api import quota_usage as usage
from shirube.api.errors import ApiError
from shirube.api.gvr import RESOURCEQUOTAS
from shirube.api.quantity import Quantity
from shirube.api.quota_usage import Usage
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CREATE, UPDATE, AdmissionRequest
from shirube.foundation import tasks

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]
_UPDATED = frozenset(("services", "persistentvolumeclaims"))
_UNCOUNTED = frozenset(("events", "resourcequotas"))
_ZERO = quantity.parse("0")


@dataclass(slots=True)
class _Waiting:
    req: AdmissionRequest
    cost: Usage
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class ResourceQuota(Plugin):
    name = "ResourceQuota"
    operations = frozenset((CREATE, UPDATE))

    def __init__(self, server: ServerContext) -> None:
        super().__init__(server)
        self._waiting: dict[str, list[_Waiting]] = {}
        self._busy: set[str] = set()

    def handles(self, operation: str, group: str, resource: str, subresource: str) -> bool:
        if subresource or resource in _UNCOUNTED:
            return False
        return operation == CREATE or (operation == UPDATE and not group and resource in _UPDATED)

    async def validate(self, req: AdmissionRequest) -> None:
        if req.obj is None or not req.namespace or req.resource.virtual:
            return
        if not self.server.reader.list(RESOURCEQUOTAS, req.namespace):
            return
        cost = usage.of(req.resource, req.obj)
        if req.old is not None:
            before = usage.of(req.resource, req.old)
            cost = {n: quantity.sub(a, before.get(n, "0")) for n, a in cost.items()}
            cost = {n: a for n, a in cost.items() if quantity.cmp(a, "0") > 0}
        if not cost:
            return
        mine = _Waiting(req, cost)
        self._waiting.setdefault(req.namespace, []).append(mine)
        if req.namespace not in self._busy:
            # A task of its own: the request that came first may go away, those that wait with it stay.
            self._busy.add(req.namespace)
            tasks.spawn(self._decide_all(req.namespace), name=f"quota-{req.namespace}")
        await mine.done

    async def _decide_all(self, namespace: str) -> None:
        """Decide for everybody who waits, and for everybody who comes meanwhile."""
        try:
            while batch := self._waiting.pop(namespace, None):
                try:
                    await self._decide(namespace, batch)
                except Exception as error:
                    for waiting in batch:
                        if not waiting.done.done():
                            waiting.done.set_exception(error)
        finally:
            self._busy.discard(namespace)
            for waiting in self._waiting.pop(namespace, ()):
                waiting.done.cancel()

    async def _decide(self, namespace: str, batch: list[_Waiting]) -> None:
        for quota in self.server.reader.list(RESOURCEQUOTAS, namespace):
            open_ones = [w for w in batch if not w.done.done()]
            if open_ones:
                await self._charge(quota, open_ones)
        for waiting in batch:
            if not waiting.done.done():
                waiting.done.set_result(None)

    async def _charge(self, quota: Json, batch: list[_Waiting]) -> None:
        """Charge one quota for everybody in the batch whom it concerns; refuses those who do not fit."""
        concerned = [w for w in batch if self._concerns(quota, w)]
        if not concerned:
            return
        refused: dict[int, ApiError] = {}

        def change(current: Json) -> Json | None:
            refused.clear()
            changed = self._with_status(current)
            for index, waiting in enumerate(concerned):
                try:
                    changed = charge(current, waiting.req, waiting.cost) or changed
                except ApiError as error:
                    refused[index] = error
            return current if changed else None

        dry = [w for w in concerned if w.req.dry_run]
        meta = quota["metadata"]
        try:
            await self.server.store.guaranteed_update(
                RESOURCEQUOTAS,
                meta["namespace"],
                meta["name"],
                change,
                subresource="status",
                dry_run=len(dry) == len(concerned),
            )
        except ApiError as error:
            if error.code != 404:
                raise
            return  # the quota was deleted meanwhile
        for index, refusal in refused.items():
            if not concerned[index].done.done():
                concerned[index].done.set_exception(refusal)

    def _concerns(self, quota: Json, waiting: _Waiting) -> bool:
        hard = (quota.get("spec") or {}).get("hard") or {}
        req = waiting.req
        if req.obj is None or not usage.matches(quota, req.resource, req.obj):
            return False
        if req.operation == CREATE and (req.resource.group, req.resource.name) == ("", "pods"):
            missing = usage.unspecified(req.obj, hard)
            if missing:
                name = quota["metadata"]["name"]
                waiting.done.set_exception(req.refusal(f"failed quota: {name}: must specify {missing}"))
                return False
        return any(name in hard for name in waiting.cost)

    def _with_status(self, quota: Json) -> bool:
        """Count a quota that nobody has counted, in place. True when the status changed."""
        hard = (quota.get("spec") or {}).get("hard") or {}
        status = quota.setdefault("status", {})
        used = status.get("used") or {}
        if status.get("hard") == hard and all(name in used for name in hard):
            return False
        namespace = quota["metadata"]["namespace"]
        counted: Usage = dict.fromkeys(hard, _ZERO)
        for resource, obj in self._counted_objects(namespace, hard):
            if usage.matches(quota, resource, obj):
                for name, amount in usage.of(resource, obj).items():
                    if name in counted:
                        counted[name] = quantity.add(counted[name], amount)
        status["hard"] = dict(hard)
        status["used"] = {name: str(amount) for name, amount in counted.items()}
        return True

    def _counted_objects(self, namespace: str, hard: Json) -> Iterator[tuple[Any, Json]]:
        wanted = {name.removeprefix("count/") for name in hard}
        computing = any("cpu" in n or "memory" in n or "ephemeral" in n or "hugepages" in n for n in hard)
        for resource in self.server.table:
            if not resource.namespaced or resource.virtual or resource.storage != resource.gvr:
                continue
            named = resource.group_resource in wanted
            core = not resource.group and (
                (resource.name == "pods" and (computing or "pods" in wanted))
                or (resource.name == "services" and any(n.startswith("services") for n in hard))
                or (
                    resource.name == "persistentvolumeclaims"
                    and any("storage" in n or "persistentvolumeclaims" in n for n in hard)
                )
            )
            if named or core:
                for obj in self.server.reader.list(resource.gvr, namespace):
                    yield resource, obj


def charge(quota: Json, req: AdmissionRequest, cost: Usage) -> bool:
    """Add a cost to the quota's usage, in place; True when there was something to add. Raises ApiError 403."""
    status = quota["status"]
    hard, used = status.get("hard") or {}, dict(status.get("used") or {})
    asked: dict[str, Quantity] = {name: amount for name, amount in cost.items() if name in hard}
    over = [n for n, a in asked.items() if quantity.cmp(quantity.add(used.get(n, "0"), a), hard[n]) > 0]
    if over:
        name = quota["metadata"]["name"]
        raise req.refusal(
            f"exceeded quota: {name}, requested: {usage.shown({n: asked[n] for n in over})}, "
            f"used: {usage.shown({n: used.get(n, '0') for n in over})}, "
            f"limited: {usage.shown({n: hard[n] for n in over})}"
        )
    if req.dry_run or not asked:
        return False
    for name, amount in asked.items():
        used[name] = str(quantity.add(used.get(name, "0"), amount))
    status["used"] = used
    return True
