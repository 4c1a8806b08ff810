from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from shirube.storage import open_storage

from .conformance import StorageConformance


class TestSQLite(StorageConformance):
    @pytest.fixture
    def opener(self, tmp_path: Path):
        return lambda: open_storage(f"sqlite://{tmp_path}/state.db")

    @pytest.fixture
    def fresh(self, tmp_path: Path):
        numbers = itertools.count()

        def fresh():
            path = tmp_path / str(next(numbers)) / "state.db"
            return lambda: open_storage(str(path))

        return fresh
