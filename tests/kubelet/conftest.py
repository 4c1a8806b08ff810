"""Fixtures of the node agent's tests: one real containerd a session of cluster tests."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from tests import aftermath

# Tests are collected without packages (importlib mode): make the neighbours importable by name.
if (here := str(Path(__file__).parent)) not in sys.path:
    sys.path.insert(0, here)


@pytest.fixture(scope="module")
def containerd():
    """Real containerd in its own namespaces, which this thread is in too until the module's tests end."""
    from containerd import containerd_running

    directory = Path(tempfile.mkdtemp(prefix=f"shirube-{aftermath.NAME}-", dir="/var/tmp"))
    try:
        with containerd_running(directory) as node:
            yield node
    finally:
        shutil.rmtree(directory, ignore_errors=True)
