"""Users that a front proxy vouches for: only with its certificate, only in its name."""

from __future__ import annotations

import ssl

import pytest

from shirube.apiserver.authentication.request_header import RequestHeader
from shirube.cluster.certificates import ensure_pki
from shirube.foundation.clock import SYSTEM
from shirube.serving.messages import Headers

HEADERS = Headers(
    [
        ("x-remote-user", "jane"),
        ("x-remote-uid", "u1"),
        ("x-remote-group", "a"),
        ("x-remote-group", "b"),
        ("x-remote-extra-scopes", "x"),
        ("x-remote-extra-example.com%2fkey", "y"),
    ]
)


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    return ensure_pki(tmp_path_factory.mktemp("pki"), cluster_name="t", api_names=[], api_addresses=[])


def der(pair):
    return ssl.PEM_cert_to_DER_cert(pair.cert.read_text())


def test_a_proxy_says_who_asks(pki):
    found = RequestHeader(pki.front_proxy_ca.cert, SYSTEM).user(der(pki.front_proxy_client), HEADERS)
    assert found.name == "jane" and found.uid == "u1"
    assert found.groups == ("a", "b", "system:authenticated")
    assert found.extra == {"scopes": ("x",), "example.com/key": ("y",)}


def test_nobody_else_is_believed(pki):
    proxy = RequestHeader(pki.front_proxy_ca.cert, SYSTEM)
    assert not proxy.signed(der(pki.admin))
    assert proxy.user(der(pki.admin), HEADERS) is None
    assert proxy.user(der(pki.front_proxy_client), Headers([])) is None
    others = RequestHeader(pki.front_proxy_ca.cert, SYSTEM, allowed=("somebody-else",))
    assert others.signed(der(pki.front_proxy_client))
    assert others.user(der(pki.front_proxy_client), HEADERS) is None
