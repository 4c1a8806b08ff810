"""Roles and bindings are only written by who holds what they grant.

Upstream does this in the storage of the four kinds; here it is a plugin so that every write passes it.
The rules are in `authorization.escalation`.
"""

from __future__ import annotations

from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CREATE, UPDATE, AdmissionRequest
from shirube.apiserver.authorization import escalation

_GROUP = "rbac.authorization.k8s.io"


class RbacEscalation(Plugin):
    name = "RbacEscalation"
    operations = frozenset((CREATE, UPDATE))
    resources = frozenset((_GROUP, r) for r in ("roles", "clusterroles", "rolebindings", "clusterrolebindings"))

    async def validate(self, req: AdmissionRequest) -> None:
        if req.obj is None:
            return
        check = escalation.check_binding if req.resource.kind.endswith("Binding") else escalation.check_role
        await check(self.server.authorizer, req.user, req.resource.kind, req.obj, req.old)
