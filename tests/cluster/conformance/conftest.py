"""All of these tests share the one real cluster of the folder above, and talk to its API directly."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from tests.cluster.conformance.api import Api
from tests.cluster.conftest import Cluster, eventually

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/cluster/conformance" in str(item.path):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> Iterator[Api]:
    with Api(cluster.layout.admin_kubeconfig) as made:
        yield made


@pytest.fixture
def ns(api: Api) -> Iterator[str]:
    """A namespace of its own for one test, ready for pods; deleted afterwards without waiting."""
    namespaces = api.at("v1", "namespaces")
    name = f"conformance-{next(_numbers)}"
    namespaces.create({"metadata": {"name": name}})
    eventually(lambda: api.at("v1", "serviceaccounts", name).find("default"), "the default service account", 15)
    yield name
    namespaces.delete(name)
