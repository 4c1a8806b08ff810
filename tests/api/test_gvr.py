"""Paths and names of collections."""

from __future__ import annotations

from shirube.api import gvr
from shirube.api.gvr import DEPLOYMENTS, GVR, NODES, PODS
from shirube.api.resources import BUILTIN, OPTIONAL


def test_paths_of_the_core_group() -> None:
    assert PODS.path() == "/api/v1/pods"
    assert PODS.path("default") == "/api/v1/namespaces/default/pods"
    assert PODS.path("default", "web", "log") == "/api/v1/namespaces/default/pods/web/log"
    assert NODES.path(name="n1", subresource="proxy/metrics") == "/api/v1/nodes/n1/proxy/metrics"


def test_paths_of_named_groups() -> None:
    assert DEPLOYMENTS.group_version == "apps/v1"
    assert DEPLOYMENTS.path("a", "b", "scale") == "/apis/apps/v1/namespaces/a/deployments/b/scale"


def test_a_name_cannot_leave_its_place_in_the_path() -> None:
    assert GVR("", "v1", "configmaps").path("a", "../secrets/x") == "/api/v1/namespaces/a/configmaps/..%2Fsecrets%2Fx"
    assert gvr.CLUSTERROLES.path(name="system:node").endswith("/clusterroles/system:node")


def test_every_builtin_resource_has_a_constant() -> None:
    constants = {value for value in vars(gvr).values() if isinstance(value, GVR)}
    assert constants == {resource.gvr for table in (BUILTIN, OPTIONAL) for resource in table}
