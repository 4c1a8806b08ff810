"""PodNodeSelector: the pods of a namespace go to the nodes of that namespace. Off unless configured or turned on.

The namespace's annotation `scheduler.alpha.kubernetes.io/node-selector`, or without one the configuration's
`clusterDefaultNodeSelector`, is added to the node selector of its new pods; a pod that says otherwise is refused. What
the configuration says under the name of a namespace is all that its pods may select by. The form of the configuration
is upstream's, which has no version: `podNodeSelectorPluginConfig: {clusterDefaultNodeSelector: "k=v", NAMESPACE: …}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shirube.api import errors, names
from shirube.api.gvr import NAMESPACES
from shirube.apiserver.admission.plugin import PODS_ONLY, Plugin
from shirube.apiserver.admission.request import AdmissionRequest
from shirube.apiserver.configuration_file import ConfigurationError, Fields

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

ANNOTATION = "scheduler.alpha.kubernetes.io/node-selector"
DEFAULT = "clusterDefaultNodeSelector"
Labels = dict[str, str]


def read_configuration(value: Any, where: str) -> dict[str, Labels]:
    """Labels by namespace, and under DEFAULT. Raises ConfigurationError."""
    fields = Fields(value, where)
    found: dict[str, Labels] = {}
    if (given := fields.object("podNodeSelectorPluginConfig")) is not None:
        for name in given.names():
            text = given.text(name)
            try:
                found[name] = labels_of(text)
            except ValueError as error:
                raise ConfigurationError(f'{given.at(name)}: Invalid value: "{text}": {error}') from error
    fields.done()
    return found


def labels_of(text: str) -> Labels:
    """`a=b,c=d`. Raises ValueError."""
    made: Labels = {}
    for part in text.split(",") if text else ():
        key, equal, label = (piece.strip() for piece in part.partition("="))
        if not equal or "=" in label:
            raise ValueError(f"invalid selector: {part}")
        if wrong := [*names.is_qualified_name(key), *names.is_label_value(label)]:
            raise ValueError(wrong[0])
        made[key] = label
    return made


class PodNodeSelector(Plugin):
    name = "PodNodeSelector"
    resources = PODS_ONLY
    read = staticmethod(read_configuration)

    def __init__(self, server: ServerContext) -> None:
        super().__init__(server)
        self._configured: Mapping[str, Labels] = {}

    def configure(self, configuration: dict[str, Labels]) -> None:
        self._configured = configuration

    async def mutate(self, req: AdmissionRequest) -> None:
        if req.obj is None:
            return
        spec = req.obj.setdefault("spec", {})
        of_namespace = self._without_conflict(req, spec)
        if of_namespace:
            spec["nodeSelector"] = {**of_namespace, **(spec.get("nodeSelector") or {})}

    async def validate(self, req: AdmissionRequest) -> None:
        if req.obj is None:
            return
        spec = req.obj.get("spec") or {}
        self._without_conflict(req, spec)
        allowed = self._configured.get(req.namespace)
        if allowed and not (spec.get("nodeSelector") or {}).items() <= allowed.items():
            raise req.refusal("pod node label selector labels conflict with its namespace whitelist")

    def _without_conflict(self, req: AdmissionRequest, spec: dict[str, Any]) -> Labels:
        """What the namespace selects. Raises ApiError when the pod selects otherwise."""
        of_namespace, own = self._of_namespace(req), spec.get("nodeSelector") or {}
        if any(own.get(key, value) != value for key, value in of_namespace.items()):
            raise req.refusal("pod node label selector conflicts with its namespace node label selector")
        return of_namespace

    def _of_namespace(self, req: AdmissionRequest) -> Labels:
        namespace = self.server.reader.get(NAMESPACES, "", req.namespace)
        if namespace is None:
            raise errors.not_found(NAMESPACES, req.namespace)
        said = (namespace["metadata"].get("annotations") or {}).get(ANNOTATION)
        if said is None:
            return self._configured.get(DEFAULT) or {}
        try:
            return labels_of(said)
        except ValueError as error:
            raise req.refusal(f"annotation {ANNOTATION} of namespace {req.namespace}: {error}") from error
