import ipaddress
import itertools

import pytest

from shirube.cluster import up
from shirube.cluster.layout import ClusterLayout, LayoutError
from shirube.cluster.spec import ClusterSpec


def test_a_home_of_its_own_holds_everything(monkeypatch, tmp_path):
    monkeypatch.setenv("SHIRUBE_HOME", str(tmp_path))
    cluster = ClusterLayout.of("edge")
    node = cluster.node(2)
    for path in (cluster.logs, cluster.pki, cluster.store, cluster.admin_kubeconfig, node.lib, node.kubeconfig):
        assert path.is_relative_to(tmp_path / "lib" / "edge")
    for path in (cluster.control_socket, cluster.lock.parent / "x", node.containerd_socket, node.mount_namespace):
        assert path.is_relative_to(tmp_path / "run")
    assert (node.name, node.cgroup) == ("edge-2", "/shirube/edge/edge-2")


@pytest.mark.parametrize(
    ("family", "addresses"),
    [("ipv4", ["172.30.0.3"]), ("ipv6", ["fd00:172:30::3"]), ("dual", ["172.30.0.3", "fd00:172:30::3"])],
)
def test_a_node_has_an_address_of_each_family(family, addresses):
    families = ClusterSpec(ip_family=family).families
    assert ClusterLayout.of("edge").node(2).addresses(families) == addresses
    for one in families:
        networks = [ipaddress.ip_network(n) for n in (one.node_network, one.pods, one.services)]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(networks, 2))
        nodes, _, services = networks
        assert ipaddress.ip_address(one.control_plane) == nodes[1]
        assert ipaddress.ip_address(one.kubernetes) == services[1]
        assert ipaddress.ip_address(one.dns) in services


@pytest.mark.parametrize("name", ["", "Upper", "1st", "a/b", "..", "a" * 31, "trailing-"])
def test_names_that_cannot_be_used(name):
    with pytest.raises(LayoutError, match="cannot use cluster name"):
        ClusterLayout.of(name)


def test_a_relative_home_is_refused(monkeypatch):
    monkeypatch.setenv("SHIRUBE_HOME", "here")
    with pytest.raises(LayoutError, match="absolute"):
        ClusterLayout.of("edge")


def test_existing_clusters_are_found_by_their_data(monkeypatch, tmp_path):
    monkeypatch.setenv("SHIRUBE_HOME", str(tmp_path))
    assert ClusterLayout.existing() == []
    (tmp_path / "lib" / "b").mkdir(parents=True)
    (tmp_path / "run" / "a").mkdir(parents=True)
    assert [c.name for c in ClusterLayout.existing()] == ["a", "b"]


def test_the_spec_round_trips_and_a_broken_one_says_what_to_do(tmp_path):
    path = tmp_path / "lib" / "cluster.json"
    assert ClusterSpec.load(path) is None
    ClusterSpec(nodes=3, api_port=7443).save(path)
    assert ClusterSpec.load(path) == ClusterSpec(nodes=3, api_port=7443)
    for broken in ("{", '{"unknown": 1}', "[]", '{"ip_family": "ipx"}'):
        path.write_text(broken)
        with pytest.raises(LayoutError, match="remove the file"):
            ClusterSpec.load(path)


def test_a_cluster_keeps_its_address_family(monkeypatch, tmp_path):
    monkeypatch.setenv("SHIRUBE_HOME", str(tmp_path))
    cluster = ClusterLayout.of("edge")
    ClusterSpec(ip_family="dual").save(cluster.spec)
    assert up._settled(cluster, ClusterSpec(ip_family="dual", nodes=2)).nodes == 2
    with pytest.raises(up.UpError, match="cannot change the IP family of cluster edge from dual to ipv4"):
        up._settled(cluster, ClusterSpec())
