import orjson

from shirube.network import cni, masquerade, routes
from shirube.network.routes import Hop


def node(name, cidr, address):
    return {
        "metadata": {"name": name},
        "spec": {"podCIDR": cidr, "podCIDRs": [cidr]} if cidr else {},
        "status": {"addresses": [{"type": "InternalIP", "address": address}] if address else []},
    }


def test_routes_to_every_other_node_that_has_pods_and_an_address():
    nodes = [
        node("a", "10.244.0.0/24", "172.30.0.2"),
        node("b", "10.244.1.0/24", "172.30.0.3"),
        node("c", "", "172.30.0.4"),
    ]
    assert routes.wanted(nodes, own="a") == {"10.244.1.0/24": Hop("172.30.0.3")}
    assert routes.wanted([node("d", "10.244.2.0/24", "")]) == {}


def test_a_node_of_two_families_has_a_route_for_each():
    both = node("b", "10.244.1.0/24", "172.30.0.3")
    both["spec"]["podCIDRs"].append("fd00:10:244:1::/64")
    both["status"]["addresses"].append({"type": "InternalIP", "address": "fd00:172:30::3"})
    assert routes.wanted([both], own="a") == {
        "10.244.1.0/24": Hop("172.30.0.3"),
        "fd00:10:244:1::/64": Hop("fd00:172:30::3"),
    }


def test_the_plan_changes_only_what_differs():
    have = {"10.244.1.0/24": Hop("172.30.0.3"), "10.244.2.0/24": Hop("172.30.0.4")}
    want = {"10.244.1.0/24": Hop("172.30.0.3"), "10.244.3.0/24": Hop("172.30.0.5")}
    assert routes.plan(have, have) == []
    assert routes.plan(have, want) == [
        "route del 10.244.2.0/24 proto 83",
        "route replace 10.244.3.0/24 via 172.30.0.5 proto 83",
    ]


def test_a_foreign_configuration_is_left_in_place(tmp_path):
    assert cni.write(tmp_path, tmp_path, ["10.244.0.0/24"], 1500)
    assert not cni.write(tmp_path, tmp_path, ["10.244.0.0/24"], 1500)
    assert cni.foreign(tmp_path) is None
    (tmp_path / "05-cilium.conflist").write_text("{}")
    assert cni.foreign(tmp_path) == "05-cilium.conflist"


def test_bandwidth_is_limited_where_the_plugin_is(tmp_path):
    cni.write(tmp_path / "conf", tmp_path, ["10.244.0.0/24"], 1500)
    (tmp_path / "bandwidth").touch()
    assert cni.write(tmp_path / "conf", tmp_path, ["10.244.0.0/24"], 1500)
    plugins = orjson.loads((tmp_path / "conf" / cni.FILE_NAME).read_bytes())["plugins"]
    assert [p["type"] for p in plugins] == ["ptp", "bandwidth"]


def test_pods_get_an_address_of_each_range(tmp_path):
    cidrs = ["10.244.0.0/24", "fd00:10:244::/64"]
    cni.write(tmp_path, tmp_path, cidrs, 1450)
    [plugin] = orjson.loads((tmp_path / cni.FILE_NAME).read_bytes())["plugins"]
    assert plugin["ipam"]["ranges"] == [[{"subnet": cidr}] for cidr in cidrs]
    assert plugin["ipam"]["routes"] == [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    assert plugin["mtu"] == 1450


def test_masquerade_of_two_families_is_a_table_for_each():
    script = masquerade.script(["10.244.0.0/16", "fd00:10:244::/56"], ["10.96.0.0/12", "fd00:10:96::/112"])
    assert "ip saddr { 10.244.0.0/16 } ip daddr != { 10.96.0.0/12 } masquerade" in script
    assert "ip6 saddr { fd00:10:244::/56 } ip6 daddr != { fd00:10:96::/112 } masquerade" in script


def test_masquerade_spares_what_stays_inside():
    script = masquerade.script(["10.244.0.0/16"], ["10.96.0.0/12", "10.244.0.0/16"])
    assert "ip saddr { 10.244.0.0/16 } ip daddr != { 10.244.0.0/16, 10.96.0.0/12 } masquerade" in script
