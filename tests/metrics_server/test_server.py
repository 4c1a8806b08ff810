"""Requests of the front proxy to answers: who is believed, who may, and what comes back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shirube.api.errors import ApiError
from shirube.foundation.clock import ManualClock
from shirube.metrics_server.server import MetricsApi
from shirube.metrics_server.usage import Book, Point, Reading
from shirube.serving.messages import Peer, Request, Response

ROOT = "/apis/metrics.k8s.io/v1beta1"


def certificate(name: str, at: float) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    moment = datetime.fromtimestamp(at, UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(moment - timedelta(hours=1))
        .not_valid_after(moment + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.DER)


class Server:
    """The API server as the metrics server sees it: reviews, and metadata of nodes and pods."""

    def __init__(self) -> None:
        self.reviews: list[dict[str, Any]] = []
        self.lists: list[tuple[str, str | None, dict[str, Any]]] = []

    async def create(self, _gvr, obj):
        self.reviews.append(obj["spec"])
        return {"status": {"allowed": obj["spec"]["user"] != "mallory"}}

    async def list(self, gvr, namespace=None, *, metadata_only=False, **params):
        assert metadata_only
        self.lists.append((gvr.resource, namespace, params))
        if params.get("labelSelector") == "bad=":
            raise ApiError(400, "BadRequest", "unable to parse requirement")
        wanted = params.get("fieldSelector", "").removeprefix("metadata.name=")
        names = [n for n in ({"nodes": ("n1", "n2"), "pods": ("web", "new")}[gvr.resource]) if wanted in ("", n)]
        extra = {"namespace": "default"} if gvr.resource == "pods" else {}
        return {"items": [{"metadata": {"name": n, "labels": {"app": n}, "uid": "u", **extra}} for n in names]}


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def upstream():
    return Server()


@pytest.fixture
def api(clock, upstream):
    book = Book()
    for at, cpu in ((100.0, 1.0), (115.0, 4.0)):
        book.record("n1", Reading(Point(at, cpu, 4096), {("default", "web", "app"): Point(at, cpu, 2048, 1.0)}))
    return MetricsApi(upstream, book, clock)


@pytest.fixture
def ask(api, clock):
    proxy = certificate("front-proxy-client", clock.now())

    async def ask(path, *, user="alice", method="GET", accept="application/json", cert=proxy):
        headers = [("X-Remote-User", user), ("X-Remote-Group", "dev"), ("X-Remote-Extra-Scopes%2Fa", "x")]
        request = Request.of(method, path, [*headers, ("Accept", accept)], peer=Peer("127.0.0.1", 1, cert))
        answer = await api.handle(request)
        assert isinstance(answer, Response)
        assert isinstance(answer.body, bytes)
        return answer.status, orjson.loads(answer.body) if answer.body != b"ok" else None

    return ask


async def test_only_the_front_proxy_is_believed(ask, clock):
    assert (await ask(f"{ROOT}/nodes", cert=None))[0] == 401
    assert (await ask(f"{ROOT}/nodes", cert=certificate("system:node:n1", clock.now())))[0] == 401
    assert (await ask(f"{ROOT}/nodes", cert=certificate("front-proxy-client", clock.now() - 9999)))[0] == 401
    assert (await ask(f"{ROOT}/nodes", user=""))[0] == 401
    assert (await ask("/healthz", cert=None))[0] == 200


async def test_every_path_is_authorised_by_the_api_server(ask, upstream, clock):
    for path in (f"{ROOT}/nodes", f"{ROOT}/namespaces/a/pods/b", "/apis", "/openapi/v2", "/metrics", f"{ROOT}/pods"):
        status, said = await ask(path, user="mallory")
        assert (status, said["reason"]) == (403, "Forbidden")
    assert len(upstream.reviews) == 6
    about = upstream.reviews[1]["resourceAttributes"]
    assert about == {
        "group": "metrics.k8s.io", "version": "v1beta1", "resource": "pods",
        "verb": "get", "namespace": "a", "name": "b",
    }  # fmt: skip
    assert upstream.reviews[0]["groups"] == ["dev"]
    assert upstream.reviews[0]["extra"] == {"scopes/a": ["x"]}
    await ask("/apis", user="mallory")
    assert len(upstream.reviews) == 6  # kept
    clock.advance(11)
    await ask("/apis", user="mallory")
    assert len(upstream.reviews) == 7


async def test_nodes_and_pods(ask, upstream):
    status, nodes = await ask(f"{ROOT}/nodes?labelSelector=app")
    assert (status, nodes["kind"], [n["metadata"]["name"] for n in nodes["items"]]) == (200, "NodeMetricsList", ["n1"])
    assert nodes["items"][0]["usage"] == {"cpu": "200000000n", "memory": "4Ki"}
    assert nodes["items"][0]["window"] == "15s"
    assert "uid" not in nodes["items"][0]["metadata"]
    assert upstream.lists[-1] == ("nodes", None, {"resourceVersion": "0", "labelSelector": "app"})
    _, pods = await ask(f"{ROOT}/namespaces/default/pods")
    assert pods["items"][0]["containers"] == [{"name": "app", "usage": {"cpu": "200000000n", "memory": "2Ki"}}]
    assert pods["items"][0]["metadata"]["labels"] == {"app": "web"}
    _, pod = await ask(f"{ROOT}/namespaces/default/pods/web")
    assert pod["kind"] == "PodMetrics"
    assert pod["timestamp"] == "1970-01-01T00:01:55Z"


async def test_what_is_not_there(ask):
    for path in (f"{ROOT}/nodes/n9", f"{ROOT}/nodes/n2", f"{ROOT}/namespaces/default/pods/new"):
        status, said = await ask(path)
        assert (status, said["reason"]) == (404, "NotFound")
    for path in (f"{ROOT}/nodes/", f"{ROOT}/services", f"{ROOT}/namespaces//pods", "/apis/metrics.k8s.io/v1", "/x"):
        assert (await ask(path))[0] == (200 if path.endswith("nodes/") else 404)


async def test_what_cannot_be_done(ask):
    assert (await ask(f"{ROOT}/nodes", method="DELETE"))[0] == 405
    assert (await ask(f"{ROOT}/nodes?watch=true"))[0] == 405
    status, said = await ask(f"{ROOT}/nodes?labelSelector=bad%3D")
    assert (status, said["message"]) == (400, "unable to parse requirement")


async def test_a_table_for_people(ask):
    _, table = await ask(f"{ROOT}/pods", accept="application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "cpu", "memory", "Window"]
    assert [row["cells"] for row in table["rows"]] == [["web", "200000000n", "2Ki", "15s"]]


async def test_documents(ask):
    _, listed = await ask(ROOT)
    assert [r["name"] for r in listed["resources"]] == ["nodes", "pods"]
    _, index = await ask("/openapi/v3")
    where = index["paths"]["apis/metrics.k8s.io/v1beta1"]["serverRelativeURL"]
    _, v3 = await ask(where)
    refs = {r.rpartition("/")[2] for r in find_refs(v3)}
    assert refs <= set(v3["components"]["schemas"])
    _, v2 = await ask("/openapi/v2")
    assert {r.rpartition("/")[2] for r in find_refs(v2)} <= set(v2["definitions"])


def find_refs(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from [inner] if key == "$ref" else find_refs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from find_refs(inner)
