"""The serving certificate is taken anew when its file changes: renewals need no restart and end no connection.

Handshakes after the change show the new certificate. A pair that does not fit together (half written) leaves the old
one in place and is tried again at the next look.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from shirube.foundation import log

INTERVAL = 30.0  # seconds between two looks

_logger = log.get("apiserver")


def stamp(*files: Path) -> tuple[tuple[int, int], ...]:
    """What changes when a file does. Raises OSError."""
    return tuple((s.st_mtime_ns, s.st_ino) for s in (f.stat() for f in files))


async def keep(context: ssl.SSLContext, cert: Path, key: Path, interval: float = INTERVAL) -> None:
    """Until cancelled."""
    loaded = await asyncio.to_thread(stamp, cert, key)
    while True:
        await asyncio.sleep(interval)
        try:
            found = await asyncio.to_thread(stamp, cert, key)
            if found == loaded:
                continue
            _check(cert, key)
            context.load_cert_chain(str(cert), str(key))
        except (OSError, ssl.SSLError) as error:
            _logger.warning("cannot take the new serving certificate, keeping the old one", error=str(error))
            continue
        loaded = found
        _logger.info("took the new serving certificate", file=str(cert))


def _check(cert: Path, key: Path) -> None:
    """Into a context of its own first: one that fails half-way must not spoil the one in use."""
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(str(cert), str(key))
