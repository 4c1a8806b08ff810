"""What `up` and `down` say when they are asked for what is not there or cannot be changed now; nothing is started."""

from __future__ import annotations

import pytest

from shirube.cluster import up as upping
from shirube.cluster.down import down
from shirube.cluster.layout import ClusterLayout
from shirube.cluster.progress import Progress
from shirube.cluster.spec import ClusterSpec


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> ClusterLayout:
    monkeypatch.setenv("SHIRUBE_HOME", str(tmp_path))
    monkeypatch.setattr(upping, "is_running", lambda cluster: True)
    monkeypatch.setattr(upping.os, "geteuid", lambda: 0)
    return ClusterLayout.of("some")


def refusal(cluster: ClusterLayout, existing: ClusterSpec, wanted: ClusterSpec) -> str:
    existing.save(cluster.spec)
    with pytest.raises(upping.UpError) as caught:
        upping.up(cluster, wanted, Progress())
    return str(caught.value)


def test_a_change_of_a_running_cluster_is_named_by_its_flags(cluster):
    told = refusal(cluster, ClusterSpec(nodes=4, removed=(2,)), ClusterSpec(nodes=1))
    assert told.startswith("cannot change --nodes from 3 to 1 of cluster some while it runs")
    assert "node add" in told and "ClusterSpec" not in told
    told = refusal(cluster, ClusterSpec(), ClusterSpec(api_port=7000, api_config="/etc/who"))
    assert "--port from 6443 to 7000, --api-config from none to /etc/who of cluster some" in told
    assert "node add" not in told


def test_stopping_what_is_not_there_says_so(cluster, capsys):
    down(cluster, Progress())
    told = capsys.readouterr()
    assert "there is no cluster some here" in told.out + told.err
