"""DenyServiceExternalIPs: no Service takes external addresses it does not have already. Off by default.

Whoever may write Services could take over traffic to any address with them (CVE-2020-8554).
"""

from __future__ import annotations

from typing import Any

from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CREATE, UPDATE, AdmissionRequest


class DenyServiceExternalIPs(Plugin):
    name = "DenyServiceExternalIPs"
    operations = frozenset((CREATE, UPDATE))
    resources = frozenset((("", "services"),))

    async def validate(self, req: AdmissionRequest) -> None:
        if _addresses(req.obj) - _addresses(req.old):
            raise req.refusal("Use of external IPs is denied by admission control")


def _addresses(service: dict[str, Any] | None) -> set[str]:
    return set(((service or {}).get("spec") or {}).get("externalIPs") or ())
