"""ipFamilyPolicy and ipFamilies of a service, completed for a cluster that has one address family or two.

Pure. Follows upstream's rules of dual-stack services ("IPv4/IPv6 dual-stack" in the documentation): one family
unless both are asked for; demanding two is refused where there is one, preferring two gets what there is. The
families of a service stay when the cluster gets another: only a changed policy, family or address changes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shirube.api.errors import Cause

Json = dict[str, Any]

_ADDRESSED = ("ClusterIP", "NodePort", "LoadBalancer")
_OTHER = {"IPv4": "IPv6", "IPv6": "IPv4"}
_POLICY = "spec.ipFamilyPolicy"


def family_of(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


def complete(service: Json, old: Json | None, configured: Sequence[str]) -> list[Cause]:
    """Fill the two fields in place; what is wrong comes back."""
    spec, before = service["spec"], (old or {}).get("spec") or {}
    if spec.get("type") == "ExternalName" or _prefers_as_before(spec, before):
        return []
    selectorless = spec.get("clusterIP") == "None" and not spec.get("selector")
    if not spec.get("ipFamilyPolicy"):
        default = "RequireDualStack" if selectorless else "SingleStack"
        spec["ipFamilyPolicy"] = before.get("ipFamilyPolicy") or default
    causes = (_reduced(spec, before) if old is not None else []) + _too_many(spec)
    families = list(spec.get("ipFamilies") or ())
    addresses = _addresses(spec)
    for index in range(len(families), len(addresses)):
        found = family_of(addresses[index])
        if found not in configured:
            detail = f"{found} is not configured on this cluster"
            causes.append(Cause.invalid(f"spec.clusterIPs[{index}]", spec["clusterIPs"], detail))
        else:
            families.append(found)
    if causes:
        return causes
    if not selectorless and (causes := _not_configured(spec, families, configured)):
        return causes
    families = families or [configured[0]]
    if spec["ipFamilyPolicy"] != "SingleStack" and len(families) == 1 and (selectorless or len(configured) == 2):
        families.append(_OTHER[families[0]])
    spec["ipFamilies"] = families
    return []


def _addresses(spec: Json) -> list[str]:
    return [a for a in spec.get("clusterIPs") or () if a and a != "None"]


def _prefers_as_before(spec: Json, before: Json) -> bool:
    """A service that preferred two families and says nothing new is neither upgraded nor downgraded."""
    return (
        spec.get("ipFamilyPolicy") == before.get("ipFamilyPolicy") == "PreferDualStack"
        and spec.get("type") == before.get("type")
        and spec.get("type") in _ADDRESSED
        and all((spec.get(f) or []) == (before.get(f) or []) for f in ("clusterIPs", "ipFamilies"))
    )


def _reduced(spec: Json, before: Json) -> list[Cause]:
    """Less than the service had: fine (and done here) with SingleStack, which says that it is meant."""
    causes = []
    for field, what in (("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")):
        now, had = list(spec.get(field) or ()), list(before.get(field) or ())
        if spec["ipFamilyPolicy"] == "SingleStack":
            if now == had and len(now) > 1:
                spec[field] = now[:1]
        elif len(had) == 2 and now == had[:1]:
            detail = f"must be 'SingleStack' to release the secondary {what}"
            causes.append(Cause.invalid(_POLICY, spec["ipFamilyPolicy"], detail))
    return causes


def _too_many(spec: Json) -> list[Cause]:
    if spec["ipFamilyPolicy"] != "SingleStack":
        return []
    detail = "must be 'RequireDualStack' or 'PreferDualStack' when multiple {} are specified"
    return [
        Cause.invalid(_POLICY, "SingleStack", detail.format(what))
        for values, what in ((_addresses(spec), "cluster IPs"), (spec.get("ipFamilies") or (), "IP families"))
        if len(values) == 2
    ]


def _not_configured(spec: Json, families: Sequence[str], configured: Sequence[str]) -> list[Cause]:
    causes = []
    if spec["ipFamilyPolicy"] == "RequireDualStack" and len(configured) < 2:
        detail = "this cluster is not configured for dual-stack services"
        causes.append(Cause.invalid(_POLICY, "RequireDualStack", detail))
    return causes + [
        Cause.invalid(f"spec.ipFamilies[{index}]", wanted, "not configured on this cluster")
        for index, wanted in enumerate(families)
        if wanted not in configured
    ]
