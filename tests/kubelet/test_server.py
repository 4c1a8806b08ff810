"""The node agent's HTTPS API: who gets in, what they may, what is answered."""

from __future__ import annotations

import asyncio
import datetime
import socket
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from shirube.api.errors import ApiError
from shirube.foundation.clock import ManualClock
from shirube.foundation.tasks import spawn
from shirube.kubelet import stats_cgroup
from shirube.kubelet.cri.client import CriError
from shirube.kubelet.logs import LogOptions
from shirube.kubelet.runtime_state import Container, PodRuntime, Sandbox
from shirube.kubelet.server import ROUTES, NodeApi, requested_streams, serve
from shirube.kubelet.server_access import Access
from shirube.kubelet.server_logs import LogError, choose, log_options
from shirube.kubelet.stats import Snapshot
from shirube.kubelet.streaming_runtime import Streams
from shirube.serving.http import Request
from shirube.serving.http_client import upgrade
from shirube.serving.tls import client_context

UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")]


def pod_object(**more):
    return {
        "metadata": {"name": "web", "namespace": "default", "uid": "u1"},
        "spec": {"containers": [{"name": "app"}], **more},
        "status": {},
    }


def container(attempt=0, state="running", **more):
    return Container(f"id{attempt}", "app", attempt, state, "s", 1, **{"started_at": 1, **more})


class Pods:
    def __init__(self):
        self.pod = pod_object()
        self.runtime = PodRuntime((Sandbox("sandbox", 0, True, 1),), (container(),))

    def get(self, namespace, name):
        return self.pod if (namespace, name) == ("default", "web") else None

    def list(self):
        return [self.pod]

    def worker(self, namespace, name):
        return SimpleNamespace(runtime=self.runtime) if self.get(namespace, name) else None

    def container(self, namespace, name, container, previous=False):
        return self.runtime.latest(container)

    def running_containers(self):
        return iter(self.runtime.running())


class Api:
    """Answers reviews: tokens are names, and may what `grants` says."""

    def __init__(self, grants=()):
        self.grants = set(grants)
        self.reviews = []
        self.down = False

    async def create(self, gvr, obj):
        if self.down:
            raise ApiError(503, "ServiceUnavailable", "down")
        self.reviews.append(obj)
        spec = obj["spec"]
        if obj["kind"] == "TokenReview":
            if spec["token"] == "bad":
                return {"status": {"error": "unknown"}}
            user = {"username": spec["token"], "groups": ["g"], "extra": {"k": ["v"]}}
            return {"status": {"authenticated": True, "user": user}}
        asked = spec["resourceAttributes"]
        assert (asked["resource"], asked["name"]) == ("nodes", "node-1")
        return {"status": {"allowed": (spec["user"], asked["verb"], asked["subresource"]) in self.grants}}


class Runtime:
    def __init__(self, error=None):
        self.calls = []
        self.error = error

    async def call(self, method, **fields):
        self.calls.append((method, fields))
        raise self.error or CriError(method, "UNKNOWN", "enough is known")


class Usage:
    async def summary(self, cpu_and_memory_only):
        return {"cpu_and_memory_only": cpu_and_memory_only}

    async def cadvisor(self):
        return b""

    async def snapshot(self):
        return Snapshot(1.0, stats_cgroup.Usage(cpu=5_000_000_000), None, stats_cgroup.Usage(), ())

    def working_set(self):
        return 7

    def configuration(self):
        return {"kubeletconfig": {"maxPods": 9}}


def node_api(grants=(), runtime=None):
    clock, api = ManualClock(), Api(grants)
    agent = SimpleNamespace(clock=clock, client=api, pods=Pods(), runtime=runtime or Runtime(), usage=Usage())
    return NodeApi(agent, Access(api, "node-1", clock))


async def ask(api, target, user="ann", method="GET", headers=()):
    authorization = [("Authorization", f"Bearer {user}")] if user else []
    return await api.handle(Request.of(method, target, [*authorization, *headers]))


EVERYTHING = [("ann", verb, sub) for verb in ("get", "create") for sub in ("proxy", "metrics")]


# -- who and what


@pytest.mark.parametrize("user", ["", "bad"])
async def test_nobody_unknown_gets_in(user):
    answer = await ask(node_api(EVERYTHING), "/healthz", user)
    assert (answer.status, answer.body) == (401, b"Unauthorized")


