"""Names of definitions: who may have which, and the conditions that tell of it.

Within a group a plural, singular or short name belongs to the first definition that asked for it, and so does a
kind or list kind. One whose names are taken waits with NamesAccepted=False until they are free. A definition whose
names were accepted once is Established and stays so, with the names that it had.
Follows apiextensions-apiserver ``pkg/controller/status`` and ``establish``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shirube.api.errors import quote
from shirube.foundation.clock import rfc3339

Json = dict[str, Any]

NAMES_ACCEPTED = "NamesAccepted"
ESTABLISHED = "Established"
TERMINATING = "Terminating"
CONFORMANT = "KubernetesAPIApprovalPolicyConformant"
_APPROVAL = "api-approved.kubernetes.io"
_ACCEPTED = "the initial names have been accepted"


def condition(definition: Json, kind: str) -> Json | None:
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == kind), None)


def is_true(definition: Json, kind: str) -> bool:
    found = condition(definition, kind)
    return found is not None and found.get("status") == "True"


def set_condition(status: Json, kind: str, value: str, reason: str, message: str, now: float) -> None:
    """The transition time moves when the status does."""
    conditions = status["conditions"] = [dict(c) for c in status.get("conditions") or ()]
    made = {"type": kind, "status": value, "lastTransitionTime": rfc3339(now), "reason": reason, "message": message}
    for n, old in enumerate(conditions):
        if old["type"] == kind:
            if old["status"] == value:
                made["lastTransitionTime"] = old.get("lastTransitionTime") or made["lastTransitionTime"]
            conditions[n] = made
            return
    conditions.append(made)


def settled(definition: Json, others: Iterable[Json], now: float) -> Json:
    """The status of a definition among the others of its group: accepted names and conditions."""
    status = dict(definition.get("status") or {})
    wanted = definition["spec"]["names"]
    names = dict(status.get("acceptedNames") or {})
    reason, message = _accept(names, wanted, others)
    status["acceptedNames"] = names
    accepted = not reason
    if accepted:
        set_condition(status, NAMES_ACCEPTED, "True", "NoConflicts", "no conflicts found", now)
    else:
        set_condition(status, NAMES_ACCEPTED, "False", reason, message, now)
    if not is_true(definition, ESTABLISHED):
        if accepted:
            set_condition(status, ESTABLISHED, "True", "InitialNamesAccepted", _ACCEPTED, now)
        else:
            set_condition(status, ESTABLISHED, "False", "NotAccepted", "not all names are accepted", now)
    _approve(definition, status, now)
    return status


def _accept(names: Json, wanted: Json, others: Iterable[Json]) -> tuple[str, str]:
    """Take over into `names` what is free. Answers the reason and message of the last conflict, or empty texts."""
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        taken = (other.get("status") or {}).get("acceptedNames") or {}
        resources |= {taken.get("plural", ""), taken.get("singular", ""), *(taken.get("shortNames") or ())}
        kinds |= {taken.get("kind", ""), taken.get("listKind", "")}
    reason = message = ""
    for field, used in (("plural", resources), ("singular", resources), ("shortNames", resources), ("kind", kinds),
                        ("listKind", kinds)):  # fmt: skip
        asked = wanted.get(field)
        if asked == names.get(field):
            continue
        if field == "shortNames":
            mine = {*(names.get(field) or ()), names.get("plural"), names.get("singular")}
            conflicts = [n for n in asked or () if n in used and n not in mine]
        else:
            conflicts = [asked] if asked in used else []
        if conflicts:
            reason = f"{field[0].upper()}{field[1:]}Conflict"
            texts = [f"{quote(n)} is already in use" for n in conflicts]
            message = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
        elif asked:
            names[field] = asked
        else:
            names.pop(field, None)
    if wanted.get("categories"):
        names["categories"] = wanted["categories"]
    else:
        names.pop("categories", None)
    return reason, message


def _approve(definition: Json, status: Json, now: float) -> None:
    """Groups of the Kubernetes project need an approval, which an annotation tells."""
    group = definition["spec"]["group"]
    if group not in ("k8s.io", "kubernetes.io") and not group.endswith((".k8s.io", ".kubernetes.io")):
        return
    given = (definition["metadata"].get("annotations") or {}).get(_APPROVAL, "")
    if given.startswith("unapproved"):
        set_condition(status, CONFORMANT, "False", "UnapprovedAnnotation", f"not approved: {quote(given)}", now)
    elif given.startswith(("https://", "http://")):
        set_condition(status, CONFORMANT, "True", "ApprovedAnnotation", f"approved in {given}", now)
    else:
        why = "ErrorGettingApproval" if given else "MissingAnnotation"
        detail = f'protected groups must have approval annotation "{_APPROVAL}", see '
        detail += "https://github.com/kubernetes/enhancements/pull/1111"
        set_condition(status, CONFORMANT, "False", why, detail, now)
