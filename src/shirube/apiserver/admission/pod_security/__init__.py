"""PodSecurity: pods keep to the standard that their namespace names in its labels (KEP-2579).

`pod-security.kubernetes.io/enforce|warn|audit` = privileged, baseline or restricted; what namespaces do not say comes
from the server's configuration, which also exempts users, runtime classes and namespaces (`policy`). Enforcing refuses
pods; warnings also tell about templates (Deployments …), whose pods would be refused later. The versions are shown in
messages; this server knows the newest version of the standards only. What the modes enforce and audit find, and why
somebody was exempt, is annotated in the audit log. Checks: `baseline`, `restricted`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shirube.api import errors
from shirube.api.errors import Cause
from shirube.api.gvr import NAMESPACES, PODS
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.pod_security import baseline, restricted
from shirube.apiserver.admission.pod_security.baseline import Violation
from shirube.apiserver.admission.pod_security.policy import (
    LEVELS,
    MODES,
    PREFIX,
    VERSION,
    Configuration,
    Policy,
    Standard,
    of_labels,
    read_configuration,
)
from shirube.apiserver.admission.request import CREATE, UPDATE, AdmissionRequest

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]
# (group, resource) -> where its pod template is
_TEMPLATES: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "replicationcontrollers"): ("spec", "template"),
    ("", "podtemplates"): ("template",),
    ("apps", "replicasets"): ("spec", "template"),
    ("apps", "deployments"): ("spec", "template"),
    ("apps", "statefulsets"): ("spec", "template"),
    ("apps", "daemonsets"): ("spec", "template"),
    ("batch", "jobs"): ("spec", "template"),
    ("batch", "cronjobs"): ("spec", "jobTemplate", "spec", "template"),
}
_MOST_PODS = 3000  # that an update of a namespace looks at


def evaluate(level: str, meta: Json, spec: Json) -> list[Violation]:
    """What a pod does that the level forbids."""
    if level not in ("baseline", "restricted"):
        return []
    found = [v for check in baseline.CHECKS for v in check(meta, spec)]
    if level == "restricted":
        # The stricter check of the same name stands for the looser one.
        stricter = [v for check in restricted.CHECKS for v in check(meta, spec)]
        reasons = {v.reason for v in stricter}
        covered = {"hostPath volumes"} if "restricted volume types" in reasons else set()
        if "unrestricted capabilities" in reasons:
            covered.add("non-default capabilities")
        found = [v for v in found if v.reason not in covered] + stricter
    return sorted(found, key=lambda v: v.reason)


class PodSecurity(Plugin):
    name = "PodSecurity"
    operations = frozenset((CREATE, UPDATE))
    resources = frozenset(
        (("", "pods"), ("", "pods/ephemeralcontainers"), ("", "pods/resize"), ("", "namespaces"), *_TEMPLATES)
    )

    read = staticmethod(read_configuration)

    def __init__(self, server: ServerContext) -> None:
        super().__init__(server)
        self.configure(Configuration())

    def configure(self, configuration: Configuration) -> None:
        self._exempt, self._defaults = configuration, configuration.defaults
        # Whether a namespace without labels of ours is judged at all.
        self._by_default = any(standard.level != "privileged" for standard in configuration.defaults)

    async def validate(self, req: AdmissionRequest) -> None:
        if req.obj is None:
            return
        if (req.resource.group, req.resource.name) == ("", "namespaces"):
            if not req.subresource:
                self._namespace(req, req.obj)
            return
        namespace = self.server.reader.get(NAMESPACES, "", req.namespace)
        labels = ((namespace or {}).get("metadata") or {}).get("labels") or {}
        if not self._by_default and not any(key.startswith(PREFIX) for key in labels):
            return
        if self._passes(req):
            return
        policy = of_labels(labels, self._defaults)
        if req.resource.name == "pods":
            if req.operation == CREATE or _significant(req.old or {}, req.obj, req.subresource):
                self._pod(req, policy, req.obj)
        else:
            self._template(req, policy, req.obj)

    def _passes(self, req: AdmissionRequest) -> bool:
        """Whether the namespace or the user is exempt."""
        for why, exempt in (
            ("namespace", req.namespace in self._exempt.namespaces),
            ("user", req.user.name in self._exempt.usernames),
        ):
            if exempt:
                req.annotate(f"{PREFIX}exempt", why)
                return True
        return False

    def _passes_for_its_class(self, req: AdmissionRequest, spec: Json) -> bool:
        if (spec.get("runtimeClassName") or "") not in self._exempt.runtime_classes:
            return False
        req.annotate(f"{PREFIX}exempt", "runtimeClass")
        return True

    def _pod(self, req: AdmissionRequest, policy: Policy, pod: Json) -> None:
        meta, spec = pod["metadata"], pod.get("spec") or {}
        if self._passes_for_its_class(req, spec):
            return
        req.annotate(f"{PREFIX}enforce-policy", str(policy.enforce))
        found = evaluate(policy.enforce.level, meta, spec)
        if found:
            self._audit(req, policy.audit, meta, spec)
            shown = ", ".join(map(str, found))
            raise req.refusal(f'violates PodSecurity "{policy.enforce}": {shown}')
        self._warn(req, policy, meta, spec)

    def _audit(self, req: AdmissionRequest, standard: Standard, meta: Json, spec: Json) -> None:
        if req.annotations is None:
            return
        found = evaluate(standard.level, meta, spec)
        if found:
            shown = ", ".join(map(str, found))
            req.annotate(f"{PREFIX}audit-violations", f'would violate PodSecurity "{standard}": {shown}')

    def _warn(self, req: AdmissionRequest, policy: Policy, meta: Json, spec: Json) -> None:
        self._audit(req, policy.audit, meta, spec)
        found = evaluate(policy.warn.level, meta, spec)
        if found:
            shown = ", ".join(map(str, found))
            req.warnings.append(f'would violate PodSecurity "{policy.warn}": {shown}')

    def _template(self, req: AdmissionRequest, policy: Policy, obj: Json) -> None:
        template: Any = obj
        for key in _TEMPLATES[req.resource.group, req.resource.name]:
            template = (template or {}).get(key)
        if not template:
            return
        spec = template.get("spec") or {}
        if not self._passes_for_its_class(req, spec):
            self._warn(req, policy, template.get("metadata") or {}, spec)

    def _namespace(self, req: AdmissionRequest, namespace: Json) -> None:
        name, labels = namespace["metadata"].get("name", ""), namespace["metadata"].get("labels") or {}
        causes = _check_labels(labels)
        old_labels = ((req.old or {}).get("metadata") or {}).get("labels") or {}
        if causes and {k: v for k, v in labels.items() if k.startswith(PREFIX)} != {
            k: v for k, v in old_labels.items() if k.startswith(PREFIX)
        }:
            raise errors.invalid("", "Namespace", name, causes)
        if req.operation == CREATE:
            return
        new, old = of_labels(labels, self._defaults).enforce, of_labels(old_labels, self._defaults).enforce
        if new == old or new.level == "privileged" or name in self._exempt.namespaces:
            return
        if new.version == old.version and LEVELS.index(new.level) <= LEVELS.index(old.level):
            return
        req.warnings.extend(self._existing(name, new))

    def _existing(self, name: str, standard: Standard) -> list[str]:
        """What the pods of a namespace do that a standard forbids."""
        pods = self.server.reader.list(PODS, name)
        problems: dict[str, list[str]] = {}
        for pod in pods[:_MOST_PODS]:
            spec = pod.get("spec") or {}
            if (spec.get("runtimeClassName") or "") in self._exempt.runtime_classes:
                continue
            if found := evaluate(standard.level, pod["metadata"], spec):
                problems.setdefault(", ".join(v.reason for v in found), []).append(pod["metadata"]["name"])
        told = []
        if len(pods) > _MOST_PODS:
            part = f"the first {_MOST_PODS} of {len(pods)} existing pods"
            told.append(f"new PodSecurity enforce level only checked against {part}")
        if problems:
            told.append(f'existing pods in namespace "{name}" violate the new PodSecurity enforce level "{standard}"')
        details = []
        for shown, culprits in problems.items():
            others = len(culprits) - 1
            more = f" (and {others} other pod{'s' if others > 1 else ''})" if others else ""
            details.append(f"{min(culprits)}{more}: {shown}")
        return told + sorted(details)


def _significant(old: Json, new: Json, subresource: str) -> bool:
    """Updates that change nothing the standards speak of are let through, so that old pods can be finished."""
    if subresource:
        return True
    before, after = old.get("spec") or {}, new.get("spec") or {}
    skipped = ("tolerations", "activeDeadlineSeconds", "terminationGracePeriodSeconds")
    return {k: v for k, v in before.items() if k not in skipped} != {k: v for k, v in after.items() if k not in skipped}


def _check_labels(labels: Json) -> list[Cause]:
    causes = []
    for mode in MODES:
        key = PREFIX + mode
        if key in labels and labels[key] not in LEVELS:
            detail = f"must be one of {', '.join(LEVELS)}"
            causes.append(Cause.invalid(f"metadata.labels[{key}]", labels[key], detail))
        key += "-version"
        if key in labels and not VERSION.fullmatch(labels[key]):
            detail = 'must be "latest" or "v1.x"'
            causes.append(Cause.invalid(f"metadata.labels[{key}]", labels[key], detail))
    return causes
