"""Who may look at devices that others use: namespaces that an administrator has labelled."""

from __future__ import annotations

import pytest

GROUP = "/apis/resource.k8s.io/v1/namespaces/default"
REQUEST = {"name": "look", "exactly": {"deviceClassName": "gpu", "adminAccess": True}}
DEVICES = {"devices": {"requests": [{"name": "own", "exactly": {"deviceClassName": "gpu"}}, REQUEST]}}


@pytest.mark.parametrize(
    ("plural", "spec", "path"),
    [("resourceclaims", DEVICES, "spec"), ("resourceclaimtemplates", {"spec": DEVICES}, "spec.spec")],
)
async def test_admin_access_needs_the_label_of_the_namespace(api, plural, spec, path):
    body = {"metadata": {"name": "c"}, "spec": spec}
    answer = await api.post(f"{GROUP}/{plural}", body)
    assert answer.status == 422
    assert f"{path}.devices.requests[1].exactly.adminAccess: Forbidden: admin access to devices requires the" in (
        answer.message
    )
    label = {"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}}
    await api.ok("PATCH", "/api/v1/namespaces/default", label, content_type="application/merge-patch+json")
    assert (await api.post(f"{GROUP}/{plural}", body)).status == 201
