"""AlwaysPullImages: every container pulls its image when it starts. Off by default.

So that nobody runs a private image that somebody else's pod brought to the node: with each pull the registry is asked
whether this pod's secrets may have it. Volumes that are images, and containers that are added for debugging, too. An
update that brings no new image is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shirube.api.errors import Cause
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.request import CREATE, UPDATE, AdmissionRequest

Json = dict[str, Any]
_LISTS = ("initContainers", "containers", "ephemeralContainers")
ALWAYS = "Always"


class AlwaysPullImages(Plugin):
    name = "AlwaysPullImages"
    operations = frozenset((CREATE, UPDATE))
    resources = frozenset((("", "pods"), ("", "pods/ephemeralcontainers")))

    async def mutate(self, req: AdmissionRequest) -> None:
        if req.obj is None or not _new_images(req):
            return
        spec = req.obj.get("spec") or {}
        for _, container in _containers(spec):
            container["imagePullPolicy"] = ALWAYS
        for volume in spec.get("volumes") or ():
            if volume.get("image") is not None:
                volume["image"]["pullPolicy"] = ALWAYS

    async def validate(self, req: AdmissionRequest) -> None:
        if req.obj is None or not _new_images(req):
            return
        spec = req.obj.get("spec") or {}
        policies = [(f"{path}.imagePullPolicy", c.get("imagePullPolicy")) for path, c in _containers(spec)]
        policies += [
            (f"spec.volumes[{n}].image.pullPolicy", v["image"].get("pullPolicy"))
            for n, v in enumerate(spec.get("volumes") or ())
            if v.get("image") is not None
        ]
        for path, policy in policies:
            if policy != ALWAYS:
                cause = Cause.not_supported(path, policy, [ALWAYS])
                raise req.refusal(f"{cause.field}: {cause.message}")


def _containers(spec: Json) -> Iterator[tuple[str, Json]]:
    for kind in _LISTS:
        for n, container in enumerate(spec.get(kind) or ()):
            yield f"spec.{kind}[{n}]", container


def _new_images(req: AdmissionRequest) -> bool:
    if req.operation != UPDATE or req.old is None or req.obj is None:
        return True
    before = {container.get("image") for _, container in _containers(req.old.get("spec") or {})}
    return any(container.get("image") not in before for _, container in _containers(req.obj.get("spec") or {}))