async def test_every_route_is_refused_without_a_grant():
    api = node_api()
    for route in ROUTES:
        assert route.subresources
        target = "/" + "/".join("x" if part.startswith("{") else part for part in route.path)
        answer = await ask(api, target, method=route.methods[0], headers=UPGRADE)
        assert answer.status == 403, target
        assert answer.body.startswith(b"Forbidden (user=ann, verb=")
    assert api.agent.runtime.calls == []


async def test_every_route_is_served_with_its_grant():
    for route in ROUTES:
        for subresource in route.subresources:
            verb = route.verb or "get"
            api = node_api([("ann", verb, subresource)])
            target = "/" + "/".join("x" if part.startswith("{") else part for part in route.path)
            answer = await ask(api, target, method=route.methods[0], headers=UPGRADE)
            assert answer.status not in (401, 403), target


async def test_statistics_and_configuration_are_served():
    api = node_api(EVERYTHING + [("ann", "get", sub) for sub in ("stats", "metrics", "configz")])
    assert orjson.loads((await ask(api, "/stats/summary?only_cpu_and_memory=true")).body) == {
        "cpu_and_memory_only": True
    }
    text = (await ask(api, "/metrics/resource")).body
    assert b"node_cpu_usage_seconds_total 5 1000\n" in text and b"node_memory_working_set_bytes 7 1000\n" in text
    assert orjson.loads((await ask(api, "/configz")).body)["kubeletconfig"]["maxPods"] == 9


async def test_reading_a_node_is_not_enough_to_run_commands_on_it():
    api = node_api([("ann", "get", "proxy")])
    answer = await ask(api, "/exec/default/web/app?command=id&output=1", headers=UPGRADE)
    assert answer.status == 403
    assert b"verb=create" in answer.body


async def test_tokens_and_decisions_are_remembered_for_their_time():
    api = node_api([("ann", "get", "metrics")])
    clock, reviews = api.agent.clock, api.agent.client.reviews

    async def asked(target):
        before = len(reviews)
        await ask(api, target)
        return [review["kind"] for review in reviews[before:]]

    assert await asked("/metrics") == ["TokenReview", "SubjectAccessReview"]
    assert await asked("/metrics") == []
    assert await asked("/containerLogs/a/b/c") == ["SubjectAccessReview"]
    clock.advance(31)
    assert await asked("/containerLogs/a/b/c") == ["SubjectAccessReview"]  # denials are kept for less
    assert await asked("/metrics") == []
    clock.advance(90)
    assert await asked("/metrics") == ["TokenReview"]
    clock.advance(180)
    assert await asked("/metrics") == ["TokenReview", "SubjectAccessReview"]
    spec = reviews[-1]["spec"]
    assert (spec["user"], spec["groups"], spec["extra"]) == ("ann", ["g"], {"k": ["v"]})


async def test_without_the_api_server_nobody_new_gets_in():
    api = node_api(EVERYTHING)
    api.agent.client.down = True
    assert (await ask(api, "/healthz")).status == 401
    api.agent.client.down = False
    await ask(api, "/metrics")
    api.agent.client.down = True
    assert (await ask(api, "/metrics")).status == 200
    assert (await ask(api, "/containerLogs/a/b/c")).status == 500


# -- answers


async def test_plain_answers():
    api = node_api(EVERYTHING)
    assert (await ask(api, "/healthz")).body == b"ok"
    listed = orjson.loads((await ask(api, "/pods")).body)
    assert (listed["kind"], listed["items"][0]["metadata"]["name"]) == ("PodList", "web")
    text = (await ask(api, "/metrics")).body.decode()
    assert "kubelet_running_pods 1\n" in text
    assert 'kubelet_running_containers{container_state="running"} 1\n' in text
    assert 'kubelet_http_requests_total{path="/pods",code="200"} 1\n' in text


