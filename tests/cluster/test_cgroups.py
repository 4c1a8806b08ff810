"""The cgroups of clusters that come and go at the same time: what they share is not taken from under the other."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.cluster.conftest import NAME

from shirube.cluster import cgroups

pytestmark = pytest.mark.cluster


def test_clusters_that_come_and_go_at_once():
    def comes_and_goes(name: str) -> None:
        for _ in range(40):
            cgroups.create(f"/{NAME}-shared/{name}/inside")
            cgroups.remove(f"/{NAME}-shared/{name}")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(comes_and_goes, "abc"))
    assert not any((root / f"{NAME}-shared").exists() for root in cgroups.all_hierarchies())
