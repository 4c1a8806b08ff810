"""Owner references that are listed twice are stored once, with a warning.

Upstream does this around mutating admission, in its write handlers, and warns differently for what came with the
request and for what a webhook added; here it is the first plugin to mutate and, for webhooks, the first to judge.
"""

from __future__ import annotations

from typing import Any

from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CREATE, UPDATE, AdmissionRequest

_ADVICE = (
    "API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; "
    "please fix your requests; duplicate UID(s) observed: "
)
FROM_CLIENT = f".metadata.ownerReferences contains duplicate entries; {_ADVICE}"
FROM_WEBHOOK = f".metadata.ownerReferences contains duplicate entries after mutating admission happens; {_ADVICE}"


class OwnerReferences(Plugin):
    name = "OwnerReferences"
    operations = frozenset((CREATE, UPDATE))

    async def mutate(self, req: AdmissionRequest) -> None:
        if not req.second_round:
            _once(req, FROM_CLIENT)

    async def validate(self, req: AdmissionRequest) -> None:
        _once(req, FROM_WEBHOOK)


def _once(req: AdmissionRequest, warning: str) -> None:
    meta: dict[str, Any] = (req.obj or {}).get("metadata") or {}
    owners = meta.get("ownerReferences")
    if not owners or len(owners) < 2:
        return
    kept: list[dict[str, Any]] = []
    twice: list[str] = []
    for owner in owners:
        if owner not in kept:
            kept.append(owner)
        elif owner.get("uid", "") not in twice:
            twice.append(owner.get("uid", ""))
    if twice:
        meta["ownerReferences"] = kept
        req.warnings.append(f"{warning}[{' '.join(twice)}]")
