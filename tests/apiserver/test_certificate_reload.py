"""A new serving certificate is shown without a restart."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl

from shirube.apiserver import certificate_reload
from shirube.cluster.certificates import ensure_pki
from shirube.foundation import tasks
from shirube.serving import tls
from shirube.serving.http import Server
from shirube.serving.messages import Response


async def shown(port: int) -> bytes:
    context = tls.client_context(insecure=True)
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return found


async def test_new_handshakes_show_the_new_certificate(tmp_path):
    pki = ensure_pki(tmp_path / "pki", cluster_name="t", api_names=[], api_addresses=[])
    cert, key = tmp_path / "a.crt", tmp_path / "a.key"
    shutil.copy(pki.apiserver.cert, cert)
    shutil.copy(pki.apiserver.key, key)
    context = tls.server_context(cert, key)

    async def handle(request):
        return Response(200, b"")

    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    server = Server(handle, tls=context)
    await server.start([sock])
    keeping = tasks.spawn(certificate_reload.keep(context, cert, key, 0.01), name="keep")
    try:
        port = sock.getsockname()[1]
        first, second = (ssl.PEM_cert_to_DER_cert(p.cert.read_text()) for p in (pki.apiserver, pki.admin))
        assert await shown(port) == first
        shutil.copy(pki.admin.cert, cert)  # without its key: the old pair stays
        os.utime(cert, ns=(1, 1))
        await asyncio.sleep(0.05)
        assert await shown(port) == first
        shutil.copy(pki.admin.key, key)
        async with asyncio.timeout(60):
            while await shown(port) != second:
                await asyncio.sleep(0.01)
    finally:
        await tasks.cancel(keeping)
        await server.drain(0.1)
