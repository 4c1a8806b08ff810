from shirube.kubelet.dns import ClusterDNS, dns_config, hosts_file, sandbox_hostname

CLUSTER = ClusterDNS(("10.96.0.10",), "cluster.local")


def pod(**spec):
    return {"metadata": {"name": "p", "namespace": "ns"}, "spec": {"containers": [], **spec}}


def test_cluster_first(tmp_path):
    node = tmp_path / "resolv.conf"
    node.write_text("# made\nnameserver 1.1.1.1\nsearch lan.example\noptions edns0\n")
    assert dns_config(pod(), CLUSTER, node) == {
        "servers": ["10.96.0.10"],
        "searches": ["ns.svc.cluster.local", "svc.cluster.local", "cluster.local", "lan.example"],
        "options": ["ndots:5"],
    }
    as_node = {"servers": ["1.1.1.1"], "searches": ["lan.example"], "options": ["edns0"]}
    assert dns_config(pod(dnsPolicy="Default"), CLUSTER, node) == as_node
    assert dns_config(pod(hostNetwork=True), CLUSTER, node) == as_node
    with_host = pod(hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet")
    assert dns_config(with_host, CLUSTER, node)["servers"] == ["10.96.0.10"]


def test_own_config_is_added(tmp_path):
    own = {
        "nameservers": ["9.9.9.9"],
        "searches": ["my.example"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    }
    missing = tmp_path / "none"
    assert dns_config(pod(dnsPolicy="None", dnsConfig=own), CLUSTER, missing) == {
        "servers": ["9.9.9.9"],
        "searches": ["my.example"],
        "options": ["ndots:2", "edns0"],
    }
    merged = dns_config(pod(dnsConfig=own), CLUSTER, missing)
    assert merged["servers"] == ["10.96.0.10", "9.9.9.9"]
    assert merged["options"] == ["ndots:2", "edns0"]


def test_names():
    assert sandbox_hostname(pod(), "d") == "p"
    assert sandbox_hostname(pod(hostname="h", subdomain="s"), "d") == "h"
    assert sandbox_hostname(pod(hostname="h", subdomain="s", setHostnameAsFQDN=True), "d") == "h.s.ns.svc.d"
    assert sandbox_hostname(pod(hostNetwork=True), "d") == ""
    assert sandbox_hostname({**pod(), "metadata": {"name": "x" * 62 + "-y", "namespace": "n"}}, "d") == "x" * 62


def test_hosts():
    text = hosts_file(pod(subdomain="s"), ("10.0.0.1", "fd00::1"), "d")
    assert "10.0.0.1\tp.s.ns.svc.d p\nfd00::1\tp.s.ns.svc.d p\n" in text.replace("d\tp", "d p")
