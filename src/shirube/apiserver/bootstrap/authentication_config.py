"""`extension-apiserver-authentication` in kube-system: what servers behind this one need to believe whom we pass on.

Kept true while the server runs: authorities that are replaced on disk appear in it, and it comes back when somebody
deletes it. Several servers add up: an authority that another server wrote stays until it has expired, so that each
server's clients are believed everywhere. Follows upstream's cluster authentication trust controller.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from cryptography import x509

from shirube.api import gvr as g
from shirube.apiserver.bootstrap import objects
from shirube.apiserver.bootstrap.writing import key_of, new, put
from shirube.foundation import log
from shirube.storage.types import StorageError

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

_logger = log.get("bootstrap")
Json = dict[str, Any]

LOOK = 1.0  # seconds between two looks at files and ConfigMaps
_BUNDLES = ("client-ca-file", "requestheader-client-ca-file")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def wanted(ctx: ServerContext) -> Json:
    """The ConfigMap as this server alone would have it. Raises OSError."""
    ca, front = ctx.options.client_ca, ctx.options.front_proxy_ca
    return objects.authentication_config(ca.read_text() if ca else "", front.read_text() if front else "")[1]


async def keep(ctx: ServerContext) -> None:
    """Until cancelled."""
    seen: Any = None
    while True:
        await asyncio.sleep(LOOK)
        now = (ctx.reader.revision(g.CONFIGMAPS), _stamp(ctx.options.client_ca), _stamp(ctx.options.front_proxy_ca))
        if now == seen:
            continue
        try:
            await settle(ctx)
            seen = now
        except (OSError, StorageError, ValueError) as error:
            _logger.warning("cannot keep extension-apiserver-authentication", error=str(error))


def _stamp(path: Path | None) -> tuple[int, int] | None:
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size) if found is not None else None


async def settle(ctx: ServerContext) -> None:
    """Write what is missing. Raises OSError, StorageError, ValueError (a file holds no certificates)."""
    want = wanted(ctx)
    have = ctx.reader.get(g.CONFIGMAPS, "kube-system", want["metadata"]["name"])
    if have is not None and (have.get("data") or {}) == merged(want["data"], have.get("data") or {}, ctx.clock.now()):
        return  # as nearly always; decided from the cache
    key = key_of(ctx, g.CONFIGMAPS, want)
    kv = await ctx.storage.get(key)
    if kv is None:
        await put(ctx, key, new(ctx, want), 0)
        return
    stored = orjson.loads(kv.value)
    data = merged(want["data"], stored.get("data") or {}, ctx.clock.now())
    if data != stored.get("data"):
        await put(ctx, key, {**stored, "data": data}, kv.mod_revision)


def merged(want: Json, have: Json, now: float) -> Json:
    """Our settings; of others' authorities those that are still valid."""
    data = {**{k: v for k, v in have.items() if k in _BUNDLES}, **want}
    for name in _BUNDLES:
        if name in data:
            data[name] = bundle(want.get(name, ""), have.get(name, ""), now)
    return data


def bundle(ours: str, theirs: str, now: float) -> str:
    """Certificates of two bundles, ours first, each once, without those of others that have expired."""
    kept = [match[0] for match in _CERTIFICATE.finditer(ours)]
    for match in _CERTIFICATE.finditer(theirs):
        pem = match[0]
        if pem in kept:
            continue
        try:
            ends = x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc
        except ValueError:
            continue  # somebody's mistake: it helps nobody
        if ends.timestamp() > now:
            kept.append(pem)
    return "".join(pem + "\n" for pem in kept)
