"""Secrets: like ConfigMaps, with types that say which keys they need.

``stringData`` is for writing only: it is merged into ``data`` and dropped.
Follows core's ``ValidateSecret`` and ``pkg/registry/core/secret/strategy.go``.
"""

from __future__ import annotations

import base64
import json

from shirube.api import names
from shirube.api.errors import Cause
from shirube.api.kinds.config_map import MAX_SIZE, bytes_of, frozen
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.field import invalid, required, too_long
from shirube.api.validation.object_meta import immutable

_SERVICE_ACCOUNT_NAME = "kubernetes.io/service-account.name"


class SecretStrategy(Strategy):
    def default(self, obj: Obj) -> None:
        if not obj.get("type"):
            obj["type"] = "Opaque"
        written = obj.pop("stringData", None)
        if written:
            data = obj.setdefault("data", {})
            for key, value in written.items():
                data[key] = base64.b64encode(value.encode()).decode()

    def prepare_for_update(self, obj: Obj, old: Obj) -> None:
        super().prepare_for_update(obj, old)
        # a manifest without a type keeps the type that the secret has
        if obj.get("type") in (None, "") and old.get("type"):
            obj["type"] = old["type"]

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate(obj)

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_update(obj, old)
        causes += immutable(obj.get("type"), old.get("type"), "type")
        return causes + frozen(obj, old, ("data",)) + _validate(obj)

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        return {"type": obj.get("type", "")}


def _validate(obj: Obj) -> list[Cause]:
    causes: list[Cause] = []
    total = 0
    for key, value in (obj.get("data") or {}).items():
        causes.extend(invalid(f"data[{key}]", key, m) for m in names.is_config_map_key(key))
        decoded = bytes_of(value)
        if decoded is None:
            causes.append(invalid(f"data[{key}]", "<redacted>", "must be base64 encoded"))
        total += len(decoded or b"")
    if total > MAX_SIZE:
        causes.append(too_long("data", MAX_SIZE))
    return causes + _validate_type(obj)


# type -> keys that must be there
_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}


def _validate_type(obj: Obj) -> list[Cause]:
    kind, data = obj.get("type", ""), obj.get("data") or {}
    causes = [required(f"data[{key}]") for key in _KEYS.get(kind, ()) if key not in data]
    if kind == "kubernetes.io/service-account-token":
        if not (obj["metadata"].get("annotations") or {}).get(_SERVICE_ACCOUNT_NAME):
            causes.append(required(f"metadata.annotations[{_SERVICE_ACCOUNT_NAME}]"))
    elif kind == "kubernetes.io/basic-auth":
        if "username" not in data and "password" not in data:
            causes += [required("data[username]"), required("data[password]")]
    elif kind in ("kubernetes.io/dockercfg", "kubernetes.io/dockerconfigjson") and not causes:
        key = _KEYS[kind][0]
        try:
            json.loads(bytes_of(data[key]) or b"")
        except ValueError as error:
            causes.append(invalid(f"data[{key}]", "<secret contents redacted>", str(error)))
    return causes
