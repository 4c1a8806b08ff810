"""Text of cells that several kinds print alike: labels, selectors, containers, access modes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from shirube.api.errors import ApiError
from shirube.api.selectors import label_selector_from

NONE = "<none>"
UNSET = "<unset>"

_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def labels_text(labels: Mapping[str, str] | None) -> str:
    """``a=1,b=2``, sorted."""
    return ",".join(f"{k}={v}" for k, v in sorted((labels or {}).items())) or NONE


def selector_text(selector: Mapping[str, Any] | None) -> str:
    """A label selector in the form that ``-l`` takes."""
    if not selector:
        return NONE
    try:
        return str(label_selector_from(selector)) or NONE
    except ApiError:
        return "<error>"


def containers_text(pod_spec: Mapping[str, Any] | None) -> tuple[str, str]:
    """(names, images) of the containers."""
    containers = (pod_spec or {}).get("containers") or ()
    names = ",".join(c.get("name", "") for c in containers)
    return names, ",".join(c.get("image", "") for c in containers)


def template_text(obj: Mapping[str, Any]) -> tuple[str, str]:
    """(names, images) of the containers of a workload's template."""
    return containers_text(((obj.get("spec") or {}).get("template") or {}).get("spec"))


def access_modes_text(modes: Iterable[str] | None) -> str:
    """``RWO,ROX``: each mode once, in upstream's order."""
    found = set(modes or ())
    return ",".join(short for mode, short in _MODES.items() if mode in found)


def limited(items: list[str], most: int) -> str:
    """The first few of a list, and how many more there are."""
    text = ",".join(items[:most])
    return f"{text} + {len(items) - most} more..." if len(items) > most else text


def bool_text(value: bool | None) -> str:
    """``True``, ``False`` or ``<unset>``."""
    return UNSET if value is None else str(bool(value))
