"""What `up` was asked for, kept beside the cluster's data, so that a later `up` or a reboot starts the same cluster."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from shirube.cluster import layout


def datastore_of(text: str) -> str:
    """`--datastore` as a spec keeps it. Raises LayoutError."""
    if text == "sqlite":
        return ""
    if text == "etcd" or text.startswith(("etcd://", "etcds://")):
        return text
    raise layout.LayoutError(
        f"cannot keep a cluster's objects in {text!r}: use sqlite, etcd, or the URL of an etcd "
        "(etcds://HOST:PORT?ca=FILE&cert=FILE&key=FILE)"
    )


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    nodes: int = 1  # numbered from 1
    api_port: int = layout.API_PORT
    publish_address: str = "127.0.0.1"
    removed: tuple[int, ...] = ()  # numbers below `nodes` that are no longer there
    stopped: tuple[int, ...] = ()  # there, but not to run
    ip_family: str = "ipv4"  # a key of layout.FAMILIES
    datastore: str = ""  # "": SQLite; "etcd": one of our own; or the URL of somebody else's
    api_config: str = ""  # directory of files that say who may do what (`cluster.api_config`)
    runtime_config: str = ""  # KEY=true|false,…: APIs to serve or not, beside the defaults
    enable_admission_plugins: str = ""  # names, beside those that are on by default
    disable_admission_plugins: str = ""
    node_grace: int = 40  # seconds without a word after which a node counts as failed

    @property
    def families(self) -> tuple[layout.Addresses, ...]:
        return layout.FAMILIES[self.ip_family]

    def indexes(self) -> list[int]:
        """The numbers of the nodes that the cluster has."""
        return [i for i in range(1, self.nodes + 1) if i not in self.removed]

    def running(self) -> list[int]:
        """The numbers of the nodes that are to run."""
        return [i for i in self.indexes() if i not in self.stopped]

    @staticmethod
    def load(path: Path) -> ClusterSpec | None:
        """The stored spec; None when there is none. A file that is not one raises LayoutError."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            stored: dict[str, Any] = orjson.loads(data)
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
            found = ClusterSpec(**values)
            if found.ip_family not in layout.FAMILIES:
                raise ValueError(f"there is no IP family {found.ip_family!r}")
            return found
        except (TypeError, ValueError, AttributeError) as error:
            raise layout.LayoutError(
                f"cannot read {path}: {error}; remove the file and say `up` with the wanted flags again"
            ) from error

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".new")
        temporary.write_bytes(orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2) + b"\n")
        os.replace(temporary, path)
