"""Defaults of volumes in pods and of persistent volume sources.

Follows k8s.io/kubernetes ``pkg/apis/core/v1/defaults.go``. File modes are decimal in JSON: 420 is 0644.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

Obj = dict[str, Any]

_DEFAULT_MODE = 0o644


@lru_cache(maxsize=4096)
def image_pull_policy(image: str) -> str:
    """Always for the tag latest (said or implied), IfNotPresent for other tags and for digests."""
    name, at, _ = image.partition("@")
    last = name.rpartition("/")[2]
    _, colon, tag = last.partition(":")
    if not image:
        return "IfNotPresent"
    if colon:
        return "Always" if tag == "latest" else "IfNotPresent"
    return "IfNotPresent" if at else "Always"


def _default_mode(source: Obj) -> None:
    if source.get("defaultMode") is None:
        source["defaultMode"] = _DEFAULT_MODE


def _downward_api(source: Obj) -> None:
    _default_mode(source)
    _downward_items(source)


def _downward_items(source: Obj) -> None:
    for item in source.get("items") or ():
        if (field := item.get("fieldRef")) is not None and not field.get("apiVersion"):
            field["apiVersion"] = "v1"
        if (resource := item.get("resourceFieldRef")) is not None:
            resource.setdefault("divisor", "0")


def _projected(source: Obj) -> None:
    _default_mode(source)
    for projection in source.get("sources") or ():
        if (token := projection.get("serviceAccountToken")) is not None:
            token.setdefault("expirationSeconds", 3600)
        if (downward := projection.get("downwardAPI")) is not None:
            _downward_items(downward)
        if (certificate := projection.get("podCertificate")) is not None:
            certificate.setdefault("maxExpirationSeconds", 86400)


def _host_path(source: Obj) -> None:
    source.setdefault("type", "")


def _iscsi(source: Obj) -> None:
    if not source.get("iscsiInterface"):
        source["iscsiInterface"] = "default"


def _rbd(source: Obj) -> None:
    for field, value in (("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")):
        if not source.get(field):
            source[field] = value


def _azure_disk(source: Obj) -> None:
    for field, value in (("cachingMode", "ReadWrite"), ("kind", "Shared"), ("fsType", "ext4"), ("readOnly", False)):
        source.setdefault(field, value)


def _scale_io(source: Obj) -> None:
    if not source.get("storageMode"):
        source["storageMode"] = "ThinProvisioned"
    if not source.get("fsType"):
        source["fsType"] = "xfs"


def _ephemeral(source: Obj) -> None:
    if (template := source.get("volumeClaimTemplate")) is not None:
        template.setdefault("metadata", {})
        spec = template.setdefault("spec", {})
        spec.setdefault("volumeMode", "Filesystem")
        spec.setdefault("resources", {})


def _image(source: Obj) -> None:
    if not source.get("pullPolicy"):
        source["pullPolicy"] = image_pull_policy(source.get("reference", ""))


_SOURCES: dict[str, Callable[[Obj], None]] = {
    "secret": _default_mode,
    "configMap": _default_mode,
    "downwardAPI": _downward_api,
    "projected": _projected,
    "hostPath": _host_path,
    "iscsi": _iscsi,
    "rbd": _rbd,
    "azureDisk": _azure_disk,
    "scaleIO": _scale_io,
    "ephemeral": _ephemeral,
    "image": _image,
}


def default_source(source: Obj) -> None:
    """A volume source inside a Volume or a PersistentVolume spec."""
    for field, rule in _SOURCES.items():
        if (value := source.get(field)) is not None:
            rule(value)


def default_volume(volume: Obj) -> None:
    """A volume of a pod; one without any source is an emptyDir."""
    if len(volume) == 1:
        volume["emptyDir"] = {}
        return
    for field, value in volume.items():
        if field in _SOURCES and value is not None:
            _SOURCES[field](value)
