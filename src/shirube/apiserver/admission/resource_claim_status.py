"""The status of a ResourceClaim has several writers, and each only writes its part.

Allocation and reservations need the verb of the request on `resourceclaims/binding` (schedulers, the claim controller),
the devices of a driver `associated-node:VERB` on `resourceclaims/driver` by its name, for the service account of
a pod on the node that the claim is allocated to, or `arbitrary-node:VERB` for all others. Both subresources exist for
authorisation only. Upstream does this in the storage of the kind (KEP-4817, on by default since v1.36); here it is a
plugin so that every write passes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shirube.api import errors
from shirube.api.errors import Cause
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import UPDATE, AdmissionRequest
from shirube.apiserver.attributes import Attributes
from shirube.apiserver.authentication.service_account_tokens import split_username
from shirube.apiserver.user import User

Json = dict[str, Any]
_GROUP = "resource.k8s.io"
_NODE_NAME = "authentication.kubernetes.io/node-name"


class ResourceClaimStatus(Plugin):
    name = "ResourceClaimStatus"
    operations = frozenset((UPDATE,))
    resources = frozenset(((_GROUP, "resourceclaims/status"),))

    async def validate(self, req: AdmissionRequest) -> None:
        old, new = (((obj or {}).get("status") or {}) for obj in (req.old, req.obj))
        verb = "patch" if req.options.get("kind") == "PatchOptions" else "update"
        causes: list[Cause] = []
        if any(old.get(key) != new.get(key) for key in ("allocation", "reservedFor")):
            causes += await self._binding(req, verb)
        verbs = [f"arbitrary-node:{verb}"]
        if _on_the_node(req.user, _only_node(new.get("allocation") or {})):
            verbs.insert(0, f"associated-node:{verb}")
        for driver in sorted(changed_drivers(old, new)):
            causes += await self._driver(req, driver, verbs)
        if causes:
            raise errors.invalid(_GROUP, "ResourceClaim", req.shown_name, causes)

    async def _binding(self, req: AdmissionRequest, verb: str) -> list[Cause]:
        refused = await self._refused(req, verb, "binding", "", "")
        if not refused:
            return []
        what = f'resource="resourceclaims/binding", verb="{verb}"'
        why = f"changing status.allocation or status.reservedFor requires {what} permission: {refused}"
        return [Cause.forbidden("status", why)]

    async def _driver(self, req: AdmissionRequest, driver: str, verbs: list[str]) -> list[Cause]:
        refused = ""
        for verb in verbs:
            refused = await self._refused(req, verb, "driver", req.namespace, driver)
            if not refused:
                return []
        what = f'resource="resourceclaims/driver", name="{driver}", verb="{verbs[-1]}"'
        return [Cause.forbidden("status.devices", f"changing status.devices requires {what} permission: {refused}")]

    async def _refused(self, req: AdmissionRequest, verb: str, part: str, namespace: str, name: str) -> str:
        """Why not; "" when it is allowed."""
        asked = Attributes(req.user, verb, _GROUP, req.requested.version, "resourceclaims", part, namespace, name)
        decision = await self.server.authorizer.authorize(asked)
        return "" if decision.allowed else self.server.authorizer.refusal(asked, decision).message


def _on_the_node(user: User, node: str) -> bool:
    return bool(node) and split_username(user.name) is not None and user.extra.get(_NODE_NAME) == (node,)


def _only_node(allocation: Json) -> str:
    """The one node that an allocation is for, by its name; "" when it is for others, or said otherwise."""
    terms = (allocation.get("nodeSelector") or {}).get("nodeSelectorTerms") or []
    if len(terms) != 1 or terms[0].get("matchExpressions"):
        return ""
    fields = terms[0].get("matchFields") or []
    if len(fields) != 1 or (fields[0].get("key"), fields[0].get("operator")) != ("metadata.name", "In"):
        return ""
    values = fields[0].get("values") or []
    return str(values[0]) if len(values) == 1 else ""


def changed_drivers(old: Json, new: Json) -> set[str]:
    """The drivers whose devices differ."""
    before, after = dict(_devices(old)), dict(_devices(new))
    return {key[0] for key in {*before, *after} if before.get(key) != after.get(key)}


def _devices(status: Json) -> Iterator[tuple[tuple[str, str, str, str], Json]]:
    for device in status.get("devices") or ():
        key = ("driver", "pool", "device", "shareID")
        yield tuple(str(device.get(part) or "") for part in key), device  # type: ignore[misc]