@pytest.mark.parametrize(
    ("method", "target", "status", "words"),
    [
        ("GET", "/nothing", 404, "404 page not found"),
        ("DELETE", "/pods", 403, "Forbidden"),
        ("POST", "/containerLogs/default/web/app", 405, "Method Not Allowed"),
        ("POST", "/run/default/web/app", 404, "use exec"),
        ("POST", "/exec/default/web/app?output=1", 400, "you must specify a command"),
        ("POST", "/exec/default/web/app?command=x", 400, "at least 1 of stdin, stdout, stderr"),
        ("POST", "/exec/default/web/other?command=x&output=1", 500, 'container not found ("other")'),
        ("POST", "/exec/default/gone/app?command=x&output=1", 404, "pod does not exist"),
        ("POST", "/exec/default/web/u2/app?command=x&output=1", 404, "pod not found"),
        ("POST", "/exec/default/web/u1/app?command=x&output=1", 500, "code = Unknown"),
        ("POST", "/attach/default/web/app?output=1", 500, "code = Unknown"),
        ("POST", "/portForward/default/web", 500, "code = Unknown"),
        ("POST", "/portForward/default/web/u2", 404, "pod not found"),
        ("GET", "/exec/default//app?command=x", 404, "404 page not found"),
    ],
)
async def test_answers_in_words(method, target, status, words):
    answer = await ask(node_api(EVERYTHING), target, method=method, headers=UPGRADE)
    assert answer.status == status
    assert words in answer.body.decode()


async def test_streams_need_an_upgrade():
    api = node_api(EVERYTHING)
    for target in ("/exec/default/web/app?command=x", "/attach/default/web/app", "/portForward/default/web"):
        answer = await ask(api, target, method="POST")
        assert (answer.status, answer.body) == (400, b"Upgrade request required")


async def test_a_busy_runtime_is_to_be_asked_again():
    api = node_api(EVERYTHING, Runtime(CriError("Exec", "RESOURCE_EXHAUSTED", "too many")))
    answer = await ask(api, "/exec/default/web/app?command=x&output=1", method="POST", headers=UPGRADE)
    assert (answer.status, answer.headers) == (429, [("Retry-After", "1")])


async def test_attach_takes_the_terminal_from_the_container():
    api = node_api(EVERYTHING)
    api.agent.pods.pod = pod_object(containers=[{"name": "app", "tty": True}])
    await ask(api, "/attach/default/web/app?input=1&output=1&error=1", method="POST", headers=UPGRADE)
    ((method, fields),) = api.agent.runtime.calls
    assert method == "Attach"
    assert fields == {"container_id": "id0", "stdin": True, "stdout": True, "stderr": False, "tty": True}


async def test_ports_of_websocket_channels_are_in_the_query():
    api = node_api(EVERYTHING)
    headers = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
    await ask(api, "/portForward/default/web?ports=80,81&ports=82", headers=headers)
    assert api.agent.runtime.calls[0][1]["port"] == [80, 81, 82]
    for bad in ("x", "0", "65536"):
        assert (await ask(api, f"/portForward/default/web?ports={bad}", headers=headers)).status == 400


def test_streams_in_the_words_of_agent_and_api():
    assert requested_streams("input=1&output=1&error=1") == Streams(True, True, True, False)
    assert requested_streams("stdin=true&stdout=true&stderr=true&tty=true") == Streams(True, True, False, True)
    assert requested_streams("input=0&stdout=false") == Streams()


# -- logs


def test_log_options_of_a_query():
    clock = ManualClock(1000.0)
    assert log_options("", clock) == (LogOptions(), False)
    query = "follow=true&tailLines=5&timestamps=true&limitBytes=9&previous=true&sinceSeconds=60"
    wanted = LogOptions(tail_lines=5, since=940.0, timestamps=True, limit_bytes=9, follow=True)
    assert log_options(query, clock) == (wanted, True)
    assert log_options("tail=all", clock)[0].tail_lines is None
    assert log_options("sinceTime=1970-01-01T00:10:00Z", clock)[0].since == 600.0


@pytest.mark.parametrize(
    "query",
    [
        "tailLines=x",
        "tailLines=-1",
        "limitBytes=0",
        "sinceSeconds=0",
        "sinceTime=yesterday",
        "sinceTime=2026-01-01T00:00:00Z&sinceSeconds=1",
        "follow=maybe",
        "stream=Both",
        "stream=Stdout&tailLines=1",
    ],
)
def test_bad_log_options_are_refused(query):
    with pytest.raises(LogError) as caught:
        log_options(query, ManualClock())
    assert caught.value.status in (400, 422)


@given(st.text(max_size=40))
def test_no_query_crashes_the_reader_of_log_options(query):
    try:
        log_options(query, ManualClock())
    except LogError as error:
        assert str(error)


def waiting(reason):
    pod = pod_object()
    pod["status"] = {"containerStatuses": [{"name": "app", "state": {"waiting": {"reason": reason}}}]}
    return pod


