"""What becomes of a bootstrap object that is already there: pure functions from old and wanted to new.

Roles and bindings are topped up as upstream does at every start: what somebody took away comes back, what
somebody added stays; with `autoupdate: "false"` nothing is touched. Flow control is put back as it was. All
else belongs to whoever changed it.
"""

from __future__ import annotations

from typing import Any

from shirube.apiserver.authorization.rules import uncovered
from shirube.apiserver.bootstrap.objects import AUTOUPDATE, AUTOUPDATE_SPEC

Json = dict[str, Any]


def reconcile(have: Json, want: Json) -> Json | None:
    """The object to store instead of `have`; None when it may stay as it is."""
    kind = want["kind"]
    if kind in ("ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding"):
        return _rbac(have, want)
    if kind in ("FlowSchema", "PriorityLevelConfiguration"):
        return _flow_control(have, want)
    return None


def _annotation(obj: Json, key: str) -> str | None:
    return (obj["metadata"].get("annotations") or {}).get(key)


def _rbac(have: Json, want: Json) -> Json | None:
    if _annotation(have, AUTOUPDATE) == "false":
        return None
    new = dict(have)
    meta = new["metadata"] = dict(have["metadata"])
    for key in ("labels", "annotations"):
        meta[key] = {**(want["metadata"].get(key) or {}), **(meta.get(key) or {})}
    if "rules" in want and "aggregationRule" not in want:
        missing = uncovered(have.get("rules") or [], want["rules"])
        if missing:
            new["rules"] = [*(have.get("rules") or ()), *_unheld(have.get("rules") or [], want["rules"])]
    if "aggregationRule" in want:
        selectors = list((have.get("aggregationRule") or {}).get("clusterRoleSelectors") or ())
        wanted = want["aggregationRule"]["clusterRoleSelectors"]
        new["aggregationRule"] = {"clusterRoleSelectors": [*selectors, *(s for s in wanted if s not in selectors)]}
    if "subjects" in want:
        subjects = list(have.get("subjects") or ())
        new["subjects"] = [*subjects, *(s for s in want["subjects"] if s not in subjects)]
    if "roleRef" in want:
        new["roleRef"] = want["roleRef"]
    return new if new != have else None


def _unheld(have: list[Json], want: list[Json]) -> list[Json]:
    return [rule for rule in want if uncovered(have, [rule])]


def _flow_control(have: Json, want: Json) -> Json | None:
    if _annotation(have, AUTOUPDATE_SPEC) == "false" or have.get("spec") == want["spec"]:
        return None
    return {**have, "spec": want["spec"]}
