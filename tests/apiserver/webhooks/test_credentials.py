"""Whom the server is to webhooks: users of a kubeconfig by where they are shown."""

from __future__ import annotations

import base64
import contextlib
import socket

import pytest
import yaml
from tests.apiserver.admission.conftest import configuration
from tests.apiserver.conftest import ADMIN, Admins, Api

from shirube.apiserver.configuration_file import ConfigurationError
from shirube.apiserver.main import Options, in_process
from shirube.apiserver.webhooks.credentials import Credentials, read_configuration
from shirube.client.config import Identity
from shirube.foundation.chance import Chance
from shirube.serving import tls
from shirube.serving.http import Server

from .conftest import CONFIGMAPS, configmap, register, webhook

KIND = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "WebhookAdmissionConfiguration"}


@pytest.mark.parametrize(
    ("host", "port", "users", "who"),
    [
        ("hook.default.svc", 443, ["hook.default.svc:443", "hook.default.svc", "*"], "hook.default.svc:443"),
        ("hook.default.svc", 443, ["hook.default.svc", "*.default.svc", "*"], "hook.default.svc"),
        ("hook.default.svc", 443, ["*.svc", "*.default.svc", "*"], "*.default.svc"),
        ("hook.default.svc", 443, ["*.default.svc:443", "hook.default.svc"], "*.default.svc:443"),
        ("hook.default.svc", 8443, ["hook.default.svc", "*.default.svc:8443", "*"], "*.default.svc:8443"),
        ("hook.default.svc", 8443, ["hook.default.svc", "*.default.svc"], "current"),
        ("e.x", 443, ["*.svc", "*"], "*"),
        ("e.x", 443, [], "current"),
        ("fd00::1", 443, ["fd00::1"], "fd00::1"),
        ("fd00::1", 8443, ["[fd00::1]:8443"], "[fd00::1]:8443"),
    ],
)
def test_the_most_exact_name_wins(host, port, users, who):
    made = Credentials({name: Identity(token=name) for name in [*users, "current"]}, "current")
    assert made.of(host, port).header() == f"Bearer {who}"


def test_who_is_not_there_is_nobody():
    made = Credentials({"other.x": Identity(token="t"), "u": Identity(basic=("me", "secret"))}, "")
    assert made.of("e.x", 443) is None
    assert made.of("u", 443).header() == "Basic " + base64.b64encode(b"me:secret").decode()


def kubeconfig(path, current="", **users):
    named = [{"name": name, "user": user} for name, user in users.items()]
    document = {"apiVersion": "v1", "kind": "Config", "users": named}
    if current:
        document |= {"contexts": [{"name": "x", "context": {"user": current}}], "current-context": "x"}
    path.write_text(yaml.safe_dump(document))
    return str(path)


@pytest.mark.parametrize(
    ("user", "why"),
    [
        ({"exec": {"command": "login"}}, "credential plugins (exec) are not supported"),
        ({"auth-provider": {"name": "x"}}, "credential plugins (auth-provider) are not supported"),
        ({"tokenFile": "nowhere"}, "cannot read token file"),
        ({"client-certificate": "nowhere.crt"}, "client-certificate: "),
        ({"client-certificate-data": base64.b64encode(b"x").decode()}, "needs both client-certificate and client-key"),
        ({"client-key-data": "%"}, "client-key-data is not base64"),
    ],
)
def test_what_cannot_be_shown_is_told_at_the_start(tmp_path, user, why):
    path = kubeconfig(tmp_path / "config", **{"*": user})
    with pytest.raises(ConfigurationError) as caught:
        read_configuration({**KIND, "kubeConfigFile": path}, "")
    assert str(caught.value).startswith("kubeConfigFile: ") and why in str(caught.value)


def test_no_file_is_nobody(tmp_path):
    assert read_configuration(KIND, "").of("e.x", 443) is None
    with pytest.raises(ConfigurationError, match="it has no user named 'gone'"):
        read_configuration({**KIND, "kubeConfigFile": kubeconfig(tmp_path / "c", "gone")}, "")


@pytest.fixture
async def start(tmp_path, signing_key):
    """Servers whose mutating and validating webhooks have these kubeconfigs."""

    @contextlib.asynccontextmanager
    async def made(**files):
        plugins = {name: {**KIND, "kubeConfigFile": path} for name, path in files.items()}
        path = configuration(tmp_path / "admission.yaml", **plugins)
        options = Options(data_dir=tmp_path, service_account_key=signing_key, admission_control_config_file=path)
        async with in_process(options, chance=Chance(1)) as server:
            server.context.authenticator = Admins(ADMIN, server.context.authenticator)
            yield Api(server)

    return made


async def test_tokens_by_host_and_plugin(start, hook, tmp_path):
    (tmp_path / "token").write_text("from-a-file\n")
    here = f"127.0.0.1:{hook.port}"
    first = kubeconfig(tmp_path / "first", **{here: {"token": "of-mutating"}, "*": {"token": "wrong"}})
    second = kubeconfig(tmp_path / "second", "u", u={"tokenFile": "token"}, **{"other.x": {"token": "wrong"}})
    async with start(MutatingAdmissionWebhook=first, ValidatingAdmissionWebhook=second) as api:
        await register(api, "mutating", "m", webhook("m.example.com", hook.config("/m")))
        await register(api, "validating", "v", webhook("v.example.com", hook.config("/v")))
        for n in range(2):
            await api.ok("POST", CONFIGMAPS, configmap(f"c{n}"))
    heard = [(request.path, request.headers.get("authorization"), request.peer.port) for request in hook.heard]
    assert [(path, who) for path, who, _ in heard] == [("/m", "Bearer of-mutating"), ("/v", "Bearer from-a-file")] * 2
    assert heard[0][2] == heard[2][2] and heard[1][2] == heard[3][2], "connections are kept"
    assert heard[0][2] != heard[1][2], "and not shared between who is somebody else"


async def test_client_certificates(start, certificate, tmp_path, hook):
    """A webhook that lets nobody in without a certificate."""

    cert, key = certificate
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    server = Server(hook.handle, tls=tls.server_context(cert, key, cert, "required"))
    await server.start([sock])
    hook.port = sock.getsockname()[1]
    shown = {"client-certificate": str(cert), "client-key": str(key)}
    try:
        async with start(ValidatingAdmissionWebhook=kubeconfig(tmp_path / "c", **{"*": shown})) as api:
            await register(api, "validating", "v", webhook("v.example.com", hook.config()))
            await api.ok("POST", CONFIGMAPS, configmap("c"))
            await register(api, "mutating", "m", webhook("m.example.com", hook.config()))
            assert (await api.post(CONFIGMAPS, configmap("d"))).status == 500, "the other plugin has none"
    finally:
        await server.drain(0.1)
    assert hook.heard[0].headers.get("authorization") is None
