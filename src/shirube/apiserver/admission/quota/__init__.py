"""ResourceQuota: a namespace uses no more than its quotas allow, however many create at once.

Usage is taken before the object is stored, by compare-and-commit on the quota's status: two writers, or two
servers, can never both take the last of it. Requests for one namespace that come together are decided together
and written once; who does not fit into one quota takes nothing of the others. What is deleted, or taken for an object
that was not stored after all, comes back when the quota controller counts again. A quota whose status nobody has
counted yet is counted here first. What the configuration limits by default (`limited`) is only used where a quota that
counts it still exists at the moment of the charge.

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
from shirube.api.gvr import DEVICECLASSES, PODS, RESOURCECLAIMS, RESOURCEQUOTAS
from shirube.api.quota_usage import Usage
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.quota import limited
from shirube.apiserver.admission.request import CREATE, UPDATE, AdmissionRequest
from shirube.foundation import tasks

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]
_PODS = ("", "pods", "")
# What may use more after an update: (group, resource, subresource).
_UPDATED = frozenset(
    (
        _PODS,  # a deadline moves it into another scope
        ("", "pods", "resize"),
        ("", "services", ""),
        ("", "persistentvolumeclaims", ""),
        ("", "persistentvolumeclaims", "status"),
        ("resource.k8s.io", "resourceclaims", ""),
    )
)
_UNCOUNTED = frozenset(("events",))
_ZERO = quantity.parse("0")


@dataclass(slots=True)
class _Waiting:
    req: AdmissionRequest
    cost: Usage  # of the new object
    before: Usage  # of the old one
    needed: limited.Needed = limited.NOTHING  # what quotas must cover
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class ResourceQuota(Plugin):
    name = "ResourceQuota"
    operations = frozenset((CREATE, UPDATE))
    read = staticmethod(limited.read_configuration)

    def __init__(self, server: ServerContext) -> None:
        super().__init__(server)
        self._limited: tuple[limited.LimitedResource, ...] = ()
        self._waiting: dict[str, list[_Waiting]] = {}
        self._busy: set[str] = set()

    def configure(self, configuration: tuple[limited.LimitedResource, ...]) -> None:
        self._limited = configuration

    def handles(self, operation: str, group: str, resource: str, subresource: str) -> bool:
        if operation == CREATE:
            return not subresource and resource not in _UNCOUNTED
        return operation == UPDATE and (group, resource, subresource) in _UPDATED

    async def validate(self, req: AdmissionRequest) -> None:
        if req.obj is None or not req.namespace or req.resource.virtual:
            return
        if not self._limited and not self.server.reader.list(RESOURCEQUOTAS, req.namespace):
            return
        where = (req.resource.group, req.resource.name, req.subresource)
        if req.old is not None and where == _PODS and usage.terminating(req.old) == usage.terminating(req.obj):
            return
        around = self._surroundings()
        before = usage.of(req.resource, req.old, around=around) if req.old else {}
        cost = usage.of(req.resource, req.obj, around=around)
        mine = _Waiting(req, cost, before, limited.needed(self._limited, req.resource, req.obj, cost))
        if not mine.needed and not self.server.reader.list(RESOURCEQUOTAS, req.namespace):
            return
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
        quotas = await self.server.store.list(RESOURCEQUOTAS, namespace)
        for quota in quotas:
            self._with_status(quota)
        for waiting in batch:
            try:
                fit(quotas, waiting)
            except ApiError as error:
                _settle(waiting, error)
        charged: list[Json] = []  # the quotas as they were found then
        for quota in quotas:
            open_ones = [w for w in batch if not w.done.done()]
            if open_ones and (found := await self._charge(quota, open_ones)) is not None:
                charged.append(found)
        for waiting in batch:
            if not waiting.done.done():
                _settle(waiting, _not_covered(charged, waiting))

    async def _charge(self, quota: Json, batch: list[_Waiting]) -> Json | None:
        """Charge one quota for everybody in the batch whom it concerns; refuses those who no longer fit. The quota as
        it is now; None when it is gone."""
        concerned = [(w, cost) for w in batch if (cost := cost_of(quota, w))]
        if not concerned:
            return quota
        refused: list[tuple[_Waiting, ApiError]] = []

        def change(current: Json) -> Json | None:
            refused.clear()
            changed = self._with_status(current)
            for waiting, cost in concerned:
                try:
                    check(current, waiting.req, cost)
                    changed = charge(current, waiting.req, cost) or changed
                except ApiError as error:
                    refused.append((waiting, error))
            return current if changed else None

        meta = quota["metadata"]
        try:
            found = await self.server.store.guaranteed_update(
                RESOURCEQUOTAS,
                meta["namespace"],
                meta["name"],
                change,
                subresource="status",
                dry_run=all(waiting.req.dry_run for waiting, _ in concerned),
            )
        except ApiError as error:
            if error.code != 404:
                raise
            return None  # the quota was deleted meanwhile
        for waiting, refusal in refused:
            _settle(waiting, refusal)
        return found

    def _with_status(self, quota: Json) -> bool:
        """Count a quota that nobody has counted, in place. True when the status changed."""
        hard = (quota.get("spec") or {}).get("hard") or {}
        status = quota.setdefault("status", {})
        used = status.get("used") or {}
        if status.get("hard") == hard and all(name in used for name in hard):
            return False
        namespace = quota["metadata"]["namespace"]
        counted: Usage = dict.fromkeys(hard, _ZERO)
        now, around = self.server.clock.now(), self._surroundings()
        for resource, obj in self._counted_objects(namespace, hard):
            if usage.matches(quota, resource, obj):
                for name, amount in usage.of(resource, obj, now, around).items():
                    if name in counted:
                        counted[name] = quantity.add(counted[name], amount)
        status["hard"] = dict(hard)
        status["used"] = {name: str(amount) for name, amount in counted.items()}
        return True

    def _surroundings(self) -> usage.Surroundings:
        reader = self.server.reader

        def extended(name: str) -> str:
            known = reader.get(DEVICECLASSES, "", name)
            return str((known.get("spec") or {}).get("extendedResourceName") or "") if known is not None else ""

        return usage.Surroundings(
            extended,
            lambda namespace, name: reader.get(PODS, namespace, name),
            lambda namespace: reader.list(RESOURCECLAIMS, namespace),
        )

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
            devices = (resource.group, resource.name) == ("resource.k8s.io", "resourceclaims") and any(
                "deviceclass.resource" in n or (n.startswith("requests.") and "/" in n) for n in hard
            )
            if named or core or devices:
                for obj in self.server.reader.list(resource.gvr, namespace):
                    yield resource, obj


def _settle(waiting: _Waiting, refusal: ApiError | None = None) -> None:
    if waiting.done.done():
        return
    if refusal is not None:
        waiting.done.set_exception(refusal)
    else:
        waiting.done.set_result(None)


def cost_of(quota: Json, waiting: _Waiting) -> Usage:
    """What a request takes of one quota: of an update only the growth, unless the old object was not its concern."""
    req, hard = waiting.req, (quota.get("spec") or {}).get("hard") or {}
    if req.obj is None or not usage.matches(quota, req.resource, req.obj):
        return {}
    known = req.old is not None and usage.matches(quota, req.resource, req.old)
    cost = usage.more(waiting.cost, waiting.before if known else {})
    return {name: amount for name, amount in cost.items() if name in hard}


def fit(quotas: list[Json], waiting: _Waiting) -> None:
    """Take what a request needs from all quotas, in place; from none of them when one refuses. Raises ApiError 403."""
    req = waiting.req
    costs = [(quota, cost_of(quota, waiting)) for quota in quotas]
    if req.obj is not None and (req.resource.group, req.resource.name) == ("", "pods"):
        for quota in quotas:
            hard = (quota.get("spec") or {}).get("hard") or {}
            missing = usage.unspecified(req.obj, hard) if usage.matches(quota, req.resource, req.obj) else ""
            if missing:
                raise req.refusal(f"failed quota: {quota['metadata']['name']}: must specify {missing}")
    if (refusal := _not_covered(quotas, waiting)) is not None:
        raise refusal
    for quota, cost in costs:
        check(quota, req, cost)
    for quota, cost in costs:
        charge(quota, req, cost)


def _not_covered(quotas: list[Json], waiting: _Waiting) -> ApiError | None:
    """The refusal of a write that uses what is limited by default, and more of it than before, without a quota. Not of
    a status, which is a fact."""
    req = waiting.req
    if not waiting.needed or req.obj is None or req.subresource == "status" or not _grows(quotas, waiting):
        return None
    why = limited.uncovered(waiting.needed, quotas, req.resource, req.obj, waiting.cost)
    return req.refusal(why) if why else None


def _grows(quotas: list[Json], waiting: _Waiting) -> bool:
    """Whether it takes anything: more than before, or what another scope begins to count."""
    if usage.more(waiting.cost, waiting.before):
        return True
    return any(cost_of(quota, waiting) for quota in quotas)


def check(quota: Json, req: AdmissionRequest, cost: Usage) -> None:
    """Raises ApiError 403 when the quota does not have so much left. A status is a fact, which nobody refuses."""
    status = quota["status"]
    hard, used = status.get("hard") or {}, status.get("used") or {}
    asked = {name: amount for name, amount in cost.items() if name in hard}
    over = [n for n, a in asked.items() if quantity.cmp(quantity.add(used.get(n, "0"), a), hard[n]) > 0]
    if over and req.subresource != "status":
        name = quota["metadata"]["name"]
        raise req.refusal(
            f"exceeded quota: {name}, requested: {usage.shown({n: asked[n] for n in over})}, "
            f"used: {usage.shown({n: used.get(n, '0') for n in over})}, "
            f"limited: {usage.shown({n: hard[n] for n in over})}"
        )


def charge(quota: Json, req: AdmissionRequest, cost: Usage) -> bool:
    """Add a cost to the quota's usage, in place; True when there was something to add."""
    status = quota["status"]
    asked = {name: amount for name, amount in cost.items() if name in (status.get("hard") or {})}
    if req.dry_run or not asked:
        return False
    used = dict(status.get("used") or {})
    for name, amount in asked.items():
        used[name] = str(quantity.add(used.get(name, "0"), amount))
    status["used"] = used
    return True
