"""What `up` was asked for, kept beside the cluster's data, so that a later `up` or a reboot starts the same cluster."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from shirube.cluster import layout


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    nodes: int = 1
    api_port: int = layout.API_PORT
    publish_address: str = "127.0.0.1"

    @staticmethod
    def load(path: Path) -> ClusterSpec | None:
        """The stored spec; None when there is none. A file that is not one raises LayoutError."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return ClusterSpec(**orjson.loads(data))
        except (TypeError, ValueError) as error:
            raise layout.LayoutError(
                f"cannot read {path}: {error}; remove the file and say `up` with the wanted flags again"
            ) from error

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".new")
        temporary.write_bytes(orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2) + b"\n")
        os.replace(temporary, path)
