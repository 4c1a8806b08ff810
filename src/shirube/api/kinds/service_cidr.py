"""ServiceCIDRs and IPAddresses: where service addresses come from, and which are taken.

Follows networking's ``ValidateServiceCIDR`` and ``ValidateIPAddress``.
"""

from __future__ import annotations

import ipaddress

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.field import invalid, required
from shirube.api.validation.object_meta import immutable


def name_is_canonical_ip(name: str, prefix: bool) -> list[str]:
    """The name of an IPAddress is the address in its one canonical form."""
    if prefix:
        return []
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return [] if str(address) == name else ["must be a canonical format IP address"]


class IPAddressStrategy(Strategy):
    has_generation = True
    name_rule = staticmethod(name_is_canonical_ip)

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        parent = (obj.get("spec") or {}).get("parentRef")
        if parent is None:
            causes.append(required("spec.parentRef"))
            return causes
        for field in ("resource", "name"):
            value = parent.get(field, "")
            at = f"spec.parentRef.{field}"
            if not value:
                causes.append(required(at))
            else:
                causes.extend(invalid(at, value, m) for m in names.is_path_segment_name(value))
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        now, was = (o.get("spec") or {} for o in (obj, old))
        return causes + immutable(now.get("parentRef"), was.get("parentRef"), "spec.parentRef")

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        parent = (obj.get("spec") or {}).get("parentRef") or {}
        return {f"spec.parentRef.{f}": parent.get(f, "") for f in ("group", "resource", "namespace", "name")}


class ServiceCIDRStrategy(Strategy):
    has_generation = True

    def prepare_for_create(self, obj: Obj) -> None:
        super().prepare_for_create(obj)
        obj["status"] = {}

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        blocks = (obj.get("spec") or {}).get("cidrs") or []
        if not blocks:
            causes.append(required("spec.cidrs", "at least one CIDR required"))
            return causes
        if len(blocks) > 2:
            causes.append(invalid("spec", obj["spec"], "may only hold up to 2 values"))
        for i, block in enumerate(blocks):
            messages = names.is_cidr(block)
            if not messages and str(ipaddress.ip_network(block, strict=False)) != block:
                canonical = ipaddress.ip_network(block, strict=False)
                messages = [f'must be in canonical form ("{canonical}")']
            causes.extend(invalid(f"spec.cidrs[{i}]", block, m) for m in messages)
        if len(blocks) == 2 and (":" in blocks[0]) == (":" in blocks[1]):
            detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96"
            causes.append(invalid("spec.cidrs", blocks, detail))
        return causes

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        now, was = ((o.get("spec") or {}).get("cidrs") or [] for o in (obj, old))
        if len(now) < len(was) or now[: len(was)] != was:
            causes.append(invalid("spec.cidrs", now, "field is immutable"))
        return causes
