"""Claims with admin access look at devices that others use: only namespaces that an administrator has labelled for it
may have them (KEP-5018). Upstream does this in the strategy of the kinds; here it is a plugin, which sees namespaces.
"""

from __future__ import annotations

from typing import Any

from shirube.api import errors
from shirube.api.errors import Cause
from shirube.api.gvr import NAMESPACES
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CREATE, AdmissionRequest

Json = dict[str, Any]
_GROUP = "resource.k8s.io"
LABEL = "resource.kubernetes.io/admin-access"
_WHY = f"admin access to devices requires the `{LABEL}: true` label on the containing namespace"


class DeviceAdminAccess(Plugin):
    name = "DeviceAdminAccess"
    operations = frozenset((CREATE,))  # the specs of both kinds never change
    resources = frozenset(((_GROUP, "resourceclaims"), (_GROUP, "resourceclaimtemplates")))

    async def validate(self, req: AdmissionRequest) -> None:
        template = req.resource.name == "resourceclaimtemplates"
        spec = (req.obj or {}).get("spec") or {}
        path = "spec.spec" if template else "spec"
        requests = (((spec.get("spec") or {}) if template else spec).get("devices") or {}).get("requests") or ()
        asking = [i for i, r in enumerate(requests) if (r.get("exactly") or {}).get("adminAccess")]
        if asking and not self._labelled(req.namespace):
            causes = [Cause.forbidden(f"{path}.devices.requests[{i}].exactly.adminAccess", _WHY) for i in asking]
            raise errors.invalid(_GROUP, req.resource.kind, req.shown_name, causes)

    def _labelled(self, namespace: str) -> bool:
        found: Json = self.server.reader.get(NAMESPACES, "", namespace) or {}
        labels = (found.get("metadata") or {}).get("labels") or {}
        return labels.get(LABEL) == "true"
