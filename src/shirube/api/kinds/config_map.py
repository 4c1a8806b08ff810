"""ConfigMaps: text and bytes by key, frozen when marked immutable.

Follows core's ``ValidateConfigMap`` and ``ValidateConfigMapUpdate``.
"""

from __future__ import annotations

import base64
import binascii

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.equality import semantic_equal
from shirube.api.validation.field import forbidden, invalid, too_long

MAX_SIZE = 1024 * 1024
IMMUTABLE_SET = "field is immutable when `immutable` is set"


def bytes_of(text: str) -> bytes | None:
    """What base64 text stands for, or None."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def frozen(new: Obj, old: Obj, fields: tuple[str, ...]) -> list[Cause]:
    """The causes for changing an object that was marked immutable."""
    if not old.get("immutable"):
        return []
    causes = []
    if not new.get("immutable"):
        causes.append(forbidden("immutable", IMMUTABLE_SET))
    for field in fields:
        if not semantic_equal(new.get(field), old.get(field)):
            causes.append(forbidden(field, IMMUTABLE_SET))
    return causes


class ConfigMapStrategy(Strategy):
    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate(obj)

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        return causes + frozen(obj, old, ("data", "binaryData")) + _validate(obj)


def _validate(obj: Obj) -> list[Cause]:
    causes: list[Cause] = []
    total = 0
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    for key, value in data.items():
        at = f"data[{key}]"
        causes.extend(invalid(at, key, m) for m in names.is_config_map_key(key))
        if key in binary:
            causes.append(invalid(at, key, "duplicate of key present in binaryData"))
        total += len(value) if value.isascii() else len(value.encode())
    for key, value in binary.items():
        at = f"binaryData[{key}]"
        causes.extend(invalid(at, key, m) for m in names.is_config_map_key(key))
        decoded = bytes_of(value)
        if decoded is None:
            causes.append(invalid(at, value, "must be base64 encoded"))
        total += len(decoded or b"")
    if total > MAX_SIZE:
        causes.append(too_long("", MAX_SIZE))
    return causes
