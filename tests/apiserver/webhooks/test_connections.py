"""Connections to webhooks are kept and used again; what the metrics and the audit log say of calls."""

from __future__ import annotations

import asyncio
import ssl
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.apiserver.audit.test_audit import audited

from shirube.apiserver.webhooks.connections import IDLE, KEPT, Place, Pool
from shirube.foundation.clock import ManualClock
from shirube.serving.messages import Response

from .conftest import CONFIGMAPS, configmap, patched, register, webhook


async def test_calls_share_a_connection(api, hook):
    await register(
        api, "validating", "v", webhook("a.example.com", hook.config()), webhook("b.example.com", hook.config())
    )
    for n in range(5):
        await api.ok("POST", CONFIGMAPS, configmap(f"c{n}"))
    ports = {request.peer.port for request in hook.heard}
    assert len(hook.heard) == 10 and len(ports) == 2  # both are asked at once


async def test_another_authority_never_uses_what_this_one_let_in(api, hook):
    await register(api, "validating", "v", webhook("a.example.com", hook.config()))
    await api.ok("POST", CONFIGMAPS, configmap("c"))
    none = {"url": f"https://127.0.0.1:{hook.port}/"}
    await register(api, "validating", "w", webhook("b.example.com", none))
    answer = await api.post(CONFIGMAPS, configmap("d"))
    assert answer.status == 500 and "x509" in answer.message


@pytest.fixture
async def echo():
    """A server that answers `answers` requests on a connection and then hangs up."""
    state = SimpleNamespace(answers=1, connections=0, port=0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        for _ in range(state.answers):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            body = await reader.readexactly(length)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    state.port = server.sockets[0].getsockname()[1]
    yield state
    server.close()
    await server.wait_closed()


def pool_of(clock: ManualClock) -> Pool:
    return Pool(SimpleNamespace(clock=clock))


async def post(pool: Pool, port: int, body: bytes, limit: int = 1000) -> bytes:
    place = Place("127.0.0.1", port, "", "")
    _, data = await pool.post(place, None, "/", [("Host", "x")], body, limit)
    return data


async def test_who_hung_up_is_called_again(echo):
    pool = pool_of(ManualClock())
    assert await post(pool, echo.port, b"one") == b"one"
    assert await post(pool, echo.port, b"two") == b"two"
    assert echo.connections == 2
    pool.sweep(0)


async def test_idle_connections_end(echo):
    clock = ManualClock()
    pool = pool_of(clock)
    echo.answers = 3
    await post(pool, echo.port, b"one")
    clock.advance(IDLE - 1)
    pool.sweep(IDLE)
    await post(pool, echo.port, b"two")
    assert echo.connections == 1
    clock.advance(IDLE)
    pool.sweep(IDLE)
    await post(pool, echo.port, b"three")
    assert echo.connections == 2
    pool.sweep(0)


async def test_only_so_many_are_kept(echo):
    pool = pool_of(ManualClock())
    echo.answers = 2
    await asyncio.gather(*(post(pool, echo.port, b"x") for _ in range(KEPT + 5)))
    assert echo.connections == KEPT + 5
    assert len(pool._idle[Place("127.0.0.1", echo.port, "", "")]) == KEPT
    pool.sweep(0)
    assert pool._idle == {}


async def test_an_answer_without_end_is_not_read(echo):
    pool = pool_of(ManualClock())
    with pytest.raises(ValueError, match="longer than 10 bytes"):
        await post(pool, echo.port, b"x" * 100, limit=10)
    with pytest.raises(ValueError, match="line break"):
        await pool.post(Place("127.0.0.1", echo.port, "", ""), ssl.create_default_context(), "/\r\n", [], b"", 10)


async def test_metrics(api, hook):
    hook.answers["/no"] = lambda asked: {"allowed": False, "status": {"code": 403}}
    hook.answers["/ill"] = lambda asked: Response(503, b"ill")
    hook.answers["/odd"] = lambda asked: patched({"op": "remove", "path": "/none"})
    await api.ok("POST", CONFIGMAPS, configmap("fine"))
    cases = [
        ("validating", "no", hook.config("/no"), "Fail"),
        ("validating", "ill", hook.config("/ill"), "Fail"),
        ("validating", "open", hook.config("/ill"), "Ignore"),
        ("mutating", "odd", hook.config("/odd"), "Fail"),
        ("mutating", "well", hook.config("/well"), "Fail"),
    ]
    for kind, name, config, policy in cases:
        await register(api, kind, name, webhook(f"{name}.example.com", config, failurePolicy=policy))
        await api.post(CONFIGMAPS, configmap(name))
        await api.ok("DELETE", f"/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations/{name}")
    text = (await api.get("/metrics")).raw.decode()
    found = {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    def series(name: str) -> set[frozenset[str]]:
        return {labels for known, labels in found if known == f"apiserver_admission_{name}"}

    def value(name: str, *labels: str) -> float:
        return found[f"apiserver_admission_{name}", frozenset(labels)]

    assert series("webhook_rejection_count") == {
        frozenset(("no.example.com", "validating", "CREATE", "no_error", "403")),
        frozenset(("ill.example.com", "validating", "CREATE", "calling_webhook_error", "503")),
        frozenset(("odd.example.com", "admit", "CREATE", "apiserver_internal_error", "0")),
    }
    assert series("webhook_request_total") == {
        frozenset(("no.example.com", "validating", "CREATE", "403", "true")),
        frozenset(("ill.example.com", "validating", "CREATE", "503", "true")),
        frozenset(("open.example.com", "validating", "CREATE", "503", "false")),
        frozenset(("odd.example.com", "admit", "CREATE", "0", "true")),
        frozenset(("well.example.com", "admit", "CREATE", "200", "false")),
    }
    assert value("webhook_fail_open_count", "open.example.com", "validating") == 1
    assert value("webhook_admission_duration_seconds_count", "well.example.com", "admit", "CREATE", "false") == 1
    assert value("step_admission_duration_seconds_count", "validate", "CREATE", "true") == 2
    assert value("step_admission_duration_seconds_count", "admit", "CREATE", "true") == 1
    plugin = "controller_admission_duration_seconds_count"
    assert value(plugin, "ValidatingAdmissionWebhook", "validate", "CREATE", "true") == 2
    assert value(plugin, "MutatingAdmissionWebhook", "admit", "CREATE", "false") > 0


async def test_the_audit_log_says_what_webhooks_did(tmp_path, signing_key, hook):
    hook.answers["/"] = lambda asked: {
        **patched({"op": "add", "path": "/data", "value": {"a": "1"}}),
        "auditAnnotations": {"why": "because"},
    }
    async with audited(tmp_path, signing_key, {"level": "Metadata", "verbs": ["create"]}) as api:
        await register(api, "mutating", "m", webhook("m.example.com", hook.config()))
        await api.ok("POST", CONFIGMAPS, {"metadata": {"name": "c"}})
        event = (await api.events())[-1]
    assert event["annotations"]["m.example.com/why"] == "because"
    assert event["annotations"]["mutation.webhook.admission.k8s.io/round_0_index_0"] == (
        '{"configuration":"m","webhook":"m.example.com","mutated":true}'
    )
