from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

import pytest
import yaml
from aiohttp import web
from tests.client.memory_api import MemoryApi
from tests.waiting import until

from shirube.api.errors import ApiError
from shirube.api.gvr import CONFIGMAPS, GVR, LEASES, NAMESPACES, SERVICEACCOUNTS
from shirube.apiserver.bootstrap import bindings, controller_roles
from shirube.client.controller import Controller
from shirube.client.informer import Informer
from shirube.client.rest import Client
from shirube.controllers.context import Context
from shirube.controllers.credentials import ServiceAccountToken
from shirube.controllers.main import Options, build, enabled, run
from shirube.controllers.table import CONTROLLERS, EVERYTHING, Row
from shirube.foundation.clock import ManualClock
from shirube.foundation.tasks import spawn

ROOM = Path(inspect.getfile(Context)).parent


@pytest.mark.parametrize("row", CONTROLLERS, ids=lambda row: row.name)
def test_every_row_can_be_built_and_says_all_that_its_controller_watches_and_acts_as(row, tmp_path: Path):
    ca = tmp_path / "ca.crt"
    ca.write_text("CA")
    accounts: list[str] = []
    watched: set[GVR] = set()

    class Told(Context):
        def informer(self, gvr: GVR, *, metadata_only: bool = False) -> Informer:
            watched.add(gvr)
            return super().informer(gvr, metadata_only=metadata_only)

    def client_of(account: str) -> Client:
        accounts.append(account)
        return client

    client = Client(MemoryApi(), "test")
    files = {"root_ca": ca, "signing_cert": ca, "signing_key": ca, "service_account_key": ca}
    (controller,) = build(Told(client, client_of, **files), [row])
    assert isinstance(controller, Controller)
    assert type(controller).reconcile is not Controller.reconcile
    assert set(row.watches) - {EVERYTHING} == watched
    assert set(row.accounts) == set(accounts)
    # The one that makes accounts' tokens acts as the controllers' own user, as upstream's does.
    assert accounts or row.name == "serviceaccount-token-controller"
    roles, namespaced = inspect.getsource(controller_roles), inspect.getsource(bindings)
    for account in accounts:
        assert f'"{account}"' in roles or f'"system:controller:{account}"' in namespaced, (
            "an account without a bootstrap role could do nothing"
        )


def test_a_controller_can_do_nothing_that_its_row_does_not_say():
    client = Client(MemoryApi(), "test")
    row = Row("a", "a", "A", ("account-of-a",), (CONFIGMAPS,))
    context = Context(client, lambda _: client).of(row)
    context.informer(CONFIGMAPS)
    context.client_of("account-of-a")
    with pytest.raises(ValueError, match="a watches namespaces, which its row of the table does not say"):
        context.informer(NAMESPACES)
    with pytest.raises(ValueError, match="a acts as account-of-b, which its row of the table does not say"):
        context.recorder("a", "account-of-b")


def test_names_are_unique_and_modules_exist():
    assert len({e.name for e in CONTROLLERS}) == len(CONTROLLERS)
    for row in CONTROLLERS:
        assert (ROOM / f"{row.module}.py").exists()


def test_controllers_are_chosen_by_name(tmp_path: Path):
    assert [e.name for e in enabled(Options("x", controllers=["deployment-controller"]))] == ["deployment-controller"]
    names = {e.name for e in enabled(Options("x", controllers=["*", "-namespace-controller"]))}
    assert "namespace-controller" not in names
    assert "root-ca-certificate-publisher-controller" not in names, "there is no CA to publish"
    with pytest.raises(ValueError, match="no such controller: nonsense"):
        enabled(Options("x", controllers=["nonsense"]))


class CountingApi(MemoryApi):
    def __init__(self) -> None:
        super().__init__()
        self.issued = 0

    def _subresource(self, key, subresource, body):
        self.issued += 1
        return super()._subresource(key, subresource, body)


async def test_tokens_are_made_when_needed_kept_renewed_and_replaced():
    api, clock = CountingApi(), ManualClock()
    client = Client(api, "test")
    bearer = ServiceAccountToken(client, "deployment-controller", clock)
    tokens = await asyncio.gather(bearer.token(), bearer.token())
    assert tokens[0] == tokens[1]
    assert api.issued == 1
    assert await client.get(SERVICEACCOUNTS, "deployment-controller", "kube-system")
    clock.advance(3600 * 0.79)
    await bearer.token()
    assert api.issued == 1
    clock.advance(3600 * 0.02)
    await bearer.token()
    assert api.issued == 2
    bearer.reject(await bearer.token())
    await bearer.token()
    assert api.issued == 3


async def test_a_rejected_token_is_replaced_once():
    api = MemoryApi()
    refused = iter([True])

    def fault(method: str, path: str) -> None:
        if "configmaps" in path and next(refused, False):
            raise ApiError(401, "Unauthorized", "Unauthorized")

    api.fault = fault
    client = Client(api, "test")
    acting = client.acting_as(ServiceAccountToken(client, "x"), "test")
    await acting.create(CONFIGMAPS, {"metadata": {"name": "a", "namespace": "b"}})


async def test_the_process_leads_works_and_stops(tmp_path: Path):
    """Over a real socket: kubeconfig, Lease, credentials, caches, a clean stop that releases the Lease."""
    api = MemoryApi()

    async def handle(request: web.Request) -> web.StreamResponse:
        answer = await api.send(request.method, str(request.rel_url), request.headers, await request.read())
        response = web.StreamResponse(status=answer.status)
        await response.prepare(request)
        async for chunk in answer.chunks():
            await response.write(chunk)
        return response

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    kubeconfig = tmp_path / "config"
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k"}}],
        "clusters": [{"name": "k", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
    }
    kubeconfig.write_text(yaml.safe_dump(document))
    client = Client(api, "test")
    await client.create(NAMESPACES, {"metadata": {"name": "default"}, "spec": {}, "status": {"phase": "Active"}})
    stop = asyncio.Event()
    options = Options(kubeconfig, controllers=["serviceaccount-controller"], identity="me")
    process = spawn(run(options, stop), name="controllers-process")

    async def made() -> bool:
        return any(o["metadata"]["name"] == "default" for o in (await client.list(SERVICEACCOUNTS))["items"])

    await until(made)
    stop.set()
    await process
    lease = await client.get(LEASES, "kube-controller-manager", "kube-system")
    assert lease["spec"]["holderIdentity"] == ""
    await api.close()
    await runner.cleanup()
