from __future__ import annotations

import pytest
from tests.client.memory_api import MemoryApi

from shirube.client.rest import Client


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


@pytest.fixture
def client(api: MemoryApi) -> Client:
    return Client(api, "test")
