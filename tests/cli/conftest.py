"""`up` that starts nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from shirube.cli.commands import up as up_command
from shirube.cluster.layout import ClusterLayout
from shirube.cluster.spec import ClusterSpec


@pytest.fixture
def wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[ClusterSpec]:
    """What `up` was asked for, the last one last; remembered, with no cluster behind it."""
    monkeypatch.setenv("SHIRUBE_HOME", str(tmp_path))
    specs: list[ClusterSpec] = []

    def taken(cluster: ClusterLayout, spec: ClusterSpec, progress: object, *, install: bool) -> None:
        specs.append(spec)
        spec.save(cluster.spec)

    monkeypatch.setattr(up_command, "up", taken)
    return specs
