import pytest

from shirube.kubelet.downward import NodeFacts
from shirube.kubelet.environment import (
    ConfigError,
    Sources,
    environment,
    references,
    service_environment,
    services_for,
)

NODE = NodeFacts("n", ("10.0.0.9",), {"cpu": "4", "memory": "8Gi"})
POD = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"a": 'x"y'}, "annotations": {}},
    "spec": {"containers": []},
}


def variables(container, objects=None, services=None):
    sources = Sources(objects or {}, services or {}, NODE, ("10.1.1.1",))
    pod = {**POD, "spec": {"containers": [container]}}
    return environment(pod, container, sources)


def test_later_sources_win_and_references_see_what_came_before():
    container = {
        "name": "c",
        "envFrom": [{"configMapRef": {"name": "m"}}, {"prefix": "P_", "secretRef": {"name": "s"}}],
        "env": [{"name": "A", "value": "$(B)$(P_K)$(SVC)"}, {"name": "B", "value": "late"}],
    }
    objects = {
        ("configmaps", "m"): {"data": {"A": "no", "B": "early"}},
        ("secrets", "s"): {"data": {"K": "aGk="}},
    }
    assert references(container) == set(objects)
    found = variables(container, objects, {"SVC": "!", "B": "service"})
    assert found == {"A": "earlyhi!", "B": "late", "P_K": "hi", "SVC": "!"}


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"configMapKeyRef": {"name": "m", "key": "k"}}, 'configmap "m" not found'),
        ({"secretKeyRef": {"name": "here", "key": "k"}}, "couldn't find key k in Secret ns/here"),
        ({"fieldRef": {"fieldPath": "spec.nope"}}, "unsupported fieldPath: spec.nope"),
    ],
)
def test_what_cannot_be_resolved_is_told(env, message):
    container = {"name": "c", "env": [{"name": "A", "valueFrom": env}]}
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        variables(container, {("secrets", "here"): {"data": {}}})


def test_optional_sources_may_be_absent():
    env = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "m", "key": "k", "optional": True}}}]
    container = {"name": "c", "env": env, "envFrom": [{"configMapRef": {"name": "m", "optional": True}}]}
    assert variables(container) == {}


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ({"resource": "limits.cpu"}, "4"),
        ({"resource": "requests.cpu"}, "1"),
        ({"resource": "requests.cpu", "divisor": "1m"}, "250"),
        ({"resource": "limits.memory", "divisor": "1Gi"}, "8"),
        ({"resource": "requests.memory", "divisor": "1Ki"}, "2"),
    ],
)
def test_resources_are_rounded_up_and_default_to_the_node(reference, expected):
    container = {
        "name": "c",
        "resources": {"requests": {"cpu": "250m", "memory": "1100"}},
        "env": [{"name": "A", "valueFrom": {"resourceFieldRef": reference}}],
    }
    assert variables(container)["A"] == expected


def test_service_variables():
    ports = [{"name": "web-port", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    services = [
        {"metadata": {"name": "my-svc", "namespace": "ns"}, "spec": {"clusterIP": "10.96.1.1", "ports": ports}},
        {"metadata": {"name": "headless", "namespace": "ns"}, "spec": {"clusterIP": "None", "ports": ports}},
    ]
    assert service_environment(services) == {
        "MY_SVC_SERVICE_HOST": "10.96.1.1",
        "MY_SVC_SERVICE_PORT": "80",
        "MY_SVC_SERVICE_PORT_WEB_PORT": "80",
        "MY_SVC_SERVICE_PORT_DNS": "53",
        "MY_SVC_PORT": "tcp://10.96.1.1:80",
        "MY_SVC_PORT_80_TCP": "tcp://10.96.1.1:80",
        "MY_SVC_PORT_80_TCP_PROTO": "tcp",
        "MY_SVC_PORT_80_TCP_PORT": "80",
        "MY_SVC_PORT_80_TCP_ADDR": "10.96.1.1",
        "MY_SVC_PORT_53_UDP": "udp://10.96.1.1:53",
        "MY_SVC_PORT_53_UDP_PROTO": "udp",
        "MY_SVC_PORT_53_UDP_PORT": "53",
        "MY_SVC_PORT_53_UDP_ADDR": "10.96.1.1",
    }


def test_without_service_links_only_the_api_server_is_told():
    def service(name, namespace):
        return {"metadata": {"name": name, "namespace": namespace}}

    services = [service("kubernetes", "default"), service("mine", "ns"), service("other", "elsewhere")]
    names = [s["metadata"]["name"] for s in services_for(POD, services)]
    assert names == ["kubernetes", "mine"]
    quiet = {**POD, "spec": {"containers": [], "enableServiceLinks": False}}
    assert [s["metadata"]["name"] for s in services_for(quiet, services)] == ["kubernetes"]
