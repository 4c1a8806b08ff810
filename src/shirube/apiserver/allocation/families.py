"""ipFamilyPolicy and ipFamilies of a service, completed for a cluster that has one address family.

Pure. Follows upstream's rules of dual-stack services ("IPv4/IPv6 dual-stack" in the documentation), as far as
one family goes: demanding two is refused, preferring two gets one.
"""

from __future__ import annotations

from typing import Any

from shirube.api.errors import Cause

Json = dict[str, Any]


def family_of(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


def complete(service: Json, old: Json | None, family: str) -> list[Cause]:
    """Fill the two fields in place; what is wrong comes back."""
    spec = service["spec"]
    if spec.get("type") == "ExternalName":
        return []
    headless = spec.get("clusterIP") == "None"
    selectorless = headless and not spec.get("selector")
    if not spec.get("ipFamilyPolicy"):
        previous = ((old or {}).get("spec") or {}).get("ipFamilyPolicy")
        spec["ipFamilyPolicy"] = previous or ("RequireDualStack" if selectorless else "SingleStack")
    policy, families = spec["ipFamilyPolicy"], list(spec.get("ipFamilies") or ())
    addresses = [a for a in spec.get("clusterIPs") or () if a and a != "None"]
    causes: list[Cause] = []
    if policy == "SingleStack":
        for values, what in ((addresses, "cluster IPs"), (families, "IP families")):
            if len(values) == 2:
                causes.append(
                    Cause.invalid(
                        "spec.ipFamilyPolicy",
                        policy,
                        f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified",
                    )
                )
    for index in range(len(families), len(addresses)):
        found = family_of(addresses[index])
        if found != family:
            detail = f"{found} is not configured on this cluster"
            causes.append(Cause.invalid(f"spec.clusterIPs[{index}]", spec["clusterIPs"], detail))
        else:
            families.append(found)
    if causes:
        return causes
    if selectorless:
        families = families or [family]
        if len(families) < 2 and policy != "SingleStack":
            families.append("IPv6" if families[0] == "IPv4" else "IPv4")
        spec["ipFamilies"] = families
        return []
    if policy == "RequireDualStack":
        detail = "this cluster is not configured for dual-stack services"
        causes.append(Cause.invalid("spec.ipFamilyPolicy", policy, detail))
    causes += [
        Cause.invalid(f"spec.ipFamilies[{index}]", wanted, "not configured on this cluster")
        for index, wanted in enumerate(families)
        if wanted != family
    ]
    if not causes:
        spec["ipFamilies"] = families or [family]
    return causes
