"""Empty lists and maps are absent fields, as in what upstream prints; structs and what must be given are not."""

from __future__ import annotations

import pytest

from shirube.api import schema


@pytest.mark.parametrize("odd", [{}, {"unknownField": 1}])
def test_what_is_empty_is_left_out(odd):
    pod = {
        "metadata": {"name": "p", "labels": {}, "finalizers": [], "annotations": {"a": ""}},
        "spec": {
            "containers": [],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "nodeSelector": {},
            "tolerations": [],
            "securityContext": {"sysctls": []},
            **odd,
        },
    }
    made, _, wrong = schema.check("", "v1", "Pod", pod)
    assert not wrong and made == {
        "metadata": {"name": "p", "annotations": {"a": ""}},
        "spec": {"containers": [], "volumes": [{"name": "v", "emptyDir": {}}], "securityContext": {}},
    }


def test_what_upstream_prints_although_it_is_empty():
    role, _, _ = schema.check("rbac.authorization.k8s.io", "v1", "ClusterRole", {"rules": []})
    assert role == {"rules": []}
    piece, _, _ = schema.check("discovery.k8s.io", "v1", "EndpointSlice", {"endpoints": [], "ports": []})
    assert piece == {"endpoints": [], "ports": []}


def test_an_empty_value_of_the_wrong_kind_is_an_error():
    _, _, wrong = schema.check("", "v1", "ConfigMap", {"data": []})
    assert [error.path for error in wrong] == ["data"]
