"""All of these tests share the one real cluster of the folder above, and talk to its API directly."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from tests.cluster.conformance.api import Api
from tests.cluster.conformance.batch import Batch
from tests.cluster.conformance.test_cron_job import cron_job
from tests.cluster.conftest import Cluster, eventually

_numbers = itertools.count(1)
_NONE = SimpleNamespace(params={})


LAST = "test_cron_job.py"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mine = [item for item in items if "tests/cluster/conformance" in str(item.path)]
    for item in mine:
        item.add_marker(pytest.mark.cluster)
    # What waits for the wall clock comes last of this folder.
    places = [items.index(item) for item in mine]
    for place, item in zip(places, sorted(mine, key=lambda item: item.path.name == LAST), strict=True):
        items[place] = item


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> Iterator[Api]:
    with Api(cluster.layout.admin_kubeconfig) as made:
        yield made


@pytest.fixture(scope="session", autouse=True)
def cron_jobs(request: pytest.FixtureRequest) -> Iterator[str]:
    """The namespace of the CronJobs of test_cron_job.py, made at the very beginning when those tests are to run."""
    if not any(item.path.name == LAST for item in request.session.items):
        yield ""
        return
    api: Api = request.getfixturevalue("api")
    name = "conformance-cron"
    api.at("v1", "namespaces").create({"metadata": {"name": name}})
    crons = api.at("batch/v1", "cronjobs", name)
    crons.create(cron_job("concurrent"))
    crons.create(cron_job("suspended", suspend=True))
    crons.create(cron_job("forbid", "Forbid"))
    crons.create(cron_job("replace", "Replace"))
    yield name
    api.at("v1", "namespaces").delete(name)


@pytest.fixture
def ns(api: Api) -> Iterator[str]:
    """A namespace of its own for one test, ready for pods; deleted afterwards without waiting."""
    namespaces = api.at("v1", "namespaces")
    name = f"conformance-{next(_numbers)}"
    namespaces.create({"metadata": {"name": name}})
    eventually(lambda: api.at("v1", "serviceaccounts", name).find("default"), "the default service account", 15)
    yield name
    namespaces.delete(name)


@pytest.fixture(scope="session")
def tools(cluster: Cluster) -> None:
    """The image of batch.py."""
    cluster.shirube("image", "build", "tests/cluster/conformance/tools", "--name", cluster.layout.name)


@pytest.fixture(scope="module")
def batch(request: pytest.FixtureRequest, api: Api, tools: None) -> Iterator[Batch]:
    """A namespace for a module, in which the pods of all its `case` parameters, and its `PODS`, are made at once."""
    namespaces = api.at("v1", "namespaces")
    name = f"conformance-batch-{next(_numbers)}"
    namespaces.create({"metadata": {"name": name}})
    eventually(lambda: api.at("v1", "serviceaccounts", name).find("default"), "the default service account", 15)
    made = Batch(api, name)
    mine = [item for item in request.session.items if getattr(item, "module", None) is request.module]
    made.create(item.callspec.params["case"] for item in mine if "case" in getattr(item, "callspec", _NONE).params)
    made.create_all(getattr(request.module, "PODS", ()))
    yield made
    namespaces.delete(name)
