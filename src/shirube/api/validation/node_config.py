"""Validation of a node's configuration source: dynamic kubelet configuration, gone but for its fields.

Follows core's ``validateNodeConfigSourceSpec`` and ``validateNodeConfigStatus``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shirube.api import names
from shirube.api.validation.field import Cause, forbidden, invalid, required

Obj = Mapping[str, Any]


def validate_config_source(out: list[Cause], source: Obj, path: str, *, stored: bool) -> None:
    """A reference to a ConfigMap; in the status (`stored`) it says which one exactly, in the spec it may not."""
    config_map = source.get("configMap")
    if config_map is None:
        out.append(invalid(path, dict(source), "exactly one reference subfield must be non-nil"))
        return
    at = f"{path}.configMap"
    for field in ("uid", "resourceVersion"):
        if stored and not config_map.get(field):
            out.append(required(f"{at}.{field}", f"{field} must be set in status"))
        elif not stored and config_map.get(field):
            out.append(forbidden(f"{at}.{field}", f"{field} must not be set in spec"))
    rules = (
        ("namespace", names.is_dns1123_label),
        ("name", names.is_dns1123_subdomain),
        ("kubeletConfigKey", names.is_config_map_key),
    )
    for field, rule in rules:
        value = config_map.get(field, "")
        if not value:
            out.append(required(f"{at}.{field}", f"{field} must be set"))
        else:
            out.extend(invalid(f"{at}.{field}", value, m) for m in rule(value))
