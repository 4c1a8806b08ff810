"""How this server reaches an aggregated one: through its Service's endpoints, over TLS, as the front proxy.

The serving certificate is verified against the APIService's caBundle and the name `SERVICE.NAMESPACE.svc`, unless it
says `insecureSkipTLSVerify`. Our client certificate is what makes the other side believe the identity headers.
"""

from __future__ import annotations

import base64
import binascii
import ssl
from typing import TYPE_CHECKING, Any

from shirube.api import errors
from shirube.apiserver.subresources.passing import Place
from shirube.apiserver.webhooks import services
from shirube.serving.tls import client_context

if TYPE_CHECKING:
    from shirube.apiserver.aggregation import Remote
    from shirube.apiserver.context import ServerContext
    from shirube.apiserver.user import User

Json = dict[str, Any]
_CONTEXTS = "aggregation-tls"
_MAX_CONTEXTS = 256


def place(server: ServerContext, remote: Remote) -> Place:
    """One endpoint of the aggregated server. Raises ApiError 404, 503."""
    service = remote.spec["service"]
    namespace, name = service.get("namespace", ""), service.get("name", "")
    host, port = services.resolve(server, namespace, name, int(service.get("port") or 443))
    return Place(host, port, _context(server, remote.spec), f"{name}.{namespace}.svc")


def _context(server: ServerContext, spec: Json) -> ssl.SSLContext:
    bundle, insecure = spec.get("caBundle") or "", bool(spec.get("insecureSkipTLSVerify"))
    contexts: dict[Any, ssl.SSLContext] = server.extensions.setdefault(_CONTEXTS, {})
    options = server.options
    context = contexts.get((bundle, insecure))
    if context is None:
        try:
            pem = base64.b64decode(bundle).decode("ascii")
            context = client_context(
                cert=options.front_proxy_cert, key=options.front_proxy_key, ca_data=pem or None, insecure=insecure
            )
        except (binascii.Error, UnicodeDecodeError, ValueError, OSError) as error:
            raise errors.service_unavailable(f"cannot use the caBundle of the APIService: {error}") from error
        if not insecure:
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if len(contexts) >= _MAX_CONTEXTS:
            contexts.clear()
        contexts[bundle, insecure] = context
    return context


def identity(user: User) -> list[tuple[str, str]]:
    """Who asks, in the headers that only the front proxy may send."""
    out = [("X-Remote-User", user.name)]
    if user.uid:
        out.append(("X-Remote-Uid", user.uid))
    out += [("X-Remote-Group", group) for group in user.groups]
    for key, values in user.extra.items():
        out += [(f"X-Remote-Extra-{_escaped(key)}", value) for value in values]
    return out


_PLAIN = frozenset("!#$&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def _escaped(key: str) -> str:
    """A key of `extra` as part of a header's name: percent-encoded where a name may not hold it."""
    return "".join(c if c in _PLAIN else "".join(f"%{b:02X}" for b in c.encode()) for c in key)
