"""The host is left alone while a cluster runs (the fixture compares again when it is gone)."""

import pytest
from tests.cluster.conftest import photograph

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("what", ["interfaces", "addresses", "routes", "rules", "firewall", "sysctls"])
def test_a_running_cluster_touches_nothing_of_the_host(cluster, host_before, what):
    assert photograph()[what] == host_before[what]
