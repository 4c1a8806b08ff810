"""Several versions: converted by name alone or by a webhook, whichever version is stored."""

from __future__ import annotations

import asyncio
import base64
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.waiting import until

from shirube.apiserver import stored

from .conftest import CRDS, CRONTABS, GROUP, crontab, definition, spec_schema, version

V2 = CRONTABS.replace("/v1/", "/v2/")
NAME = f"{CRDS}/crontabs.{GROUP}"


def raw(api: Any, name: str) -> dict:
    """An object as it is stored."""
    resource = api.context.table.by_path(GROUP, "v1", "crontabs")
    return stored.decode(api.context.caches.of(resource).get(resource.key("default", name)).data)


def certificate(folder: Any) -> tuple[ssl.SSLContext, str]:
    """A server's TLS and its caBundle."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "converter")])
    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = cert.public_bytes(serialization.Encoding.PEM)
    form = serialization.PrivateFormat.PKCS8
    (folder / "c.pem").write_bytes(pem)
    (folder / "k.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "c.pem", folder / "k.pem")
    return context, base64.b64encode(pem).decode()


class Converter:
    """A conversion webhook on a real socket: v1 has `hostPort`, v2 has `host` and `port`."""

    def __init__(self) -> None:
        self.config: dict = {}
        self.reviews: list[dict] = []
        self.answer: Callable[[dict, dict], Any] = lambda request, response: response

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lengths = [line.split(":")[1] for line in head.splitlines() if line.lower().startswith("content-length")]
        review = orjson.loads(await reader.readexactly(int(lengths[0])))
        self.reviews.append(review)
        request = review["request"]
        response = {
            "uid": request["uid"],
            "result": {"status": "Success"},
            "convertedObjects": [convert(o, request["desiredAPIVersion"]) for o in request["objects"]],
        }
        body = orjson.dumps({**review, "request": None, "response": self.answer(request, response)})
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()


def convert(obj: dict, api_version: str) -> dict:
    spec = dict(obj.get("spec") or {})
    if api_version.endswith("/v2"):
        host, _, port = spec.pop("hostPort", ":").partition(":")
        spec |= {"host": host, "port": port}
    else:
        spec["hostPort"] = f"{spec.pop('host', '')}:{spec.pop('port', '')}"
    return {**obj, "apiVersion": api_version, "spec": spec}


@pytest.fixture
async def converter(tmp_path) -> AsyncIterator[Converter]:
    context, bundle = certificate(tmp_path)
    made = Converter()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    made.config = {
        "strategy": "Webhook",
        "webhook": {
            "clientConfig": {"url": f"https://127.0.0.1:{port}/convert", "caBundle": bundle},
            "conversionReviewVersions": ["v1"],
        },
    }
    yield made
    server.close()
    await server.wait_closed()


def two_versions(**more: Any) -> dict:
    text = {"type": "string"}
    return definition(
        version("v1", spec_schema(hostPort=text)),
        version("v2", spec_schema(host=text, port=text), storage=False),
        **more,
    )


async def store_v2(api: Any) -> None:
    obj = await api.ok("GET", NAME)
    obj["spec"]["versions"][0]["storage"], obj["spec"]["versions"][1]["storage"] = False, True
    updated = await api.ok("PUT", NAME, obj)
    assert updated["status"]["storedVersions"] == ["v1", "v2"]
    table = api.context.table

    async def installed() -> bool:
        return table.by_path(GROUP, "v2", "crontabs").definition.family.storage == "v2"

    await until(installed)


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourceConversionWebhook [Privileged:ClusterAdmin] "
    "should be able to convert from CR v1 to CR v2 [Conformance]"
)
async def test_webhook_converts_what_is_read_and_written(api, install, converter):
    await install(two_versions(conversion=converter.config))
    await api.ok("POST", CRONTABS, crontab("a", spec={"hostPort": "h:1"}))
    assert converter.reviews == []
    got = await api.ok("GET", f"{V2}/a")
    assert (got["apiVersion"], got["spec"]) == (f"{GROUP}/v2", {"host": "h", "port": "1"})
    got["spec"]["port"] = "2"
    updated = await api.ok("PUT", f"{V2}/a", got)
    assert updated["spec"] == {"host": "h", "port": "2"}
    assert raw(api, "a")["spec"] == {"hostPort": "h:2"}
    assert (await api.patch(f"{V2}/a", {"spec": {"host": "i"}})).json["spec"] == {"host": "i", "port": "2"}
    assert (await api.ok("GET", f"{CRONTABS}/a"))["spec"] == {"hostPort": "i:2"}
    made = await api.ok("POST", V2, crontab("b", f"{GROUP}/v2", spec={"host": "x", "port": "9"}))
    assert (made["spec"], raw(api, "b")["spec"]) == ({"host": "x", "port": "9"}, {"hostPort": "x:9"})
    assert (await api.delete(f"{V2}/b")).status == 200


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourceConversionWebhook [Privileged:ClusterAdmin] "
    "should be able to convert a non homogeneous list of CRs [Conformance]"
)
async def test_a_mixed_list_is_converted_with_one_review(api, install, converter):
    await install(two_versions(conversion=converter.config))
    await api.ok("POST", CRONTABS, crontab("a", spec={"hostPort": "h:1"}))
    await api.ok("POST", CRONTABS, crontab("b", spec={"hostPort": "h:2"}))
    await store_v2(api)
    await api.ok("POST", V2, crontab("c", f"{GROUP}/v2", spec={"host": "h", "port": "3"}))
    assert [raw(api, n)["apiVersion"][-2:] for n in "abc"] == ["v1", "v1", "v2"]
    converter.reviews.clear()
    listed = await api.ok("GET", V2)
    assert [o["spec"]["port"] for o in listed["items"]] == ["1", "2", "3"]
    assert [len(r["request"]["objects"]) for r in converter.reviews] == [2]
    async with api.watch(V2) as events:
        assert [(await events.next())[1]["spec"]["port"] for _ in range(3)] == ["1", "2", "3"]


async def test_bad_answers_of_a_webhook_are_told(api, install, converter):
    await install(two_versions(conversion=converter.config))
    await api.ok("POST", CRONTABS, crontab("a", spec={"hostPort": "h:1"}))
    shown = f"conversion webhook for {GROUP}/v1, Kind=Crontab "

    async def message(answer: Callable[[dict, dict], Any]) -> str:
        converter.answer = answer
        got = await api.get(f"{V2}/a")
        assert got.status == 500
        return got.message.removeprefix(shown)

    refusal = {"status": "Failure", "message": "not today"}
    assert await message(lambda q, r: {**r, "result": refusal}) == "failed: not today"
    assert (await message(lambda q, r: {**r, "uid": "other"})).startswith("failed: expected response.uid=")
    assert await message(lambda q, r: {**r, "convertedObjects": []}) == "returned 0 objects, expected 1"
    renamed = await message(
        lambda q, r: {**r, "convertedObjects": [{**o, "metadata": {"name": "x"}} for o in r["convertedObjects"]]}
    )
    assert renamed == "returned invalid converted object at index 0: must have the same name: a != x"


async def test_webhook_that_does_not_answer(api, install, converter):
    config = {**converter.config["webhook"]["clientConfig"], "url": "https://127.0.0.1:1/"}
    webhook = {**converter.config["webhook"], "clientConfig": config}
    await install(two_versions(conversion={"strategy": "Webhook", "webhook": webhook}))
    await api.ok("POST", CRONTABS, crontab("a"))
    got = await api.get(f"{V2}/a")
    assert got.status == 500
    assert got.message.startswith(f'conversion webhook for {GROUP}/v1, Kind=Crontab failed: Post "https://127.0.0.1:1/')


async def test_metadata_is_the_objects_own(api, install, converter):
    await install(two_versions(conversion=converter.config))
    await api.ok("POST", CRONTABS, crontab("a", spec={"hostPort": "h:1"}))

    def meddle(request: dict, response: dict) -> dict:
        for obj in response["convertedObjects"]:
            obj["metadata"] |= {"labels": {"by": "webhook"}, "finalizers": ["x/y"], "generation": 99}
        return response

    converter.answer = meddle
    meta = (await api.ok("GET", f"{V2}/a"))["metadata"]
    assert (meta["labels"], meta.get("finalizers"), meta["generation"]) == ({"by": "webhook"}, None, 1)


async def test_without_a_webhook_only_the_version_changes_and_the_schema_prunes(api, install):
    await install(definition(version("v1"), version("v2", spec_schema(host={"type": "string"}), storage=False)))
    await api.ok("POST", CRONTABS, crontab("a", spec={"host": "h", "other": 1}))
    assert (await api.ok("GET", f"{V2}/a"))["spec"] == {"host": "h"}


async def test_storage_migration_rewrites_what_is_written_again(api, install):
    await install(definition(version("v1"), version("v2", storage=False)))
    made = await api.ok("POST", CRONTABS, crontab("a", spec={"n": 1}))
    await store_v2(api)
    assert raw(api, "a")["apiVersion"] == f"{GROUP}/v1"
    same = await api.ok("PUT", f"{CRONTABS}/a", made)
    assert same["apiVersion"] == f"{GROUP}/v1"
    assert raw(api, "a")["apiVersion"] == f"{GROUP}/v2"
    obj = await api.ok("GET", NAME)
    obj["status"]["storedVersions"] = ["v1"]
    refused = await api.put(f"{NAME}/status", obj)
    assert 'status.storedVersions: Invalid value: ["v1"]: must have the storage version v2' in refused.message
    obj["status"]["storedVersions"] = ["v2"]
    assert (await api.ok("PUT", f"{NAME}/status", obj))["status"]["storedVersions"] == ["v2"]
    obj = await api.ok("GET", NAME)
    obj["spec"]["versions"] = [obj["spec"]["versions"][1]]
    assert (await api.put(NAME, obj)).status == 200


async def test_fields_are_selected_by_what_they_are_in_the_version_asked_for(api, install, converter):
    text = {"type": "string"}
    await install(
        definition(
            version("v1", spec_schema(hostPort=text), selectableFields=[{"jsonPath": ".spec.hostPort"}]),
            version(
                "v2",
                spec_schema(host=text, port=text),
                storage=False,
                selectableFields=[{"jsonPath": ".spec.host"}, {"jsonPath": ".spec.port"}],
            ),
            conversion=converter.config,
        )
    )
    for name, where in (("a", "h:1"), ("b", "h:2"), ("c", "g:1")):
        await api.ok("POST", CRONTABS, crontab(name, spec={"hostPort": where}))

    async def names(path: str) -> list[str]:
        return [o["metadata"]["name"] for o in (await api.ok("GET", path))["items"]]

    assert await names(f"{V2}?fieldSelector=spec.host%3Dh") == ["a", "b"]
    assert await names(f"{V2}?fieldSelector=spec.host%3Dh,spec.port%3D1") == ["a"]
    assert await names(f"{V2}?fieldSelector=metadata.name%3Da,spec.host%3Dg") == []
    assert await names(f"{CRONTABS}?fieldSelector=spec.hostPort%3Dg:1") == ["c"]
    assert (await api.get(f"{V2}?fieldSelector=spec.hostPort%3Dg:1")).status == 400
    start = (await api.ok("GET", V2))["metadata"]["resourceVersion"]
    async with api.watch(f"{V2}?fieldSelector=spec.host%3Dh&resourceVersion={start}") as events:
        await api.patch(f"{CRONTABS}/c", {"spec": {"hostPort": "h:5"}})
        await api.patch(f"{CRONTABS}/a", {"spec": {"hostPort": "x:1"}})
        await api.patch(f"{CRONTABS}/b", {"spec": {"hostPort": "h:9"}})
        await api.delete(f"{CRONTABS}/b")
        seen = [await events.next() for _ in range(4)]
    assert [(kind, o["metadata"]["name"]) for kind, o in seen] == [
        ("ADDED", "c"),
        ("DELETED", "a"),
        ("MODIFIED", "b"),
        ("DELETED", "b"),
    ]
    await api.delete(f"{V2}?fieldSelector=spec.host%3Dx")
    assert await names(V2) == ["c"]
