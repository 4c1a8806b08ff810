"""Carrying a question to a webhook and its answer back: by URL, or to a service through its EndpointSlices.

TLS always, verified against the configuration's caBundle (the system's authorities without one) and the name
`SERVICE.NAMESPACE.svc`. Redirects are not followed, nothing of the client's credentials is shown (the server's own say
`credentials`), and the whole call, resolving and handshake included, has `timeoutSeconds`. Connections are kept between
calls (`connections`).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from shirube.api.errors import ApiError
from shirube.apiserver.webhooks import services
from shirube.apiserver.webhooks.connections import Place, Pool
from shirube.apiserver.webhooks.credentials import Credential, Credentials
from shirube.client.config import ConfigError
from shirube.serving.tls import client_context

if TYPE_CHECKING:
    from shirube.apiserver.context import ServerContext

Json = dict[str, Any]

MAX_ANSWER = 16 << 20  # bytes
_MAX_CONTEXTS = 256
_AGENT = "kube-apiserver-admission"


class CallFailed(Exception):
    """No answer; the text says why, in upstream's words."""

    def __init__(self, why: str, code: int = 500) -> None:
        super().__init__(why)
        self.code = code


class Caller:
    """How a server reaches webhooks: keeps a TLS context for each caBundle and credential."""

    def __init__(self, server: ServerContext) -> None:
        self._server = server
        self._pool = Pool.of(server)
        self._contexts: dict[tuple[str, str], ssl.SSLContext] = {}
        self.credentials: Credentials | None = None

    def uid(self) -> str:
        """A name for one question."""
        return self._server.chance.uid()

    async def call(self, config: Json, body: bytes, timeout: float) -> bytes:
        """The body of the answer. Raises CallFailed."""
        shown = f"{_url(config)}?timeout={timeout:g}s"
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange(config, body, timeout)
        except CallFailed as error:
            raise CallFailed(f"failed to call webhook: {error}", error.code) from error
        except ApiError as error:
            why: str = error.message
        except TimeoutError:
            why = "context deadline exceeded"
        except ssl.SSLCertVerificationError as error:
            why = f"tls: failed to verify certificate: x509: {error.verify_message or error}"
        except (OSError, ValueError, ConfigError) as error:
            why = str(error) or type(error).__name__
        raise CallFailed(f'failed to call webhook: Post "{shown}": {why}')

    async def _exchange(self, config: Json, body: bytes, timeout: float) -> bytes:
        host, port, name, path = await self._where(config)
        bundle = config.get("caBundle") or ""
        headers = [
            ("Host", name if port == 443 else f"{name}:{port}"),
            ("Content-Type", "application/json"),
            ("Accept", "application/json, */*"),
            ("User-Agent", _AGENT),
        ]
        credential = self._credential(config, name, port)
        if credential is not None and (header := credential.header()):
            headers.append(("Authorization", header))
        place = Place(host, port, name, bundle, credential.name if credential is not None else "")
        target = f"{path}?timeout={timeout:g}s"
        tls = self.context(bundle, credential)
        status, data = await self._pool.post(place, tls, target, headers, body, MAX_ANSWER)
        if status == 200:
            return data
        if status == 404:
            raise CallFailed("the server could not find the requested resource", status)
        text = data[:2048].decode("utf-8", "replace").strip()
        if status >= 500:
            why = f'an error on the server ("{text}") has prevented the request from succeeding'
            raise CallFailed(why, status)
        raise CallFailed(f"the server rejected our request for an unknown reason ({status})", status)

    async def _where(self, config: Json) -> tuple[str, int, str, str]:
        """(address, port, name to verify, path)."""
        service = config.get("service")
        if service is not None:
            namespace, name = service["namespace"], service["name"]
            host, port = services.resolve(self._server, namespace, name, int(service.get("port") or 443))
            return host, port, f"{name}.{namespace}.svc", _path(service.get("path"))
        parts = urlsplit(config.get("url") or "")
        if parts.scheme != "https" or not parts.hostname:
            raise ValueError("the webhook has neither a service nor an https URL")
        return parts.hostname, parts.port or 443, parts.hostname, parts.path or "/"

    def _credential(self, config: Json, name: str, port: int) -> Credential | None:
        """Whom to be: by the service and its own port, not by where it is just now."""
        if self.credentials is None:
            return None
        service = config.get("service")
        return self.credentials.of(name, port if service is None else int(service.get("port") or 443))

    def context(self, bundle: str, credential: Credential | None = None) -> ssl.SSLContext:
        """The TLS context that trusts a caBundle (base64 of PEM; "": the system's) and shows a certificate if there is
        one."""
        key = (bundle, credential.name if credential is not None else "")
        context = self._contexts.get(key)
        if context is None:
            try:
                pem = base64.b64decode(bundle).decode("ascii")
                context = client_context(ca_data=pem or None)
            except (binascii.Error, UnicodeDecodeError, ssl.SSLError, ValueError) as error:
                raise ValueError(f"unable to load root certificates: {error}") from error
            # As Go: whatever is in the bundle is trusted, be it an authority or the certificate itself.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            if credential is not None:
                credential.show(context)
            if len(self._contexts) >= _MAX_CONTEXTS:
                self._contexts.clear()
            self._contexts[key] = context
        return context


def _url(config: Json) -> str:
    service = config.get("service")
    if service is None:
        return str(config.get("url") or "")
    where = f"{service.get('name')}.{service.get('namespace')}.svc:{service.get('port') or 443}"
    return f"https://{where}{_path(service.get('path'))}"


def _path(path: str | None) -> str:
    return path if path and path.startswith("/") else "/" + (path or "")
