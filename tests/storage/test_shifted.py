"""The wrapper that moves revisions up is a store like any other: moved by nothing, it passes the whole suite."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from shirube.storage import open_storage
from shirube.storage.shifted import ShiftedStorage

from .conformance import StorageConformance


def _opener(path: Path):
    async def opened() -> ShiftedStorage:
        return ShiftedStorage(await open_storage(str(path)), 0)

    return opened


class TestShifted(StorageConformance):
    @pytest.fixture
    def opener(self, tmp_path: Path):
        return _opener(tmp_path / "state.db")

    @pytest.fixture
    def fresh(self, tmp_path: Path):
        numbers = itertools.count()
        return lambda: _opener(tmp_path / str(next(numbers)) / "state.db")
