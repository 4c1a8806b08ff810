"""URLs to what they ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shirube.api.errors import ApiError
from shirube.apiserver import continuation, negotiation
from shirube.apiserver.params import Params
from shirube.apiserver.request_info import parse

CASES = [
    ("GET", "/api/v1/pods", "list", "", "pods", "", "", ""),
    ("GET", "/api/v1/namespaces/a/pods/b", "get", "a", "pods", "", "b", ""),
    ("HEAD", "/api/v1/namespaces/a/pods/b", "get", "a", "pods", "", "b", ""),
    ("POST", "/api/v1/namespaces/a/pods", "create", "a", "pods", "", "", ""),
    ("PUT", "/api/v1/namespaces/a/pods/b/status", "update", "a", "pods", "status", "b", ""),
    ("PATCH", "/apis/apps/v1/namespaces/a/deployments/b", "patch", "a", "deployments", "", "b", ""),
    ("DELETE", "/api/v1/namespaces/a/pods", "deletecollection", "a", "pods", "", "", ""),
    ("DELETE", "/api/v1/namespaces/a/pods/b", "delete", "a", "pods", "", "b", ""),
    ("GET", "/api/v1/namespaces", "list", "", "namespaces", "", "", ""),
    ("GET", "/api/v1/namespaces/a", "get", "a", "namespaces", "", "a", ""),
    ("PUT", "/api/v1/namespaces/a/finalize", "update", "a", "namespaces", "finalize", "a", ""),
    ("PUT", "/api/v1/namespaces/a/status", "update", "a", "namespaces", "status", "a", ""),
    ("GET", "/api/v1/watch/namespaces/a/pods", "watch", "a", "pods", "", "", ""),
    ("GET", "/api/v1/watch/namespaces/a/pods/b", "watch", "a", "pods", "", "b", ""),
    ("GET", "/api/v1/nodes/n/proxy/a/../b%2F", "get", "", "nodes", "proxy", "n", "/a/../b%2F"),
    ("POST", "/api/v1/namespaces/a/services/s:http/proxy/", "create", "a", "services", "proxy", "s:http", "/"),
    ("GET", "/api/v1/namespaces/a/pods/", "list", "a", "pods", "", "", ""),
]


@pytest.mark.parametrize(("method", "path", "verb", "namespace", "resource", "subresource", "name", "remainder"), CASES)
def test_resource_paths(method, path, verb, namespace, resource, subresource, name, remainder):
    info = parse(method, path)
    assert info.is_resource
    assert (info.verb, info.namespace, info.resource) == (verb, namespace, resource)
    assert (info.subresource, info.name, info.remainder) == (subresource, name, remainder)


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/v1", "/api/v1/", "/apis", "/apis/apps", "/apis/apps/v1", "/healthz"]
)
def test_other_paths(path):
    info = parse("GET", path)
    assert (info.is_resource, info.verb) == (False, "get")


def test_watch_parameter_is_for_collections():
    assert parse("GET", "/api/v1/pods", watch=True).verb == "watch"
    assert parse("GET", "/api/v1/namespaces/a/pods/b", watch=True).verb == "get"
    assert parse("POST", "/api/v1/namespaces/a/pods", watch=True).verb == "create"


@given(st.text(st.characters(codec="latin-1"), max_size=60))
def test_any_path_is_understood_or_refused(tail):
    """No path makes a name that could leave its place in a storage key."""
    for root in ("/api/v1/", "/apis/apps/v1/namespaces/", "/"):
        try:
            info = parse("GET", root + tail)
        except ApiError as error:
            assert error.code in (400, 404)
            continue
        if info.is_resource:
            for part in (info.namespace, info.resource, info.name, info.subresource):
                assert "/" not in part
                assert part not in (".", "..")


@given(st.text(max_size=80))
def test_any_query_is_read(query):
    params = Params(query)
    for name in ("watch", "limit", "dryRun"):
        params.get(name), params.all(name), params.flag(name)


@given(st.text(max_size=80))
def test_any_continue_token_is_read_or_refused(token):
    try:
        found = continuation.decode(token)
    except ApiError as error:
        assert error.code == 400
    else:
        assert continuation.decode(continuation.encode(found.revision, found.start_after, found.issued)) == found


@given(st.integers(1, 2**53), st.from_regex(r"[a-z0-9.-]{1,20}(/[a-z0-9.-]{1,20})?", fullmatch=True))
def test_continue_tokens_come_back(revision, key):
    if ".." in key.split("/"):
        return
    assert continuation.decode(continuation.encode(revision, key, 5.0)) == (revision, key, 5.0)


def test_negotiation():
    accept = negotiation.accepted
    assert accept(None) == negotiation.PLAIN
    assert accept("application/vnd.kubernetes.protobuf,application/json").media == negotiation.PROTOBUF
    assert accept("application/json;q=0.1,application/yaml").media == negotiation.YAML
    assert accept("text/html,*/*;q=0.8").media == negotiation.JSON
    table = accept("application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
    assert (table.transform, table.version) == ("Table", "v1")
    assert accept("application/json;as=Table;v=v3;g=meta.k8s.io,application/json") == negotiation.PLAIN
    assert accept("application/vnd.kubernetes.protobuf,application/json", protobuf=False).media == negotiation.JSON
    for refused in ("text/html", "application/cbor", "application/json;as=Table;v=v3;g=meta.k8s.io"):
        with pytest.raises(ApiError) as error:
            accept(refused)
        assert error.value.code == 406


@given(st.text(max_size=100))
def test_any_accept_header_is_read(header):
    try:
        negotiation.accepted(header)
    except ApiError as error:
        assert error.code == 406
    negotiation.discovery_clause(header)
