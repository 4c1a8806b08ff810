from shirube.network import load_balancer, publish

NODES = {
    "172.30.0.2": {"metadata": {"name": "n1"}},
    "172.30.0.3": {"metadata": {"name": "n2", "labels": {load_balancer.EXCLUDED: ""}}},
    "172.30.0.4": {"metadata": {"name": "n3"}},
}
BOTH = ("172.30.0.2", "172.30.0.4")


def service(name, *ports, ingress=(), created="2024-01-01T00:00:00Z", **spec):
    listed = [{"port": n, "protocol": p, "nodePort": node} for n, p, node in ports]
    return {
        "metadata": {"namespace": "x", "name": name, "uid": name, "creationTimestamp": created},
        "spec": {"type": "LoadBalancer", "ports": listed, **spec},
        "status": {"loadBalancer": {"ingress": [{"ip": i} for i in ingress]}},
    }


def plan(*services, serving=None):
    return {s.service["metadata"]["name"]: s for s in load_balancer.plan(services, NODES, serving or {})}


def test_a_load_balancer_gets_the_addresses_of_the_nodes_that_are_not_excluded():
    assert plan(service("a", (80, "TCP", 0)))["a"].addresses == BOTH
    assert plan(service("a", (80, "TCP", 0), ingress=BOTH)) == {}


def test_a_load_balancer_gets_addresses_of_its_families():
    nodes = {**NODES, "fd00:172:30::2": NODES["172.30.0.2"]}
    for families, wanted in (
        (["IPv6"], ("fd00:172:30::2",)),
        (["IPv4", "IPv6"], (*BOTH, "fd00:172:30::2")),
        (["IPv4"], BOTH),
    ):
        [step] = load_balancer.plan([service("a", (80, "TCP", 0), ipFamilies=families)], nodes, {})
        assert step.addresses == wanted


def test_policy_local_gets_the_nodes_that_serve():
    local = service("a", (80, "TCP", 0), externalTrafficPolicy="Local")
    assert plan(local, serving={"x/a": {"172.30.0.4", "172.30.0.3"}})["a"].addresses == ("172.30.0.4",)


def test_other_classes_are_somebody_elses():
    assert plan(service("a", (80, "TCP", 0), loadBalancerClass="example.com/x")) == {}


def test_a_port_has_one_owner_the_one_that_has_it_else_the_oldest():
    old, new = service("old", (80, "TCP", 0)), service("new", (80, "TCP", 0), created="2024-02-01T00:00:00Z")
    found = plan(new, old, service("udp", (80, "UDP", 0)))
    assert found["old"].addresses == BOTH and "x/old" in found["new"].refusal and found["udp"].addresses == BOTH
    holding = service("new", (80, "TCP", 0), created="2024-02-01T00:00:00Z", ingress=BOTH)
    assert "x/new" in plan(holding, old)["old"].refusal


def test_ports_of_the_nodes_themselves_are_refused():
    assert "10250" in plan(service("a", (10250, "TCP", 0)))["a"].refusal


def test_a_service_that_is_no_load_balancer_any_more_loses_its_addresses():
    [step] = plan(service("a", (80, "TCP", 0), ingress=BOTH, type="ClusterIP")).values()
    assert step.addresses == () and not step.refusal


def test_what_the_host_publishes():
    balanced = service("b", (80, "TCP", 30080), (53, "UDP", 30053), ingress=BOTH)
    pending = service("a", (80, "TCP", 30081))
    sctp = service("c", (99, "SCTP", 30099), type="NodePort")
    found = publish.wanted([pending, balanced, sctp], set(NODES))
    assert {(p.protocol, p.number): t.port for p, t in found.items()} == {
        ("TCP", 30080): 30080,
        ("UDP", 30053): 30053,
        ("TCP", 30081): 30081,
        ("TCP", 80): 80,
        ("UDP", 53): 53,
    }


def test_nodes_that_are_leaving_get_no_traffic_and_those_that_are_silent_keep_it():
    leaving = {"metadata": {"name": "a"}, "spec": {"taints": [{"key": load_balancer.LEAVING, "effect": "NoSchedule"}]}}
    deleted = {"metadata": {"name": "b", "deletionTimestamp": "2024-01-01T00:00:00Z"}}
    silent = {"metadata": {"name": "c"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
    nodes = {"172.30.0.2": leaving, "172.30.0.3": deleted, "172.30.0.4": silent}
    [step] = load_balancer.plan([service("a", (80, "TCP", 0))], nodes, {})
    assert step.addresses == ("172.30.0.4",)


def reasons(step):
    before, after = step.told()
    return [reason for _, reason, _ in before], [reason for _, reason, _ in after]


def test_what_is_done_is_told():
    [new] = load_balancer.plan([service("a", (80, "TCP", 0))], NODES, {})
    assert reasons(new) == (["EnsuringLoadBalancer"], ["EnsuredLoadBalancer"])
    one = service("a", (80, "TCP", 0), ingress=BOTH[:1])
    [more] = load_balancer.plan([one], NODES, {})
    assert reasons(more) == ([], ["UpdatedLoadBalancer"])
    [none] = load_balancer.plan([one], {}, {})
    assert none.told()[1] == [("Warning", "UnAvailableLoadBalancer", "There are no available nodes for LoadBalancer")]
    [gone] = load_balancer.plan([service("a", (80, "TCP", 0), ingress=BOTH, type="ClusterIP")], NODES, {})
    assert reasons(gone) == (["DeletingLoadBalancer"], ["DeletedLoadBalancer"]) and gone.writes


def test_who_moves_to_a_port_of_another_loses_its_addresses():
    old, moved = (
        service("old", (80, "TCP", 0), ingress=BOTH),
        service("x", (80, "TCP", 0), ingress=BOTH, created="2025"),
    )
    step = plan(old, moved)["x"]
    assert step.refusal and step.writes and step.addresses == ()
    pending = plan(old, service("x", (80, "TCP", 0), created="2025"))["x"]
    assert pending.refusal and not pending.writes and reasons(pending) == ([], [])
