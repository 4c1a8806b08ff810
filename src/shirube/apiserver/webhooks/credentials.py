"""Who the server is to the webhooks that it calls: the users of a kubeconfig, each named after where it is shown.

The admission configuration of MutatingAdmissionWebhook and ValidatingAdmissionWebhook (WebhookAdmissionConfiguration)
names the file. A user is called `HOST:PORT`, or `HOST` for port 443; services are `NAME.NAMESPACE.svc`; `*.SUFFIX`
stands for every host below, `*` for all, and last comes the user of the current context. The most exact name wins,
in upstream's order (`AuthenticationInfoResolver`). Nobody is shown what another is: connections are kept apart.
See "Authenticate API servers" under "Dynamic Admission Control" in the upstream documentation.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shirube.apiserver.configuration_file import ConfigurationError, of_kind
from shirube.client.config import ConfigError, Identity, TokenFile, identities, show_certificate
from shirube.serving.tls import client_context

KINDS = (
    ("apiserver.config.k8s.io/v1", "WebhookAdmissionConfiguration"),
    ("apiserver.config.k8s.io/v1alpha1", "WebhookAdmission"),
)


class Credential:
    """One user: `name` tells its connections from others'."""

    def __init__(self, name: str, who: Identity) -> None:
        self.name = name
        self._who = who
        self._token_file = TokenFile(who.token_file) if who.token_file and not who.token else None

    def header(self) -> str:
        """The value of Authorization; "" for who shows a certificate only. Raises ConfigError."""
        if token := self._who.token or (self._token_file.current() if self._token_file is not None else ""):
            return f"Bearer {token}"
        if self._who.basic is not None:
            return "Basic " + base64.b64encode(":".join(self._who.basic).encode()).decode()
        return ""

    def show(self, context: ssl.SSLContext) -> None:
        show_certificate(context, self._who)


class Credentials:
    def __init__(self, users: dict[str, Identity], current: str, source: str = "") -> None:
        """`source` tells users of the same name in two files apart."""
        self._users = {name: Credential(f"{source}#{name}", who) for name, who in users.items()}
        self._current = current

    def of(self, host: str, port: int) -> Credential | None:
        """Whom to be there; None: nobody."""
        for name in _names(host, port):
            if (found := self._users.get(name)) is not None:
                return found
        return self._users.get("*") or self._users.get(self._current)


def _names(host: str, port: int) -> Iterator[str]:
    shown = f"[{host}]" if ":" in host else host
    targets = [f"{shown}:{port}"]
    if port == 443:
        targets.append(host)
    for target in targets:
        yield target
        labels = target.split(".")
        for n in range(1, len(labels)):
            yield "*." + ".".join(labels[n:])


def read_configuration(value: Any, where: str) -> Credentials:
    """Raises ConfigurationError."""
    fields = of_kind(value, where, KINDS)
    at, path = fields.at("kubeConfigFile"), fields.text("kubeConfigFile")
    fields.done()
    if not path:
        return Credentials({}, "")
    if not Path(path).is_absolute():
        raise ConfigurationError(f'{at}: Invalid value: "{path}": must be an absolute file path')
    try:
        users, current = identities(Path(path))
        for name, who in users.items():
            _usable(name, who)
    except ConfigError as error:
        raise ConfigurationError(f"{at}: {error}") from error
    return Credentials(users, current, path)


def _usable(name: str, who: Identity) -> None:
    """Told when the server starts rather than when a webhook is called. Raises ConfigError."""
    credential = Credential(name, who)
    credential.header()
    if bool(who.certificate_pem) is not bool(who.key_pem):
        raise ConfigError(f"user {name!r} needs both client-certificate and client-key")
    credential.show(client_context())
