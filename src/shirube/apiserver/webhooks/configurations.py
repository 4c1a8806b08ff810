"""Stored webhook configurations as `Hook`s, ready to be matched: made once per change of the configurations.

Hooks are called in the order of their configurations' names and, inside one, as they are listed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shirube.api import selectors
from shirube.api.gvr import MUTATINGWEBHOOKCONFIGURATIONS
from shirube.apiserver.policies.conditions import Conditions

if TYPE_CHECKING:
    from shirube.api.gvr import GVR
    from shirube.api.resources import Resource
    from shirube.apiserver.admission.request import AdmissionRequest
    from shirube.apiserver.context import ServerContext

from shirube.apiserver.webhooks import matching

Json = dict[str, Any]


@dataclass(eq=False, slots=True)
class Hook:
    """One webhook of one configuration."""

    configuration: str
    spec: Json  # read-only
    uid: str
    namespaces: selectors.LabelSelector
    objects: selectors.LabelSelector
    conditions: Conditions
    kind: str  # "admit" or "validating", as the metrics say
    name: str = field(init=False)
    fails_closed: bool = field(init=False)
    timeout: float = field(init=False)
    equivalent: bool = field(init=False)
    reinvocable: bool = field(init=False)

    def __post_init__(self) -> None:
        spec = self.spec
        self.name = spec["name"]
        self.fails_closed = spec.get("failurePolicy", "Fail") != "Ignore"
        self.timeout = float(spec.get("timeoutSeconds") or 10)
        self.equivalent = spec.get("matchPolicy", "Equivalent") != "Exact"
        self.reinvocable = spec.get("reinvocationPolicy") == "IfNeeded"

    async def concerns(self, server: ServerContext, req: AdmissionRequest) -> Resource | None:
        """In which version the webhook wants to see this write; None when it does not. Raises ApiError."""
        if not matching.in_selected_namespace(server, self.namespaces, req):
            return None
        if not matching.object_selected(self.objects, req):
            return None
        rules = self.spec.get("rules") or ()
        resource = matching.matched_resource(server.table, rules, req, equivalent=self.equivalent)
        if resource is None:
            return None
        of = (self.name, "webhook", self.kind)
        if not await self.conditions.hold(server, req, resource, fails_closed=self.fails_closed, of=of):
            return None
        return resource


class Hooks:
    """The hooks of all configurations of one kind."""

    def __init__(self, server: ServerContext, gvr: GVR) -> None:
        self._server = server
        self._gvr = gvr
        self._revision = -1
        self._hooks: tuple[Hook, ...] = ()

    def current(self) -> tuple[Hook, ...]:
        reader = self._server.reader
        revision = reader.revision(self._gvr)
        if revision != self._revision:
            # Hooks that have not changed keep what they have compiled.
            known = {hook.uid: hook for hook in self._hooks}
            kind = "admit" if self._gvr == MUTATINGWEBHOOKCONFIGURATIONS else "validating"
            self._hooks = tuple(
                known.get(uid) or _hook(configuration, webhook, uid, kind)
                for configuration in reader.list(self._gvr)
                for webhook, uid in _listed(configuration)
            )
            self._revision = revision
        return self._hooks


def _listed(configuration: Json) -> list[tuple[Json, str]]:
    meta = configuration["metadata"]
    version = f"{meta['name']}/{meta.get('uid')}/{meta.get('resourceVersion')}"
    return [(w, f"{version}/{n}") for n, w in enumerate(configuration.get("webhooks") or ())]


def _hook(configuration: Json, webhook: Json, uid: str, kind: str) -> Hook:
    return Hook(
        configuration["metadata"]["name"],
        webhook,
        uid,
        selectors.label_selector_from(webhook.get("namespaceSelector") or {}),
        selectors.label_selector_from(webhook.get("objectSelector") or {}),
        Conditions(webhook.get("matchConditions") or ()),
        kind,
    )
