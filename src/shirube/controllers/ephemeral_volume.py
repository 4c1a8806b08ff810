"""Generic ephemeral volumes: a claim of its own for each such volume of a pod, owned by the pod.

https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/#generic-ephemeral-volumes
"""

from __future__ import annotations

from shirube.api.errors import ApiError
from shirube.api.gvr import PERSISTENTVOLUMECLAIMS, PODS
from shirube.client.controller import Controller
from shirube.client.events import WARNING
from shirube.client.informer import key_of, split_key
from shirube.client.rest import Object
from shirube.controllers.context import Context
from shirube.controllers.ownership import controller_of, controller_reference, deleting
from shirube.controllers.pod_control import namespace_terminating
from shirube.controllers.volume_protection import BY_CLAIM, claims_of

_ACCOUNT = "ephemeral-volume-controller"


def wanted_claims(pod: Object) -> list[Object]:
    out = []
    for volume in pod["spec"].get("volumes") or ():
        template = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
        if template is None:
            continue
        described = template.get("metadata") or {}
        metadata: Object = {
            "name": f"{pod['metadata']['name']}-{volume['name']}",
            "namespace": pod["metadata"]["namespace"],
            "ownerReferences": [controller_reference(pod, "v1", "Pod")],
        }
        metadata |= {k: described[k] for k in ("labels", "annotations") if described.get(k)}
        out.append(
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": template["spec"]}
        )
    return out


class EphemeralVolumeController(Controller[str]):
    name = "ephemeral-volume-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        self._pods = context.informer(PODS)
        self._claims = context.informer(PERSISTENTVOLUMECLAIMS)
        super().__init__(self._pods, self._claims)
        self._client = context.client_of(_ACCOUNT)
        self._recorder = context.recorder("ephemeral_volume", _ACCOUNT)
        self._pods.add_index(BY_CLAIM, claims_of)
        self._pods.add_handler(self._pod_added)
        self._claims.add_handler(on_delete=self._claim_deleted)

    def _pod_added(self, pod: Object) -> None:
        if not deleting(pod) and any(v.get("ephemeral") for v in pod["spec"].get("volumes") or ()):
            self.queue.add(key_of(pod))

    def _claim_deleted(self, claim: Object) -> None:
        """Whoever it belonged to: a pod may have waited for the name."""
        for pod in self._pods.store.by_index(BY_CLAIM, key_of(claim)):
            self._pod_added(pod)

    async def reconcile(self, key: str) -> None:
        pod = self._pods.store.get(*split_key(key))
        if pod is None or deleting(pod):
            return
        for claim in wanted_claims(pod):
            namespace, name = claim["metadata"]["namespace"], claim["metadata"]["name"]
            there = self._claims.store.get(namespace, name)
            if there is None:
                try:
                    await self._client.create(PERSISTENTVOLUMECLAIMS, claim)
                    continue
                except ApiError as error:
                    if namespace_terminating(error):
                        return
                    if error.reason != "AlreadyExists":
                        self._failed(pod, name, f"create PVC {name}: {error.message}")
                        raise
                there = await self._client.get(PERSISTENTVOLUMECLAIMS, name, namespace)
            owner = controller_of(there)
            if owner is None or owner["uid"] != pod["metadata"]["uid"]:
                message = f"PVC {namespace}/{name} was not created for pod {key} (pod is not owner)"
                self._failed(pod, name, message)
                raise ApiError(409, "Conflict", message)

    def _failed(self, pod: Object, claim_name: str, why: str) -> None:
        volume = claim_name.removeprefix(pod["metadata"]["name"] + "-")
        self._recorder.event(pod, WARNING, "FailedBinding", f"ephemeral volume {volume}: {why}")
