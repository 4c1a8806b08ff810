"""The process `shirube-kubelet`: options, the agent, its HTTPS server, and the certificates of both."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from shirube.client.rest import Client
from shirube.foundation import log
from shirube.foundation.process import settle_memory
from shirube.kubelet.agent import Agent, Options
from shirube.kubelet.certificate_rotation import CLIENT_SIGNER, SERVING_SIGNER, CertificateRotation, Wanted
from shirube.kubelet.server import serve, server_tls

__all__ = ["Options", "run"]

_logger = log.get("kubelet")


async def run(options: Options, stop: asyncio.Event) -> None:
    """Run the node agent until `stop` is set. Its pods go on running."""
    client = Client.from_kubeconfig(options.kubeconfig, "kubelet")
    try:
        agent = Agent(options, client)
        asyncio.get_running_loop().add_signal_handler(signal.SIGPWR, agent.shutdown.begin)
        settle_memory()
        tls = server_tls(options) if options.tls_cert else None
        async with asyncio.TaskGroup() as group:
            group.create_task(agent.run(stop), name="agent")
            if tls is not None:
                group.create_task(serve(agent, options, stop, tls=tls), name="server")
            else:
                _logger.warning("no serving certificate: logs, exec and port-forward are not served")
            rotations = [
                group.create_task(rotation, name="certificates") for rotation in _rotations(agent, client, tls)
            ]
            await stop.wait()
            for task in rotations:
                task.cancel()
    finally:
        await client.close()


def _rotations(agent: Agent, client: Client, tls: ssl.SSLContext | None) -> list[Coroutine[Any, Any, None]]:
    """What keeps the certificates young. A client without a certificate (a token, plain HTTP) has none to renew."""
    options, directory, found = agent.options, agent.paths.root / "pki", []
    config = client.config
    if config is not None and config.tls is not None and config.certificate_pem:
        wanted = Wanted(options.node_name, CLIENT_SIGNER)
        # Closing lets every connection begin anew, with the new certificate.
        rotation = CertificateRotation(
            client, agent.clock, wanted, directory / "kubelet-client-current.pem", [config.tls], client.close
        )
        found.append(rotation.run(config.certificate_pem))
    if tls is not None:
        wanted = Wanted(options.node_name, SERVING_SIGNER, (options.node_name,), agent.identity.ips)
        rotation = CertificateRotation(
            client, agent.clock, wanted, directory / "kubelet-server-current.pem", [tls], _nothing
        )
        found.append(rotation.run(Path(options.tls_cert).read_bytes()))
    return found


async def _nothing() -> None:
    """Connections of a server that are open keep the certificate that they were made with."""
