"""Says, when admission policies are written, that this server does not evaluate them yet.

They are stored and served like every object; silence would let somebody believe that a policy holds.
"""

from __future__ import annotations

from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CREATE, UPDATE, AdmissionRequest

_GROUP = "admissionregistration.k8s.io"
_RESOURCES = (
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
)


class NotEnforced(Plugin):
    name = "NotEnforced"
    operations = frozenset((CREATE, UPDATE))
    resources = frozenset((_GROUP, resource) for resource in _RESOURCES)

    async def validate(self, req: AdmissionRequest) -> None:
        req.warnings.append(f"this server stores {req.resource.group_resource} but does not enforce them yet")
