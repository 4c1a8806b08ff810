"""An API server from start to end: open the store, fill the caches, make the bootstrap objects, serve, drain.

`run` is the process (`shirube-apiserver`), `in_process` the same server without sockets, for tests and the
simulation: requests go straight into `ApiServer.handle`. Ready means: caches filled, bootstrap objects there. On
stop `/readyz` fails first, watches end, requests in flight finish, then the store is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from functools import partial

from shirube.api.errors import ApiError
from shirube.apiserver import bootstrap, certificate_reload, housekeeping, runtime_config
from shirube.apiserver.admission import Admission
from shirube.apiserver.aggregation import availability
from shirube.apiserver.authentication import Authenticator, legacy_tokens
from shirube.apiserver.authorization import Authorizer
from shirube.apiserver.caches import Caches
from shirube.apiserver.configuration_file import ConfigurationFile
from shirube.apiserver.context import ServerContext
from shirube.apiserver.discovery_cache import Documents
from shirube.apiserver.extensions import Definitions
from shirube.apiserver.fairness import Fairness
from shirube.apiserver.handle import ApiServer
from shirube.apiserver.health import Health
from shirube.apiserver.options import Options
from shirube.apiserver.reader import Reader
from shirube.apiserver.store import Store
from shirube.apiserver.webhooks import connections as webhook_connections
from shirube.foundation import log, process, tasks
from shirube.foundation.chance import Chance
from shirube.foundation.clock import SYSTEM, Clock
from shirube.serving import tls
from shirube.serving.http import Server
from shirube.storage import open_storage
from shirube.storage.types import Storage, StorageError

__all__ = ["Options", "assemble", "in_process", "run"]

_logger = log.get("apiserver")

BOOTSTRAP_RETRY = 1.0


def assemble(options: Options, storage: Storage, clock: Clock = SYSTEM, chance: Chance | None = None) -> ServerContext:
    """All parts of a server, joined. Nothing runs yet."""
    table = runtime_config.table_of(options.runtime_config)
    files: dict[str, ConfigurationFile] = {}
    encryption = None
    if options.encryption_config is not None:
        from shirube.apiserver.encryption import EncryptedStorage

        storage = encryption = EncryptedStorage(storage)
        files["encryption"] = ConfigurationFile(options.encryption_config, encryption.configure)
        files["encryption"].load()
    context = ServerContext(options, clock, chance or Chance(), table, storage, Caches(table, storage, clock))
    context.encryption, context.files = encryption, files
    context.started = clock.monotonic()
    context.reader = Reader(table, context.caches)
    context.store = Store(context)
    context.health = Health(context)
    context.documents = Documents(context)
    context.authenticator = Authenticator.of(context)
    if options.authentication_config is not None:
        files["authentication"] = ConfigurationFile(options.authentication_config, context.authenticator.configure)
        files["authentication"].load()
    context.authorizer = Authorizer.of(context)
    if options.authorization_config is not None:
        take = partial(context.authorizer.configure, clock=clock)
        files["authorization"] = ConfigurationFile(options.authorization_config, take)
        files["authorization"].load()
    context.admission = Admission.of(context)
    context.fairness = Fairness(context)
    if options.audit_policy is not None:
        from shirube.apiserver.audit import Auditor

        context.audit = Auditor.of(options, clock)
        files["audit"] = ConfigurationFile(options.audit_policy, context.audit.configure)
        files["audit"].load()
    return context


@contextlib.asynccontextmanager
async def in_process(
    options: Options,
    *,
    clock: Clock = SYSTEM,
    chance: Chance | None = None,
    storage: Storage | None = None,
) -> AsyncIterator[ApiServer]:
    """A server without sockets, bootstrapped; the store is `storage` or that of the options."""
    opened = storage if storage is not None else await _open(options, clock)
    context = assemble(options, opened, clock, chance)
    running: list[asyncio.Task[None]] = []
    try:
        await context.caches.start()
        await _bootstrap(context)
        running = await _background(context)
        yield ApiServer(context)
    finally:
        context.health.stopping = True
        end_watches(context)
        await tasks.cancel(*running)
        await bootstrap.leave(context)
        if context.audit is not None:
            await context.audit.close()
        await context.caches.close()
        if storage is None:
            await opened.close()


async def run(options: Options, stop: asyncio.Event, ready: Callable[[], None] | None = None) -> None:
    """Serve until `stop` is set. Raises OSError, StorageError, ValueError when it cannot start."""
    tls_context = None
    if options.tls_cert is not None and options.tls_key is not None:
        tls_context = tls.server_context(options.tls_cert, options.tls_key, options.client_ca)
        if options.front_proxy_ca is not None and options.client_ca is not None:
            tls_context.load_verify_locations(str(options.front_proxy_ca))
    sockets = options.sockets or [_listen(options.listen_host, options.listen_port)]
    storage = await _open(options, SYSTEM)
    context = assemble(options, storage)
    server = Server(ApiServer(context).handle, tls=tls_context)
    running: list[asyncio.Task[None]] = []
    try:
        await context.caches.start()
        await server.start(sockets)
        await _bootstrap(context, stop)
        running = await _background(context)
        if tls_context is not None and options.tls_cert is not None and options.tls_key is not None:
            reloading = certificate_reload.keep(tls_context, options.tls_cert, options.tls_key)
            running.append(tasks.spawn(reloading, name="certificate-reload"))
        process.settle_memory()
        _logger.info("serving", ports=",".join(map(str, server.ports)), tls=tls_context is not None)
        if ready is not None:
            ready()
        await stop.wait()
        _logger.info("stopping", connections=server.connections)
    finally:
        context.health.stopping = True
        end_watches(context)
        await server.drain(options.drain_seconds)
        await tasks.cancel(*running)
        if context.audit is not None:
            await context.audit.close()
        await context.caches.close()
        await storage.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise OSError(
            error.errno, f"cannot listen on {host}:{port}: {error.strerror}; is another server running?"
        ) from error
    return sock


async def _open(options: Options, clock: Clock) -> Storage:
    if options.datastore:
        return await open_storage(options.datastore, clock)
    options.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    return await open_storage(str(options.data_dir / "store.db"), clock)


async def _bootstrap(context: ServerContext, stop: asyncio.Event | None = None) -> None:
    """Make the bootstrap objects; a store that does not answer is tried again, readiness waits."""
    while stop is None or not stop.is_set():
        try:
            await bootstrap.ensure(context)
        except (StorageError, ApiError) as error:
            if stop is None:
                raise
            context.health.bootstrap_error = str(error)
            _logger.error("cannot write bootstrap objects, trying again", error=str(error))
            await asyncio.sleep(BOOTSTRAP_RETRY)
            continue
        revision = await context.storage.current_revision()
        for cache in context.caches:
            if cache.unreadable is None:
                await cache.wait_for(revision, 10)
        context.health.bootstrapped = True
        return


async def _background(context: ServerContext) -> list[asyncio.Task[None]]:
    definitions = Definitions(context)
    await definitions.load()
    tokens = context.authenticator.tokens
    noting = [legacy_tokens.keep(context, tokens.uses)] if tokens is not None else []
    return [
        tasks.spawn(definitions.run(), name="definitions"),
        tasks.spawn(bootstrap.keep(context), name="bootstrap-keep"),
        tasks.spawn(housekeeping.sweep_events(context), name="sweep-events"),
        tasks.spawn(housekeeping.compact_history(context), name="compact-history"),
        tasks.spawn(context.metrics.watch_loop(), name="loop-lag"),
        tasks.spawn(availability.keep(context), name="keep-api-services"),
        tasks.spawn(webhook_connections.keep(context), name="keep-webhook-connections"),
        *(tasks.spawn(writing, name="note-token-uses") for writing in noting),
        *(tasks.spawn(file.keep(), name=f"follow-{name}-configuration") for name, file in context.files.items()),
    ]


def end_watches(context: ServerContext) -> None:
    """Clients resume elsewhere, or here when it is back."""
    for watcher in list(context.watchers):
        watcher.end("the server is shutting down")
