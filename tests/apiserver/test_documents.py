"""Discovery, OpenAPI, version, health and metrics: what is not a resource."""

from __future__ import annotations

import gzip
import re

import orjson

from shirube import KUBERNETES_VERSION


async def test_classic_discovery(api):
    assert (await api.get("/api")).json["versions"] == ["v1"]
    groups = (await api.get("/apis")).json["groups"]
    assert {"apps", "batch"} < {g["name"] for g in groups}
    assert (await api.get("/apis/apps")).json["preferredVersion"] == {"groupVersion": "apps/v1", "version": "v1"}
    for path in ("/api/v1", "/apis/apps/v1", "/apis/apps/v1/"):
        assert (await api.get(path)).json["kind"] == "APIResourceList"
    for path in ("/api/v2", "/apis/none", "/apis/apps/v2"):
        assert (await api.get(path)).status == 404


async def test_aggregated_discovery_by_accept_with_etag(api):
    accept = (
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
    )
    answer = await api.get("/apis", accept=accept)
    assert answer.content_type == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    assert answer.json["kind"] == "APIGroupDiscoveryList"
    [etag] = answer.header("etag")
    again = await api.get("/apis", accept=accept, if_none_match=etag)
    assert (again.status, again.raw) == (304, b"")
    assert (await api.get("/apis", accept="application/json")).json["kind"] == "APIGroupList"
    assert (await api.get("/api", accept=accept)).json["items"][0]["metadata"] == {}


async def test_openapi_v2(api):
    answer = await api.get("/openapi/v2")
    assert answer.json["swagger"] == "2.0"
    assert (await api.get("/openapi/v2", if_none_match=answer.header("etag")[0])).status == 304
    squeezed = await api.get("/openapi/v2", accept_encoding="gzip")
    assert gzip.decompress(squeezed.raw) == answer.raw
    assert (await api.get("/openapi/v2", accept="image/png")).status == 406


async def test_openapi_v3_by_hash(api):
    index = (await api.get("/openapi/v3")).json["paths"]
    where = index["apis/apps/v1"]["serverRelativeURL"]
    document = await api.get(where)
    assert document.json["openapi"].startswith("3.0")
    assert document.header("cache-control") == ["public, immutable"]
    assert (await api.get("/openapi/v3/apis/apps/v1")).raw == document.raw
    moved = await api.get("/openapi/v3/apis/apps/v1?hash=OLD")
    assert (moved.status, moved.header("location")) == (301, [where])
    assert (await api.get("/openapi/v3/apis/none/v1")).status == 404


async def test_version(api):
    said = (await api.get("/version")).json
    assert said["gitVersion"] == KUBERNETES_VERSION
    assert re.fullmatch("[0-9a-f]{40}|", said["gitCommit"]) and all(said[k] for k in said if k != "gitCommit")
    assert [said[k] for k in ("emulationMajor", "emulationMinor")] == [said["major"], said["minor"]]


async def test_health(api):
    for path in ("/healthz", "/livez", "/readyz", "/readyz/", "/readyz/etcd", "/livez/ping"):
        assert ((await api.get(path)).status, (await api.get(path)).raw) == (200, b"ok"), path
    verbose = (await api.get("/readyz?verbose")).raw.decode()
    assert "[+]etcd ok\n" in verbose
    assert verbose.endswith("readyz check passed\n")
    assert "[+]etcd excluded: ok\n" in (await api.get("/readyz?verbose&exclude=etcd")).raw.decode()
    assert (await api.get("/readyz/none")).status == 404


async def test_health_that_is_not(api):
    api.context.health.stopping = True
    ready = await api.get("/readyz")
    assert ready.status == 500
    assert "[-]shutdown failed: reason withheld\n" in ready.raw.decode()
    assert (await api.get("/readyz/shutdown")).status == 500
    assert (await api.get("/livez")).status == 200
    assert (await api.get("/readyz?exclude=shutdown")).status == 200


async def test_metrics(api):
    await api.get("/api/v1/namespaces/default/pods")
    await api.get("/api/v1/namespaces/default/pods/none")
    text = (await api.get("/metrics")).raw.decode()
    labels = 'group="",resource="pods",subresource="",verb="LIST",version="v1"'
    assert any(
        line.startswith("apiserver_request_total{") and 'verb="LIST"' in line and 'code="200"' in line
        for line in text.splitlines()
    ), labels
    assert 'code="404"' in text
    assert "apiserver_request_duration_seconds_bucket" in text
    assert "shirube_event_loop_lag_seconds" in text
    assert "kubernetes_healthcheck" in (await api.get("/metrics/slis")).raw.decode()


async def test_token_issuer_documents(api):
    configuration = await api.get("/.well-known/openid-configuration")
    assert configuration.json["issuer"] == api.context.options.issuer
    assert configuration.json["jwks_uri"].endswith("/openid/v1/jwks")
    keys = await api.get("/openid/v1/jwks")
    assert keys.content_type == "application/jwk-set+json"
    assert keys.json["keys"][0]["kty"] == "EC"


async def test_every_answer_is_marked(api):
    answer = await api.get("/api/v1/namespaces/default")
    assert len(answer.header("audit-id")[0]) == 36
    assert answer.header("cache-control") == ["no-cache, private"]
    given = await api.get("/api/v1/namespaces/default", audit_id="mine")
    assert given.header("audit-id") == ["mine"]


async def test_forms_of_one_object(api):
    url = "/api/v1/namespaces/default"
    pretty = await api.get(f"{url}?pretty=true")
    assert b'\n  "kind": "Namespace"' in pretty.raw
    curl = await api.get(url, user_agent="curl/8")
    assert b"\n  " in curl.raw
    yaml = await api.get(url, accept="application/yaml")
    assert yaml.content_type == "application/yaml"
    assert b"kind: Namespace\n" in yaml.raw
    partial = await api.get(url, accept="application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json")
    assert list(partial.json) == ["kind", "apiVersion", "metadata"]
    listed = await api.get(
        "/api/v1/namespaces", accept="application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    )
    assert listed.json["kind"] == "PartialObjectMetadataList"
    assert listed.json["items"][0]["kind"] == "PartialObjectMetadata"
    refused = await api.get(url, accept="image/png")
    assert (refused.status, refused.json["reason"]) == (406, "NotAcceptable")
    unknown = await api.get(url, accept="application/json;as=Nothing;g=meta.k8s.io;v=v1")
    assert unknown.status == 406
    assert orjson.loads((await api.get(url, accept="*/*")).raw)["kind"] == "Namespace"


async def test_a_change_while_a_document_is_made_is_not_lost(api):
    """What was made of the table before it changed must not be kept as if it were of the new one."""
    documents, table = api.context.documents, api.context.table

    def changed_meanwhile(_: object) -> bytes:
        table.generation += 1
        return b"old"

    assert (await documents.in_thread("x", changed_meanwhile)).data == b"old"
    assert (await documents.in_thread("x", lambda _: b"new")).data == b"new"
