"""The audit log of a running server: what is written of which requests, at which stages, and what is left out."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
import yaml
from tests.apiserver.conftest import ADMIN, CONFIGMAPS, PODS, Admins, Api, configmap, pod

from shirube.apiserver.configuration_file import ConfigurationError
from shirube.apiserver.main import Options, in_process
from shirube.foundation.chance import Chance
from shirube.serving.messages import Peer, Request, Upgrade

RECEIVED, STARTED, COMPLETE, PANIC = "RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"


def policy(*rules: dict, **more) -> bytes:
    document = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules), **more}
    return yaml.safe_dump(document).encode()


class Audited(Api):
    log: Path

    async def events(self) -> list[dict]:
        """What has been written so far."""
        writer = self.context.audit.writer
        async with asyncio.timeout(60):
            while writer.written < writer.events:
                await asyncio.sleep(0.001)
        return [orjson.loads(line) for line in self.log.read_bytes().splitlines()] if self.log.exists() else []

    async def stages(self) -> list[tuple[str, str]]:
        return [(e["stage"], e["requestURI"]) for e in await self.events()]


@asynccontextmanager
async def audited(tmp_path: Path, signing_key: Path, *rules: dict, admin: bool = True, **more):
    file = tmp_path / "policy.yaml"
    file.write_bytes(policy(*rules, **more))
    options = Options(
        data_dir=tmp_path, audit_policy=file, audit_log=tmp_path / "audit.log", service_account_key=signing_key
    )
    async with in_process(options, chance=Chance(1)) as server:
        if admin:
            server.context.authenticator = Admins(ADMIN, server.context.authenticator)
        api = Audited(server)
        api.log = tmp_path / "audit.log"
        yield api


async def test_metadata(tmp_path, signing_key):
    async with audited(tmp_path, signing_key, {"level": "Metadata"}) as api:
        made = await api.post(
            f"{CONFIGMAPS}?fieldManager=me", configmap("a", key="secret value"), user_agent="kubectl/v1.36"
        )
        received, complete = await api.events()
        assert (received["stage"], complete["stage"]) == (RECEIVED, COMPLETE)
        assert "responseStatus" not in received and "annotations" not in received
        stamp = complete.pop("stageTimestamp")
        assert received["stageTimestamp"] <= stamp
        assert received["requestReceivedTimestamp"] == complete.pop("requestReceivedTimestamp") <= stamp
        assert complete == {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": made.header("audit-id")[0],
            "stage": COMPLETE,
            "requestURI": f"{CONFIGMAPS}?fieldManager=me",
            "verb": "create",
            "user": {"username": "admin", "groups": ["system:masters", "system:authenticated"]},
            "sourceIPs": [],
            "userAgent": "kubectl/v1.36",
            "objectRef": {
                "resource": "configmaps",
                "namespace": "default",
                "name": "a",
                "apiVersion": "v1",
            },
            "responseStatus": {"metadata": {}, "code": 201},
            "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
        }


async def test_request_and_response_bodies(tmp_path, signing_key):
    rules = (
        {"level": "Request", "resources": [{"group": "", "resources": ["configmaps"], "resourceNames": ["quiet"]}]},
        {"level": "RequestResponse"},
    )
    async with audited(tmp_path, signing_key, *rules, omitStages=[RECEIVED]) as api:
        await api.ok("POST", CONFIGMAPS, configmap("loud", a="1"))
        await api.patch(f"{CONFIGMAPS}/quiet", {"data": {"a": "2"}})
        await api.get(f"{CONFIGMAPS}/loud")
        created, patched, read = await api.events()
    assert created["requestObject"]["data"] == created["responseObject"]["data"] == {"a": "1"}
    assert created["responseObject"]["metadata"]["uid"]
    assert created["responseObject"]["metadata"]["managedFields"]
    assert patched["level"] == "Request" and patched["requestObject"] == {"data": {"a": "2"}}
    assert "responseObject" not in patched
    assert patched["responseStatus"] == {
        "metadata": {},
        "status": "Failure",
        "message": 'configmaps "quiet" not found',
        "reason": "NotFound",
        "details": {"name": "quiet", "kind": "configmaps"},
        "code": 404,
    }
    assert "requestObject" not in read and read["responseObject"]["data"] == {"a": "1"}


async def test_managed_fields_are_left_out_where_the_policy_says_so(tmp_path, signing_key):
    rules = (
        {"level": "RequestResponse", "verbs": ["get"], "omitManagedFields": False},
        {"level": "RequestResponse"},
    )
    async with audited(tmp_path, signing_key, *rules, omitManagedFields=True, omitStages=[RECEIVED]) as api:
        await api.ok("POST", CONFIGMAPS, configmap("a", x="1"))
        await api.ok("GET", f"{CONFIGMAPS}/a")
        await api.ok("GET", CONFIGMAPS)
        created, read, listed = await api.events()
    assert "managedFields" not in created["responseObject"]["metadata"]
    assert "managedFields" in read["responseObject"]["metadata"]
    item = next(i for i in listed["responseObject"]["items"] if i["metadata"]["name"] == "a")
    assert "managedFields" not in item["metadata"] and item["metadata"]["uid"]


async def test_protobuf_and_yaml_bodies_are_written_as_json(tmp_path, signing_key):
    from shirube.api import protobuf

    async with audited(tmp_path, signing_key, {"level": "RequestResponse"}, omitStages=[RECEIVED]) as api:
        whole = {"apiVersion": "v1", "kind": "ConfigMap", **configmap("p", a="1")}
        media = "application/vnd.kubernetes.protobuf"
        await api.call("POST", CONFIGMAPS, raw=protobuf.encode(whole), content_type=media, accept=media)
        text = yaml.safe_dump(configmap("written-as-yaml", a="2")).encode()
        await api.call("POST", CONFIGMAPS, raw=text, content_type="application/yaml", accept="application/yaml")
        first, second = await api.events()
    assert first["requestObject"]["data"] == first["responseObject"]["data"] == {"a": "1"}
    assert second["requestObject"]["data"] == second["responseObject"]["data"] == {"a": "2"}


async def test_nothing_is_written_without_a_matching_rule(tmp_path, signing_key):
    rules = ({"level": "None", "users": ["admin"]}, {"level": "Metadata"})
    async with audited(tmp_path, signing_key, *rules) as api:
        await api.ok("GET", CONFIGMAPS)
        assert await api.events() == []
        assert api.context.audit.levels == [1, 0, 0, 0]


async def test_secrets_stay_out_at_the_level_metadata(tmp_path, signing_key):
    rules = ({"level": "Metadata", "resources": [{"group": "", "resources": ["secrets"]}]}, {"level": "Request"})
    async with audited(tmp_path, signing_key, *rules) as api:
        secret = {"metadata": {"name": "s"}, "stringData": {"password": "hunter2"}}
        await api.ok("POST", "/api/v1/namespaces/default/secrets", secret)
        events = await api.events()
    assert [e["objectRef"]["name"] for e in events if e["stage"] == COMPLETE] == ["s"]
    assert "hunter2" not in str(events)


async def test_a_watch_has_a_start_and_an_end(tmp_path, signing_key):
    async with audited(tmp_path, signing_key, {"level": "RequestResponse"}) as api:
        async with api.watch(CONFIGMAPS):
            assert [stage for stage, _ in await api.stages()] == [RECEIVED, STARTED]
        events = await api.events()
    assert [e["stage"] for e in events] == [RECEIVED, STARTED, COMPLETE]
    assert all("responseObject" not in e for e in events)
    assert [e["responseStatus"]["code"] for e in events[1:]] == [200, 200]
    assert {e["verb"] for e in events} == {"watch"}


async def test_an_upgraded_connection_has_a_start_and_an_end(tmp_path, signing_key):
    async with audited(tmp_path, signing_key, {"level": "Metadata"}, omitStages=[RECEIVED]) as api:
        headers = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Version", "13"),
        ]
        answer = await api.server.handle(Request.of("GET", f"{CONFIGMAPS}?watch=true", headers))
        assert isinstance(answer, Upgrade)

        class Gone:
            async def read(self, n: int = 65536) -> bytes:
                return b""

            async def write(self, data: bytes) -> None: ...

            async def write_eof(self) -> None: ...

            async def close(self) -> None: ...

        await answer.run(Gone())
        assert [stage for stage, _ in await api.stages()] == [STARTED, COMPLETE]


async def test_what_fails_unexpectedly_is_a_panic(tmp_path, signing_key, monkeypatch, caplog):
    async with audited(tmp_path, signing_key, {"level": "Metadata"}) as api:

        def broken(*args):
            raise ZeroDivisionError

        monkeypatch.setattr("shirube.apiserver.routes.resource_route", broken)
        assert (await api.get(CONFIGMAPS)).status == 500
        events = await api.events()
    assert [(e["stage"], e.get("responseStatus", {}).get("code")) for e in events] == [(RECEIVED, None), (PANIC, 500)]


async def test_wrong_credentials_are_noted(tmp_path, signing_key):
    async with audited(tmp_path, signing_key, {"level": "Metadata"}, admin=False) as api:
        assert (await api.get(CONFIGMAPS, authorization="Bearer wrong.token.here")).status == 401
        assert (await api.get(CONFIGMAPS)).status == 403
        failed, received, forbidden = await api.events()
    assert (failed["stage"], failed["user"]) == (STARTED, {})
    assert failed["responseStatus"] == {
        "metadata": {},
        "status": "Failure",
        "message": "Authentication failed, attempted: bearer",
        "code": 401,
    }
    assert "wrong.token" not in str(failed)
    assert (
        received["user"]
        == forbidden["user"]
        == {
            "username": "system:anonymous",
            "groups": ["system:unauthenticated"],
        }
    )
    assert forbidden["responseStatus"]["reason"] == "Forbidden"
    assert forbidden["annotations"]["authorization.k8s.io/decision"] == "forbid"


async def test_impersonation_names_both_users(tmp_path, signing_key):
    async with audited(tmp_path, signing_key, {"level": "Metadata"}, omitStages=[RECEIVED]) as api:
        await api.get(CONFIGMAPS, impersonate_user="jane", impersonate_group="system:masters")
        (event,) = await api.events()
    assert event["user"]["username"] == "admin"
    assert event["impersonatedUser"]["username"] == "jane"


async def test_addresses_and_agents(tmp_path, signing_key):
    async with audited(tmp_path, signing_key, {"level": "Metadata"}, omitStages=[RECEIVED]) as api:
        headers = [
            ("X-Forwarded-For", "203.0.113.7, nonsense, 198.51.100.2"),
            ("User-Agent", "x" * 2000),
            ("Audit-ID", "given-by-client"),
        ]
        peer = Peer("192.0.2.1", 4711)
        await api.server.handle(Request.of("GET", "/version", headers, peer=peer))
        (event,) = await api.events()
    assert event["sourceIPs"] == ["203.0.113.7", "198.51.100.2", "192.0.2.1"]
    assert event["userAgent"] == "x" * 1024 + "...TRUNCATED"
    assert event["auditID"] == "given-by-client"
    assert event["verb"] == "get" and "objectRef" not in event


async def test_pod_security_annotates(tmp_path, signing_key):
    async with audited(tmp_path, signing_key, {"level": "Metadata", "verbs": ["create"]}, omitStages=[RECEIVED]) as api:
        labels = {"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/audit": "restricted"}
        await api.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "ns", "labels": labels}})
        await api.ok("POST", "/api/v1/namespaces/ns/serviceaccounts", {"metadata": {"name": "default"}})
        await api.ok("POST", "/api/v1/namespaces/ns/pods", pod("p"))
        notes = (await api.events())[-1]["annotations"]
    assert notes["pod-security.kubernetes.io/enforce-policy"] == "baseline:latest"
    assert notes["pod-security.kubernetes.io/audit-violations"].startswith('would violate PodSecurity "restricted')


async def test_the_policy_is_followed(tmp_path, signing_key):
    async with audited(tmp_path, signing_key, {"level": "None"}) as api:
        await api.ok("GET", CONFIGMAPS)
        (tmp_path / "policy.yaml").write_bytes(policy({"level": "Metadata"}, omitStages=[RECEIVED]))
        assert await api.context.files["audit"].check()
        await api.ok("GET", PODS)
        assert await api.stages() == [(COMPLETE, PODS)]


async def test_metrics_have_upstreams_names(tmp_path, signing_key):
    async with audited(tmp_path, signing_key, {"level": "Metadata"}) as api:
        await api.ok("GET", CONFIGMAPS)
        text = (await api.get("/metrics")).raw.decode()
    assert "apiserver_audit_event_total 3.0" in text  # two of the list, the beginning of this one
    assert 'apiserver_audit_level_total{level="Metadata"} 2.0' in text
    assert 'apiserver_audit_error_total{plugin="log"} 0.0' in text


async def test_a_server_does_not_start_with_a_wrong_policy(tmp_path, signing_key):
    with pytest.raises(ConfigurationError, match="Unsupported value"):
        async with audited(tmp_path, signing_key, {"level": "Everything"}):
            pass
