"""All of these tests share the one real cluster of the folder above, and talk to its API directly."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from tests.cluster.conformance.api import Api
from tests.cluster.conformance.batch import Batch
from tests.cluster.conformance.test_cron_job import cron_job
from tests.cluster.conformance.test_node_probes import PODS as PROBED
from tests.cluster.conftest import Cluster
from tests.waiting import eventually

_numbers = itertools.count(1)
_NONE = SimpleNamespace(params={})


# What waits for the wall clock comes last of this folder, in this order; its pods are made at the very beginning.
LAST = ("test_node_probes.py", "test_cron_job.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mine = [item for item in items if "tests/cluster/conformance" in str(item.path)]
    for item in mine:
        item.add_marker(pytest.mark.cluster)
    places = [items.index(item) for item in mine]
    for place, item in zip(places, sorted(mine, key=lambda item: _rank(item.path.name)), strict=True):
        items[place] = item


def _rank(name: str) -> int:
    return LAST.index(name) + 1 if name in LAST else 0


def _selected(request: pytest.FixtureRequest, name: str) -> bool:
    return any(item.path.name == name for item in request.session.items)


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> Iterator[Api]:
    with Api(cluster.layout.admin_kubeconfig) as made:
        yield made


@pytest.fixture(scope="session", autouse=True)
def cron_jobs(request: pytest.FixtureRequest) -> Iterator[str]:
    """The namespace of the CronJobs of test_cron_job.py, made at the very beginning when those tests are to run."""
    if not _selected(request, LAST[1]):
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


@pytest.fixture(scope="session", autouse=True)
def slow(request: pytest.FixtureRequest) -> Iterator[Batch | None]:
    """The pods of test_node_probes.py, made at the very beginning when those tests are to run."""
    if not _selected(request, LAST[0]):
        yield None
        return
    api: Api = request.getfixturevalue("api")
    request.getfixturevalue("tools")
    name = "conformance-slow"
    _make_namespace(api, name)
    made = Batch(api, name)
    made.create_all(PROBED)
    yield made
    api.at("v1", "namespaces").delete(name)


def _make_namespace(api: Api, name: str) -> None:
    """With what pods need."""
    api.at("v1", "namespaces").create({"metadata": {"name": name}})
    eventually(lambda: api.at("v1", "serviceaccounts", name).find("default"), "the default service account", 15)


@pytest.fixture
def ns(api: Api) -> Iterator[str]:
    """A namespace of its own for one test, ready for pods; deleted afterwards without waiting."""
    name = f"conformance-{next(_numbers)}"
    _make_namespace(api, name)
    yield name
    api.at("v1", "namespaces").delete(name)


@pytest.fixture(scope="session")
def tools(cluster: Cluster) -> None:
    """The image of batch.py."""
    cluster.shirube("image", "build", "tests/cluster/conformance/tools", "--name", cluster.layout.name)


@pytest.fixture(scope="module")
def batch(request: pytest.FixtureRequest, api: Api, tools: None) -> Iterator[Batch]:
    """A namespace for a module, in which the pods of all its `case` parameters, and its `PODS`, are made at once."""
    name = f"conformance-batch-{next(_numbers)}"
    _make_namespace(api, name)
    made = Batch(api, name)
    mine = [item for item in request.session.items if getattr(item, "module", None) is request.module]
    made.create(item.callspec.params["case"] for item in mine if "case" in getattr(item, "callspec", _NONE).params)
    made.create_all(getattr(request.module, "PODS", ()))
    yield made
    api.at("v1", "namespaces").delete(name)
