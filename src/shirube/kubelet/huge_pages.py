"""Huge pages: resource names, what containers may use of them, and which size an emptyDir has. Pure.

Follows https://kubernetes.io/docs/tasks/manage-hugepages/scheduling-hugepages/.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shirube.api import quantity
from shirube.kubelet import pod as pods

PREFIX = "hugepages-"
_UNITS = ((1 << 30, "Gi", "GB"), (1 << 20, "Mi", "MB"), (1 << 10, "Ki", "KB"))


def _named(size: int, which: int) -> str:
    for unit in _UNITS:
        if size % unit[0] == 0:
            return f"{size // unit[0]}{unit[which]}"
    return str(size)


def resources(pages: Mapping[int, int]) -> dict[str, int]:
    """A node's resources: `hugepages-2Mi` and bytes, for sizes that every node shows and those that it has."""
    both = {1 << 30: 0, 2 << 20: 0, **pages}
    return {PREFIX + _named(size, 1): total for size, total in sorted(both.items(), reverse=True)}


def amount(size: int) -> str:
    """Bytes as a quantity, as upstream prints them."""
    return _named(size, 1) if size else "0"


def limits(requirements: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """CRI `HugepageLimit`s of a container's resources."""
    found = (requirements or {}).get("limits") or {}
    sizes = {name.removeprefix(PREFIX): text for name, text in found.items() if name.startswith(PREFIX)}
    return [
        {"page_size": _named(quantity.value(size), 2), "limit": quantity.value(text)}
        for size, text in sorted(sizes.items())
    ]


def page_size(medium: str, pod: pods.Pod) -> int:
    """Bytes of a page of an emptyDir with this medium. Raises ValueError."""
    asked = {
        name.removeprefix(PREFIX)
        for _, container in pods.containers(pod)
        for name in (container.get("resources") or {}).get("requests") or {}
        if name.startswith(PREFIX)
    }
    if medium.startswith("HugePages-"):
        size = medium.removeprefix("HugePages-")
        if quantity.value(size) not in {quantity.value(one) for one in asked}:
            raise ValueError(f"medium {medium} needs a request of hugepages-{size} in a container of the pod")
        return quantity.value(size)
    if len(asked) != 1:
        what = "several page sizes are" if asked else "no page size is"
        raise ValueError(f"medium HugePages needs one page size: {what} requested in the pod's containers")
    return quantity.value(asked.pop())
