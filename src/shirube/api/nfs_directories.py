"""What the NFS provisioner and the nodes' agents say to each other: one annotation of a node, and three of a volume.

`shirube.dev/nfs-directories` of a node holds requests as JSON: a volume's name -> what is to become of its directory.
The provisioner writes a request, the node's agent adds `done` or `error` to it, the provisioner takes it away. Every
write is bound to the version of the node that was read. The annotations of a volume tell the agent that mounts it which
part of the path is the share: only what lies below it is the agent's to make.

A directory is relative to its share and has none of `.`, `..`, empty or hidden parts, on either side.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

REQUESTS = "shirube.dev/nfs-directories"  # of a node
SHARE = "shirube.dev/nfs-share"  # of a volume, as those below
ON_DELETE = "shirube.dev/nfs-on-delete"
PERMISSIONS = "shirube.dev/nfs-permissions"  # octal
DELETE, ARCHIVE, RETAIN = "delete", "archive", "retain"
ARCHIVED = "archived-"
MOST = 8  # requests that a node has at a time
_PART_BYTES = 200  # leaves room for what an archived directory is called
_PATH_BYTES = 1024


class DirectoryError(ValueError):
    """A name that no directory of a volume may have."""


@dataclass(frozen=True, slots=True)
class Request:
    action: str  # DELETE or ARCHIVE
    server: str
    share: str
    directory: str
    mount_options: tuple[str, ...] = ()
    done: bool = False
    error: str = ""

    @property
    def answered(self) -> bool:
        return self.done or bool(self.error)


def checked_directory(directory: str) -> str:
    """The same, when it is safe below a share. Raises DirectoryError."""
    for part in directory.split("/"):
        if not part or part in (".", ".."):
            raise DirectoryError(f'"{directory}" must be a relative path without empty parts, "." and ".."')
        if part.startswith((".", ARCHIVED)):
            raise DirectoryError(
                f'"{directory}": names that begin with "." or "{ARCHIVED}" are kept for what was removed'
            )
        if len(part.encode()) > _PART_BYTES:
            raise DirectoryError(f'"{directory}": a name in it is longer than {_PART_BYTES} bytes')
    if len(directory.encode()) > _PATH_BYTES or not directory.isprintable():
        raise DirectoryError(f"a directory must have at most {_PATH_BYTES} bytes, all of them printable")
    return directory


def archive_name(directory: str, volume: str) -> str:
    """Where an archived directory goes: beside where it was, under a name that only this volume's can have."""
    parent, slash, name = directory.rpartition("/")
    unique = name if volume in name else f"{name}-{volume}"
    return f"{parent}{slash}{ARCHIVED}{unique}"


def overlap(one: str, other: str) -> bool:
    """Whether two absolute paths are the same, or one lies below the other."""
    first, second = one.rstrip("/") + "/", other.rstrip("/") + "/"
    return first.startswith(second) or second.startswith(first)


def requests_of(node: Mapping[str, Any]) -> dict[str, Request]:
    """What a node is asked, by volume. What cannot be read counts as not there."""
    text = (node["metadata"].get("annotations") or {}).get(REQUESTS)
    if not text:
        return {}
    try:
        found = json.loads(text)
        return {str(name): _request(one) for name, one in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _request(one: Mapping[str, Any]) -> Request:
    return Request(
        action=str(one["action"]),
        server=str(one["server"]),
        share=str(one["share"]),
        directory=str(one["directory"]),
        mount_options=tuple(map(str, one.get("mountOptions") or ())),
        done=bool(one.get("done")),
        error=str(one.get("error") or ""),
    )


def patch_of(node: Mapping[str, Any], requests: Mapping[str, Request]) -> dict[str, Any]:
    """A merge patch that gives the node these requests, if it is still the version that was read."""
    text = json.dumps({name: _plain(one) for name, one in sorted(requests.items())}) if requests else None
    return {"metadata": {"resourceVersion": node["metadata"]["resourceVersion"], "annotations": {REQUESTS: text}}}


def _plain(one: Request) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "action": one.action,
        "server": one.server,
        "share": one.share,
        "directory": one.directory,
    }
    if one.mount_options:
        plain["mountOptions"] = list(one.mount_options)
    if one.done:
        plain["done"] = True
    if one.error:
        plain["error"] = one.error
    return plain
