"""PodTolerationRestriction: the tolerations that pods of a namespace get, and those that they may have. Off unless
configured or turned on.

Defaults and the list of what is allowed come from the namespace's annotations
`scheduler.alpha.kubernetes.io/defaultTolerations` and `…/tolerationsWhitelist` (JSON lists), or, where it has none,
from the configuration's `default` and `whitelist`; an empty list allows everything. Of two tolerations of which one
covers the other, the wider is kept. Pods that ask for resources tolerate pressure on memory. What other plugins added
before (DefaultTolerationSeconds) must be allowed, too, as upstream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from shirube.api import errors
from shirube.api.gvr import NAMESPACES
from shirube.api.kinds.pod_qos import qos_class
from shirube.apiserver.admission.plugin import PODS_ONLY, Plugin
from shirube.apiserver.admission.request import CREATE, UPDATE, AdmissionRequest
from shirube.apiserver.configuration_file import ConfigurationError, Fields, of_kind

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]
Tolerations = list[Json]
KINDS = (("podtolerationrestriction.admission.k8s.io/v1alpha1", "Configuration"),)
DEFAULTS = "scheduler.alpha.kubernetes.io/defaultTolerations"
ALLOWED = "scheduler.alpha.kubernetes.io/tolerationsWhitelist"
_EFFECTS = ("", "NoSchedule", "PreferNoSchedule", "NoExecute")
_OPERATORS = ("", "Exists", "Equal", "Lt", "Gt")
_PRESSURE = {"effect": "NoSchedule", "key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}


def read_configuration(value: Any, where: str) -> tuple[Tolerations, Tolerations]:
    """(defaults, what is allowed). Raises ConfigurationError."""
    fields = of_kind(value, where, KINDS)
    found = ([_toleration(each) for each in fields.objects(name)] for name in ("default", "whitelist"))
    made = next(found), next(found)
    fields.done()
    return made


def _toleration(fields: Fields) -> Json:
    made: Json = {name: text for name in ("effect", "key", "operator", "value") if (text := fields.text(name))}
    if (seconds := fields.number("tolerationSeconds")) is not None:
        made["tolerationSeconds"] = seconds
    fields.done()
    for name, known in (("effect", _EFFECTS), ("operator", _OPERATORS)):
        if (said := made.get(name, "")) not in known:
            shown = ", ".join(f'"{each}"' for each in known if each)
            raise ConfigurationError(f'{fields.at(name)}: Unsupported value: "{said}": supported values: {shown}')
    return made


def covers(wide: Json, narrow: Json) -> bool:
    """Whether one toleration tolerates everything that the other does."""
    if wide == narrow:
        return True
    operator = wide.get("operator") or "Equal"
    if narrow.get("key", "") != wide.get("key", "") and (wide.get("key") or operator != "Exists"):
        return False
    if wide.get("effect") and narrow.get("effect", "") != wide["effect"]:
        return False
    if wide.get("effect") == "NoExecute" and (most := wide.get("tolerationSeconds")) is not None:
        seconds = narrow.get("tolerationSeconds")
        if seconds is None or seconds > most:
            return False
    if operator == "Exists":
        return True
    same = (narrow.get("operator") or "Equal") == "Equal" and narrow.get("value", "") == wide.get("value", "")
    return operator == "Equal" and same


def merged(first: Tolerations, second: Tolerations) -> Tolerations:
    """Both, without those that another one covers; of equal ones the first."""
    every, kept = [*first, *second], list[Json]()
    for n, one in enumerate(every):
        if any(covers(other, one) for other in kept):
            continue
        if any(other != one and covers(other, one) for other in every[n + 1 :]):
            continue
        kept.append(one)
    return kept


class PodTolerationRestriction(Plugin):
    name = "PodTolerationRestriction"
    operations = frozenset((CREATE, UPDATE))
    resources = PODS_ONLY
    read = staticmethod(read_configuration)

    def __init__(self, server: ServerContext) -> None:
        super().__init__(server)
        self._defaults: Tolerations = []
        self._allowed: Tolerations = []

    def configure(self, configuration: tuple[Tolerations, Tolerations]) -> None:
        self._defaults, self._allowed = configuration

    async def mutate(self, req: AdmissionRequest) -> None:
        if req.obj is None:
            return
        spec = req.obj.setdefault("spec", {})
        tolerations: Tolerations = spec.get("tolerations") or []
        if req.operation == CREATE:
            defaults = self._of_namespace(req, DEFAULTS)
            defaults = self._defaults if defaults is None else defaults
            if defaults:
                tolerations = merged(defaults, tolerations) if tolerations else [dict(t) for t in defaults]
        if qos_class(spec) != "BestEffort":
            tolerations = merged(tolerations, [dict(_PRESSURE)])
        if tolerations:
            spec["tolerations"] = tolerations

    async def validate(self, req: AdmissionRequest) -> None:
        tolerations = ((req.obj or {}).get("spec") or {}).get("tolerations") or []
        if not tolerations:
            return
        allowed, whose = self._of_namespace(req, ALLOWED), "namespace"
        if allowed is None:
            allowed, whose = self._allowed, "cluster"
        if allowed and not all(any(covers(wide, one) for wide in allowed) for one in tolerations):
            raise req.refusal(
                "pod tolerations (possibly merged with namespace default tolerations) conflict with its "
                f"{whose} whitelist"
            )

    def _of_namespace(self, req: AdmissionRequest, annotation: str) -> Tolerations | None:
        """None: it says nothing. Raises ApiError."""
        namespace = self.server.reader.get(NAMESPACES, "", req.namespace)
        if namespace is None:
            raise errors.not_found(NAMESPACES, req.namespace)
        text = (namespace["metadata"].get("annotations") or {}).get(annotation)
        if not text:
            return None if text is None else []
        try:
            found = orjson.loads(text)
            if not isinstance(found, list):
                raise ConfigurationError("must be a list")
            return [_toleration(Fields(each, f"[{n}]")) for n, each in enumerate(found)]
        except ValueError as error:
            raise req.refusal(f"annotation {annotation} of namespace {req.namespace}: {error}") from error
