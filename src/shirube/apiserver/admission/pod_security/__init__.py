"""PodSecurity: pods keep to the standard that their namespace names in its labels (KEP-2579).

`pod-security.kubernetes.io/enforce|warn|audit` = privileged, baseline or restricted. Enforcing refuses pods;
warnings also tell about templates (Deployments …), whose pods would be refused later. The `-version` labels are
shown in messages; this server knows the newest version of the standards only. What the modes enforce and audit find is
annotated in the audit log. Checks: `baseline`, `restricted`.
"""

from __future__ import annotations

import re
from typing import Any

from shirube.api import errors
from shirube.api.errors import Cause
from shirube.api.gvr import NAMESPACES, PODS
from shirube.apiserver.admission.plugin import Plugin
from shirube.apiserver.admission.pod_security import baseline, restricted
from shirube.apiserver.admission.pod_security.baseline import Violation
from shirube.apiserver.admission.request import CREATE, UPDATE, AdmissionRequest

Json = dict[str, Any]
_LABEL = "pod-security.kubernetes.io/"
LEVELS = ("privileged", "baseline", "restricted")
_VERSION = re.compile(r"latest|v1\.(0|[1-9][0-9]*)")
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


def policy(labels: Json, mode: str) -> tuple[str, str]:
    """(level, version) that the labels of a namespace ask for; a level that is not one is "restricted"."""
    level = labels.get(_LABEL + mode, "privileged")
    return (level if level in LEVELS else "restricted"), labels.get(f"{_LABEL}{mode}-version", "latest")


class PodSecurity(Plugin):
    name = "PodSecurity"
    operations = frozenset((CREATE, UPDATE))
    resources = frozenset(
        (("", "pods"), ("", "pods/ephemeralcontainers"), ("", "pods/resize"), ("", "namespaces"), *_TEMPLATES)
    )

    async def validate(self, req: AdmissionRequest) -> None:
        if req.obj is None:
            return
        if (req.resource.group, req.resource.name) == ("", "namespaces"):
            self._namespace(req, req.obj)
            return
        namespace = self.server.reader.get(NAMESPACES, "", req.namespace)
        labels = ((namespace or {}).get("metadata") or {}).get("labels") or {}
        if not any(key.startswith(_LABEL) for key in labels):
            return
        if req.resource.name == "pods":
            if req.operation == CREATE or _significant(req.old or {}, req.obj, req.subresource):
                self._pod(req, labels, req.obj)
        else:
            self._template(req, labels, req.obj)

    def _pod(self, req: AdmissionRequest, labels: Json, pod: Json) -> None:
        meta, spec = pod["metadata"], pod.get("spec") or {}
        level, version = policy(labels, "enforce")
        req.annotate(f"{_LABEL}enforce-policy", f"{level}:{version}")
        found = evaluate(level, meta, spec)
        if found:
            self._audit(req, labels, meta, spec)
            shown = ", ".join(map(str, found))
            raise req.refusal(f'violates PodSecurity "{level}:{version}": {shown}')
        self._warn(req, labels, meta, spec)

    def _audit(self, req: AdmissionRequest, labels: Json, meta: Json, spec: Json) -> None:
        if req.annotations is None:
            return
        level, version = policy(labels, "audit")
        found = evaluate(level, meta, spec)
        if found:
            shown = ", ".join(map(str, found))
            req.annotate(f"{_LABEL}audit-violations", f'would violate PodSecurity "{level}:{version}": {shown}')

    def _warn(self, req: AdmissionRequest, labels: Json, meta: Json, spec: Json) -> None:
        self._audit(req, labels, meta, spec)
        level, version = policy(labels, "warn")
        found = evaluate(level, meta, spec)
        if found:
            shown = ", ".join(map(str, found))
            req.warnings.append(f'would violate PodSecurity "{level}:{version}": {shown}')

    def _template(self, req: AdmissionRequest, labels: Json, obj: Json) -> None:
        template: Any = obj
        for key in _TEMPLATES[req.resource.group, req.resource.name]:
            template = (template or {}).get(key)
        if template:
            self._warn(req, labels, template.get("metadata") or {}, template.get("spec") or {})

    def _namespace(self, req: AdmissionRequest, namespace: Json) -> None:
        labels = namespace["metadata"].get("labels") or {}
        causes = _check_labels(labels)
        old_labels = ((req.old or {}).get("metadata") or {}).get("labels") or {}
        if causes and {k: v for k, v in labels.items() if k.startswith(_LABEL)} != {
            k: v for k, v in old_labels.items() if k.startswith(_LABEL)
        }:
            raise errors.invalid("", "Namespace", namespace["metadata"].get("name", ""), causes)
        level, version = policy(labels, "enforce")
        if req.operation == CREATE or LEVELS.index(level) <= LEVELS.index(policy(old_labels, "enforce")[0]):
            return
        name = namespace["metadata"]["name"]
        problems: dict[str, list[str]] = {}
        for pod in self.server.reader.list(PODS, name)[:_MOST_PODS]:
            found = evaluate(level, pod["metadata"], pod.get("spec") or {})
            if found:
                shown = ", ".join(v.reason for v in found)
                problems.setdefault(shown, []).append(pod["metadata"]["name"])
        if problems:
            req.warnings.append(
                f'existing pods in namespace "{name}" violate the new PodSecurity enforce level "{level}:{version}"'
            )
            for shown, pods in problems.items():
                more = f" (and {len(pods) - 1} other pod{'s' if len(pods) > 2 else ''})" if len(pods) > 1 else ""
                req.warnings.append(f"{pods[0]}{more}: {shown}")


def _significant(old: Json, new: Json, subresource: str) -> bool:
    """Updates that change nothing the standards speak of are let through, so that old pods can be finished."""
    if subresource:
        return True
    before, after = old.get("spec") or {}, new.get("spec") or {}
    skipped = ("tolerations", "activeDeadlineSeconds", "terminationGracePeriodSeconds")
    return {k: v for k, v in before.items() if k not in skipped} != {k: v for k, v in after.items() if k not in skipped}


def _check_labels(labels: Json) -> list[Cause]:
    causes = []
    for mode in ("enforce", "audit", "warn"):
        key = _LABEL + mode
        if key in labels and labels[key] not in LEVELS:
            detail = f"must be one of {', '.join(LEVELS)}"
            causes.append(Cause.invalid(f"metadata.labels[{key}]", labels[key], detail))
        key += "-version"
        if key in labels and not _VERSION.fullmatch(labels[key]):
            detail = 'must be "latest" or "v1.x"'
            causes.append(Cause.invalid(f"metadata.labels[{key}]", labels[key], detail))
    return causes
