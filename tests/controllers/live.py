"""The real API server in this process, with RBAC on, and clients that speak to it without sockets."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.waiting import until

from shirube.api.gvr import SERVICEACCOUNTS
from shirube.apiserver.handle import ApiServer
from shirube.apiserver.main import in_process
from shirube.apiserver.options import Options
from shirube.client.rest import Client
from shirube.controllers.context import Context
from shirube.controllers.credentials import ServiceAccountToken
from shirube.controllers.main import build, run_controllers
from shirube.controllers.table import CONTROLLERS
from shirube.foundation.tasks import cancel, spawn
from shirube.serving.messages import Peer, Request, Response
from shirube.simulation.wire import Answer

_KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(user: str, *groups: str) -> bytes:
    """What TLS would hand over for this user."""
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, g) for g in groups]
    subject = x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, user)])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(_KEY.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(_KEY, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )


class InProcess:
    """Implements `client.rest.Transport`. `log` is every request: (method, path, status).

    `writes_left`: after so many writes the answers stop coming, as for a process that dies between two calls.
    """

    def __init__(self, server: ApiServer, der: bytes | None) -> None:
        self._server = server
        self._peer = Peer("127.0.0.1", 1, der)
        self.log: list[tuple[str, str, int]] = []
        self.writes_left: int | None = None
        self.dead = asyncio.Event()
        self.fixed: dict[str, bytes] = {}  # path -> what an aggregated server would answer

    async def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        request = Request.of(method, target, headers.items(), body or b"", self._peer)
        if (fixed := self.fixed.get(target.partition("?")[0])) is not None:
            return Answer(Response(200, fixed))
        response = await self._server.handle(request)
        assert isinstance(response, Response)
        self.log.append((method, target.partition("?")[0], response.status))
        if self.writes_left is not None and method != "GET" and "/events" not in target and "/token" not in target:
            self.writes_left -= 1
            if self.writes_left < 0:
                self.dead.set()
                await asyncio.Event().wait()
        return Answer(response)

    async def close(self) -> None:
        pass


class Live:
    def __init__(self, server: ApiServer, root_ca: Path) -> None:
        self.server = server
        self.root_ca = root_ca
        self.admin = self.client("kubernetes-admin", "system:masters")
        self.tokens = InProcess(server, None)

    def client(self, user: str, *groups: str) -> Client:
        return Client(InProcess(self.server, certificate(user, *groups)), user)

    async def furnished(self) -> bool:
        """Pods may be made in namespace default."""
        return bool((await self.admin.list(SERVICEACCOUNTS, "default"))["items"])

    async def once(self, method: str, path: str, body: dict[str, Any]) -> int:
        """The status of one request of an administrator, without a client's patience."""
        transport = InProcess(self.server, certificate("kubernetes-admin", "system:masters"))
        answer = await transport.send(method, path, {"Content-Type": "application/json"}, orjson.dumps(body))
        return answer.status

    @asynccontextmanager
    async def controllers(self, *, only: str = "", **options: Any) -> AsyncIterator[list[Any]]:
        """All of the table (or those named, comma separated), each with its own service account, as in a
        cluster."""
        own = self.client("system:kube-controller-manager")
        accounts: dict[str, Client] = {}

        def client_of(account: str) -> Client:
            if account not in accounts:
                accounts[account] = own.acting_as(
                    ServiceAccountToken(own, account), "kube-controller-manager", self.tokens
                )
            return accounts[account]

        options = {
            "root_ca": self.root_ca,
            "service_account_key": self.root_ca.parent / "sa.key",
            "signing_cert": self.root_ca,
            "signing_key": self.root_ca.parent / "ca.key",
            **options,
        }
        context = Context(own, client_of, **options)
        wanted = {"serviceaccount-controller", *only.split(",")} if only else set()
        controllers = build(context, [e for e in CONTROLLERS if not wanted or e.name in wanted])
        task = spawn(run_controllers(context, controllers), name="controllers")
        try:
            if only:
                await until(self.furnished, 10)
            yield controllers
            assert not task.done()
        finally:
            await cancel(task)
            await context.close()


@asynccontextmanager
async def live(directory: Path, **more: Any) -> AsyncIterator[Live]:
    """`more` are options of the API server."""
    key = directory / "sa.key"
    key.write_bytes(
        _KEY.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    ca = directory / "ca.crt"
    ca.write_text(ssl.DER_cert_to_PEM_cert(certificate("test-ca")))
    (directory / "ca.key").write_bytes(key.read_bytes())
    async with in_process(Options(data_dir=directory / "data", service_account_key=key, **more)) as server:
        yield Live(server, ca)
        await asyncio.sleep(0)
