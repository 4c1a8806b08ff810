"""Validation of file paths inside volumes and containers.

Paths that leave the directory they belong to would let a pod write on its node: upstream's
``validateLocalDescendingPath`` and ``validateLocalNonReservedPath``.
"""

from __future__ import annotations

from shirube.api.validation.field import Cause, invalid


def validate_no_backsteps(out: list[Cause], target: str, path: str) -> None:
    """No part of the path is '..'."""
    if ".." in target and ".." in target.replace("\\", "/").split("/"):
        out.append(invalid(path, target, "must not contain '..'"))


def validate_local_path(out: list[Cause], target: str, path: str) -> None:
    """A relative path that stays below its directory."""
    if target.startswith("/"):
        out.append(invalid(path, target, "must be a relative path"))
    validate_no_backsteps(out, target, path)


def validate_projected_path(out: list[Cause], target: str, path: str) -> None:
    """The same for files that the kubelet writes: names that begin with '..' are its own."""
    validate_local_path(out, target, path)
    if target.startswith("..") and not target.startswith("../"):
        out.append(invalid(path, target, "must not start with '..'"))
