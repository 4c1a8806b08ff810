"""The cluster's CA in every namespace: ConfigMap `kube-root-ca.crt`, which pods' tokens are projected with."""

from __future__ import annotations

from shirube.api.errors import ApiError
from shirube.api.gvr import CONFIGMAPS, NAMESPACES
from shirube.client.controller import Controller
from shirube.client.informer import key_of
from shirube.client.rest import Object
from shirube.controllers.context import Context
from shirube.controllers.pod_control import namespace_terminating

NAME = "kube-root-ca.crt"
_ACCOUNT = "root-ca-cert-publisher"
_DESCRIBED = "kubernetes.io/description"
_DESCRIPTION = {
    _DESCRIBED: "Contains a CA bundle that can be used to verify the kube-apiserver when using "
    "internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed "
    "across distributions of Kubernetes clusters."
}


class RootCAController(Controller[str]):
    name = "root-ca-certificate-publisher-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        if context.root_ca is None:
            raise ValueError("cannot publish the root CA: no root_ca file is set")
        self._ca = context.root_ca.read_text()
        self._namespaces = context.informer(NAMESPACES)
        self._maps = context.informer(CONFIGMAPS)
        super().__init__(self._namespaces, self._maps)
        self._reader = context.reader
        self._client = context.client_of(_ACCOUNT)
        self._namespaces.add_handler(self._enqueue, lambda _, new: self._enqueue(new))
        self._maps.add_handler(None, lambda _, new: self._map_changed(new), self._map_changed)

    def _enqueue(self, namespace: Object) -> None:
        self.queue.add(key_of(namespace))

    def _map_changed(self, config_map: Object) -> None:
        if config_map["metadata"]["name"] == NAME:
            self.queue.add(config_map["metadata"]["namespace"])

    async def reconcile(self, key: str) -> None:
        namespace = self._namespaces.store.get(None, key)
        if namespace is None or (namespace.get("status") or {}).get("phase") == "Terminating":
            return
        current = self._maps.store.get(key, NAME)
        data = {"ca.crt": self._ca}
        if current is not None:
            annotations = current["metadata"].get("annotations") or {}
            if current.get("data") == data and annotations.get(_DESCRIBED):  # in whoever's words
                return
        try:
            if current is None:
                metadata: Object = {"name": NAME, "namespace": key, "annotations": _DESCRIPTION}
                await self._client.create(
                    CONFIGMAPS,
                    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data},
                )
            else:
                # As it is stored: the cache leaves out what an update would then take away.
                stored = await self._reader.get(CONFIGMAPS, NAME, key)
                annotations = {**(stored["metadata"].get("annotations") or {}), **_DESCRIPTION}
                described = {**stored["metadata"], "annotations": annotations}
                await self._client.update(CONFIGMAPS, {**stored, "metadata": described, "data": data})
        except ApiError as error:
            if error.reason != "AlreadyExists" and error.code != 404 and not namespace_terminating(error):
                raise
