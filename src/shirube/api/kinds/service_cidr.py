"""ServiceCIDRs and IPAddresses: where service addresses come from, and which are taken.

Follows networking's ``ValidateServiceCIDR`` and ``ValidateIPAddress``.
"""

from __future__ import annotations

import ipaddress
import re

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.field import invalid, required
from shirube.api.validation.object_meta import immutable

_LEADING_ZERO = re.compile(r"((?:^|\.))0+(?=[0-9])")


def name_is_canonical_ip(name: str, prefix: bool) -> list[str]:
    """The name of an IPAddress is the address in its one canonical form."""
    if prefix:
        return []
    if wrong := names.is_ip(_without_zeros(name)):
        return wrong
    address = ipaddress.ip_address(_without_zeros(name))
    if _without_zeros(name) != name:
        return ["must not have leading 0s"]
    if address.version == 6 and address.ipv4_mapped:
        return ["must not be an IPv4-mapped IPv6 address"]
    return [] if str(address) == name else [f'must be in canonical form ("{address}")']


def _strict_block(block: str) -> list[str]:
    """What is wrong with an address range that has to be in its one canonical form."""
    if wrong := names.is_cidr(_without_zeros(block)):
        return wrong
    if _without_zeros(block) != block:
        return ["must not have leading 0s in IP or prefix length"]
    network = ipaddress.ip_network(block, strict=False)
    address = ipaddress.ip_address(block.partition("/")[0])
    if address.version == 6 and address.ipv4_mapped:
        return ["must not have an IPv4-mapped IPv6 address"]
    if network.network_address != address:
        return ["must not have bits set beyond the prefix length"]
    return [] if str(network) == block else [f'must be in canonical form ("{network}")']


def _without_zeros(address: str) -> str:
    return address if ":" in address else _LEADING_ZERO.sub(r"\1", address)


class IPAddressStrategy(Strategy):
    has_generation = True
    name_rule = staticmethod(name_is_canonical_ip)

    def validate(self, obj: Obj) -> list[Cause]:
        causes = super().validate(obj)
        parent = (obj.get("spec") or {}).get("parentRef")
        if parent is None:
            causes.append(required("spec.parentRef"))
            return causes
        if group := parent.get("group"):
            causes.extend(invalid("spec.parentRef.group", group, m) for m in names.is_dns1123_subdomain(group))
        for field in ("resource", "name", "namespace"):
            value = parent.get(field, "")
            at = f"spec.parentRef.{field}"
            if not value:
                causes.extend([required(at)] if field != "namespace" else ())
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
        return super().validate(obj) + _validate_blocks(obj)

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        now, was = ((o.get("spec") or {}).get("cidrs") or [] for o in (obj, old))
        if len(now) < len(was) or now[: len(was)] != was:
            causes.append(invalid("spec.cidrs", now, "field is immutable"))
        elif len(now) > len(was):  # it gets a second family
            causes.extend(_validate_blocks(obj))
        return causes


def _validate_blocks(obj: Obj) -> list[Cause]:
    blocks = (obj.get("spec") or {}).get("cidrs") or []
    if not blocks:
        return [required("spec.cidrs", "at least one CIDR required")]
    if len(blocks) > 2:
        return [invalid("spec.cidrs", obj["spec"], "may only hold up to 2 values")]
    if len(blocks) == 2 and (any(map(names.is_cidr, blocks)) or (":" in blocks[0]) == (":" in blocks[1])):
        detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
        return [invalid("spec.cidrs", obj["spec"], detail)]
    return [invalid(f"spec.cidrs[{i}]", block, m) for i, block in enumerate(blocks) for m in _strict_block(block)]