@pytest.mark.parametrize(
    ("pod", "words"),
    [
        (pod_object(), "ContainerCreating"),
        (pod_object(initContainers=[{"name": "i"}]), "PodInitializing"),
        (waiting("CreateContainerConfigError"), "CreateContainerConfigError"),
        (waiting("ErrImagePull"), "image can't be pulled"),
        (waiting("ImagePullBackOff"), "trying and failing to pull image"),
    ],
)
def test_a_container_without_a_log_says_why(pod, words):
    with pytest.raises(LogError) as caught:
        choose(pod, "app", [], previous=False)
    assert str(caught.value) == f'container "app" in pod "web" is waiting to start: {words}'


def test_which_attempt_is_meant():
    ended, newer = container(0, "exited"), container(1)
    assert choose(pod_object(), "app", [newer, ended], previous=False) is newer
    assert choose(pod_object(), "app", [newer, ended], previous=True) is ended
    # Between two runs the one that ended is both.
    backing_off = waiting("CrashLoopBackOff")
    assert choose(backing_off, "app", [ended], previous=False) is ended
    assert choose(backing_off, "app", [ended], previous=True) is ended
    with pytest.raises(LogError, match='previous terminated container "app" in pod "web" not found'):
        choose(pod_object(), "app", [newer], previous=True)


async def test_a_log_that_was_removed_is_said(tmp_path):
    api = node_api(EVERYTHING)
    api.agent.pods.runtime = PodRuntime((), (container(log_path=str(tmp_path / "0.log")),))
    answer = await ask(api, "/containerLogs/default/web/app")
    assert (answer.status, b"has been removed" in answer.body) == (400, True)
    (tmp_path / "0.log").write_text("2026-01-02T03:04:05.000000006Z stdout F hello\n")
    answer = await ask(api, "/containerLogs/default/web/app")
    assert b"".join([chunk async for chunk in answer.body]) == b"hello\n"


# -- over TLS


def authority(directory: Path):
    key = ec.generate_private_key(ec.SECP256R1())
    cert = _certificate("ca", "ca", (), key, key, ca=True)
    (directory / "ca.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    return key


def _certificate(name, issuer, groups, key, signer, ca=False):
    now = datetime.datetime.now(datetime.UTC)
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    subject += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    builder = x509.CertificateBuilder(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]),
        x509.Name(subject),
        key.public_key(),
        x509.random_serial_number(),
        now - datetime.timedelta(minutes=1),
        now + datetime.timedelta(hours=1),
    )
    builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def identity(directory: Path, signer, name, groups=()):
    key = ec.generate_private_key(ec.SECP256R1())
    cert = _certificate(name, "ca", groups, key, signer)
    paths = directory / f"{name}.pem", directory / f"{name}.key"
    paths[0].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    paths[1].write_bytes(key.private_bytes(*form))
    return paths


async def test_certificates_over_tls(tmp_path):
    signer = authority(tmp_path)
    server_cert, server_key = identity(tmp_path, signer, "node")
    api = Api([("bob", "get", "proxy")])
    agent = SimpleNamespace(clock=ManualClock(), client=api, pods=Pods(), runtime=Runtime())
    agent.clock._now = datetime.datetime.now(datetime.UTC).timestamp()
    options = SimpleNamespace(
        node_name="node-1", port=0, tls_cert=server_cert, tls_key=server_key, client_ca=tmp_path / "ca.pem"
    )
    stop = asyncio.Event()
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    serving = spawn(serve(agent, options, stop, [sock]), name="serving")

    async def get(target, who=()):
        tls = client_context(tmp_path / "ca.pem", *who)
        headers = [("Connection", "close")]
        answer = await upgrade("127.0.0.1", port, "GET", target, headers, tls, server_hostname="localhost")
        answer.connection.abort()
        return answer.status

    assert await get("/healthz", identity(tmp_path, signer, "admin", ["system:masters"])) == 200
    assert api.reviews == []
    assert await get("/healthz", identity(tmp_path, signer, "bob", ["dev"])) == 200
    assert api.reviews[-1]["spec"]["groups"] == ["dev", "system:authenticated"]
    assert await get("/metrics", identity(tmp_path, signer, "bob", ["dev"])) == 403
    assert await get("/healthz") == 401
    stop.set()
    await asyncio.wait_for(serving, 60)
