"""Every method reaches what is behind a proxy subresource."""

from __future__ import annotations

import pytest

PODS = "/api/v1/namespaces/default/pods"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_no_method_is_refused(pods, method):
    await pods.ok("POST", PODS, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "b"}]}})
    answer = await pods.call(method, f"{PODS}/p/proxy/x")
    assert answer.status == 400 and (method == "HEAD" or answer.message == "address not allowed")  # it has no address
    assert (await pods.call("OPTIONS", f"{PODS}/p/status")).status == 405
