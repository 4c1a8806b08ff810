"""DefaultTolerationSeconds: a pod stays five minutes on a node that is not ready or not reachable.

Only where the pod says nothing of its own about those taints.
"""

from __future__ import annotations

from shirube.apiserver.admission.plugin import PODS_ONLY, Plugin
from shirube.apiserver.admission.request import CREATE, UPDATE, AdmissionRequest

SECONDS = 300
_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


class DefaultTolerationSeconds(Plugin):
    name = "DefaultTolerationSeconds"
    operations = frozenset((CREATE, UPDATE))
    resources = PODS_ONLY

    async def mutate(self, req: AdmissionRequest) -> None:
        if req.obj is None:
            return
        spec = req.obj.setdefault("spec", {})
        tolerations = list(spec.get("tolerations") or ())
        before = len(tolerations)
        for taint in _TAINTS:
            if not any(
                t.get("key") in (taint, "", None) and t.get("effect") in ("NoExecute", "", None)
                for t in tolerations[:before]
            ):
                tolerations.append(
                    {
                        "effect": "NoExecute",
                        "key": taint,
                        "operator": "Exists",
                        "tolerationSeconds": SECONDS,
                    }
                )
        if len(tolerations) > before:
            spec["tolerations"] = tolerations
