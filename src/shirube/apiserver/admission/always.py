"""AlwaysAdmit and AlwaysDeny: the two ends of upstream's list. Off by default; the second is for tests of clients."""

from __future__ import annotations

from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CONNECT, CREATE, DELETE, UPDATE, AdmissionRequest

_EVERYTHING = frozenset((CREATE, UPDATE, DELETE, CONNECT))


class AlwaysAdmit(Plugin):
    name = "AlwaysAdmit"
    operations = _EVERYTHING


class AlwaysDeny(Plugin):
    name = "AlwaysDeny"
    operations = _EVERYTHING

    async def mutate(self, req: AdmissionRequest) -> None:
        await self.validate(req)

    async def validate(self, req: AdmissionRequest) -> None:
        raise req.refusal("admission control is denying all modifications")
