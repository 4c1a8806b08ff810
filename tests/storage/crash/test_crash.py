"""The short form of the crash harness: some kills of each backend, in well under twenty seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from .harness import Harness

KILLS = 8
SECONDS = 15.0


@pytest.mark.parametrize("backend", ["sqlite", "etcd"])
async def test_kills_lose_nothing(backend: Literal["sqlite", "etcd"], tmp_path: Path):
    harness = Harness(backend, tmp_path, seed=7)
    try:
        count = await harness.run(KILLS, SECONDS)
    finally:
        harness.close()
    # Not how many: a busy machine gets fewer in the time.
    assert count.kills >= 2
    assert count.acknowledged > 0
    assert count.events >= count.acknowledged
