"""The further checks of the Pod Security Standard "restricted": current best practice is asked for.

Shapes as in `baseline`. Linux-only demands are not made of Windows pods, as upstream.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shirube.apiserver.admission.pod_security.baseline import Violation, containers, context, named, quoted

Json = dict[str, Any]

_VOLUMES = frozenset(
    (
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    )
)


def _windows(spec: Json) -> bool:
    return (spec.get("os") or {}).get("name") == "windows"


def allow_privilege_escalation(meta: Json, spec: Json) -> Iterator[Violation]:
    if _windows(spec):
        return
    bad = [c["name"] for c in containers(spec) if context(c).get("allowPrivilegeEscalation") is not False]
    if bad:
        detail = f"{named(bad)} must set securityContext.allowPrivilegeEscalation=false"
        yield Violation("allowPrivilegeEscalation != false", detail)


def capabilities(meta: Json, spec: Json) -> Iterator[Violation]:
    if _windows(spec):
        return
    undropped, adding, added = [], [], set()
    for container in containers(spec):
        wanted = context(container).get("capabilities") or {}
        if "ALL" not in (wanted.get("drop") or ()):
            undropped.append(container["name"])
        extra = {c for c in wanted.get("add") or () if c != "NET_BIND_SERVICE"}
        if extra:
            adding.append(container["name"])
            added |= extra
    parts = []
    if undropped:
        parts.append(f'{named(undropped)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        what = quoted(sorted(added))
        parts.append(f"{named(adding)} must not include {what} in securityContext.capabilities.add")
    if parts:
        yield Violation("unrestricted capabilities", "; ".join(parts))


def volumes(meta: Json, spec: Json) -> Iterator[Violation]:
    bad, kinds = [], set()
    for volume in spec.get("volumes") or ():
        found = [key for key in volume if key != "name" and key not in _VOLUMES]
        if found:
            bad.append(volume["name"])
            kinds.update(found)
    if bad:
        verb = "uses" if len(bad) == 1 else "use"
        plural = "s" if len(kinds) > 1 else ""
        what = quoted(sorted(kinds))
        detail = f"{named(bad, 'volume')} {verb} restricted volume type{plural} {what}"
        yield Violation("restricted volume types", detail)


def run_as_non_root(meta: Json, spec: Json) -> Iterator[Violation]:
    if spec.get("hostUsers") is False:
        return
    pod = context(spec).get("runAsNonRoot")
    bad = [c["name"] for c in containers(spec) if context(c).get("runAsNonRoot") is False]
    unset = [c["name"] for c in containers(spec) if context(c).get("runAsNonRoot") is None]
    must_not = "must not set securityContext.runAsNonRoot=false"
    who = []
    if pod is False:
        who.append("pod")
    if bad:
        who.append(named(bad))
    if who:
        yield Violation("runAsNonRoot != true", f"{' and '.join(who)} {must_not}")
    elif pod is None and unset:
        detail = f"pod or {named(unset)} must set securityContext.runAsNonRoot=true"
        yield Violation("runAsNonRoot != true", detail)


def run_as_user(meta: Json, spec: Json) -> Iterator[Violation]:
    if spec.get("hostUsers") is False:
        return
    bad = [c["name"] for c in containers(spec) if context(c).get("runAsUser") == 0]
    who = ["pod"] if context(spec).get("runAsUser") == 0 else []
    if bad:
        who.append(named(bad))
    if who:
        yield Violation("runAsUser=0", f"{' and '.join(who)} must not set runAsUser=0")


def seccomp(meta: Json, spec: Json) -> Iterator[Violation]:
    if _windows(spec):
        return
    pod = (context(spec).get("seccompProfile") or {}).get("type")
    if pod is not None:
        return  # a bad one is the baseline's business
    unset = [c["name"] for c in containers(spec) if not (context(c).get("seccompProfile") or {}).get("type")]
    if unset:
        yield Violation(
            "seccompProfile",
            f'pod or {named(unset)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"',
        )


CHECKS = (allow_privilege_escalation, capabilities, volumes, run_as_non_root, run_as_user, seccomp)
