"""What several of the scheduler's tests start from."""

import pytest
from tests.scheduler.stage import staged


@pytest.fixture
async def stage(tmp_path):
    async with staged(tmp_path) as made:
        yield made
