"""Where the API server is and who we are: kubeconfig files and the in-cluster service account.

Follows https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/: the current
context names a cluster and a user; certificates, keys and CAs are files or embedded as base64 `…-data`.
Relative paths are relative to the kubeconfig. A token file is read again at most once a minute, as bound
tokens rotate.

Left out on purpose: exec and auth-provider plugins, proxies. A kubeconfig that needs them is refused by name.
"""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from shirube.foundation.clock import SYSTEM, Clock
from shirube.foundation.process import CannotRun

_IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TOKEN_FRESH_SECONDS = 60.0


class ConfigError(CannotRun):
    """The kubeconfig cannot be used; the message names the file, the entry and what to do."""


class TokenFile:
    """A bearer token kept in a file by somebody else; read again once a minute."""

    def __init__(self, path: str, clock: Clock = SYSTEM) -> None:
        self._path = path
        self._clock = clock
        self._token = ""
        self._read_at = float("-inf")

    def current(self) -> str:
        now = self._clock.monotonic()
        if now - self._read_at >= _TOKEN_FRESH_SECONDS:
            try:
                self._token = Path(self._path).read_text().strip()
                self._read_at = now
            except OSError as error:
                if not self._token:
                    raise ConfigError(f"cannot read token file {self._path}: {error.strerror}") from error
        return self._token


@dataclass(slots=True)
class KubeConfig:
    """One server and one identity. `tls` is None for a plain http:// server."""

    server: str
    tls: ssl.SSLContext | None = None
    token: str = ""
    token_file: str = ""
    basic: tuple[str, str] | None = None
    namespace: str = "default"
    ca_pem: bytes = field(default=b"", repr=False)
    tls_server_name: str = ""
    insecure: bool = False
    certificate_pem: bytes = field(default=b"", repr=False)  # of the client, with which `tls` was made

    @classmethod
    def load(cls, path: str | os.PathLike[str], context: str = "") -> KubeConfig:
        """Read a kubeconfig file. Raises ConfigError."""
        path = Path(path)
        return _from_document(_document(path), path, context)

    @classmethod
    def in_cluster(cls, directory: Path = _IN_CLUSTER) -> KubeConfig:
        """The service account that the kubelet mounts into every pod. Raises ConfigError outside of pods."""
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
        if not host or not port:
            raise ConfigError("cannot use the in-cluster configuration: KUBERNETES_SERVICE_HOST is not set")
        try:
            ca = (directory / "ca.crt").read_bytes()
            namespace = (directory / "namespace").read_text().strip()
        except OSError as error:
            raise ConfigError(f"cannot use the in-cluster configuration: {error}") from error
        bracketed = f"[{host}]" if ":" in host else host
        return cls(
            server=f"https://{bracketed}:{port}",
            tls=_tls_context(ca, Identity(), insecure=False),
            token_file=str(directory / "token"),
            namespace=namespace or "default",
            ca_pem=ca,
        )

    def without_certificate(self) -> KubeConfig:
        """The same server, nobody's identity: what a client with a token of its own starts from.

        A server looks at a client certificate before a token, so the two cannot share connections.
        """
        tls = _tls_context(self.ca_pem, Identity(), insecure=self.insecure) if self.tls else None
        return KubeConfig(
            server=self.server,
            tls=tls,
            namespace=self.namespace,
            ca_pem=self.ca_pem,
            tls_server_name=self.tls_server_name,
            insecure=self.insecure,
        )


@dataclass(frozen=True, slots=True)
class Identity:
    """One user of a kubeconfig."""

    token: str = field(default="", repr=False)
    token_file: str = ""
    basic: tuple[str, str] | None = field(default=None, repr=False)
    certificate_pem: bytes = field(default=b"", repr=False)
    key_pem: bytes = field(default=b"", repr=False)

    @property
    def pair(self) -> bytes:
        """Certificate and key as one PEM; empty unless there are both."""
        both = bool(self.certificate_pem and self.key_pem)
        return self.certificate_pem.rstrip(b"\n") + b"\n" + self.key_pem if both else b""


def identities(path: Path) -> tuple[dict[str, Identity], str]:
    """The users of a kubeconfig file by name, and the name of that of its current context ("": there is none), for
    whoever is somebody else at every place. Raises ConfigError."""
    document = _document(path)
    found: dict[str, Identity] = {}
    for entry in document.get("users") or []:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise ConfigError(f"cannot use kubeconfig {path}: a user has no name")
        found[entry["name"]] = _identity(_named(document, "users", "user", entry["name"], path), path)
    context = document.get("current-context")
    current = str(_named(document, "contexts", "context", context, path).get("user") or "") if context else ""
    if current and current not in found:
        raise ConfigError(f"cannot use kubeconfig {path}: it has no user named {current!r}")
    return found, current


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _document(path: Path) -> dict[str, Any]:
    try:
        document = yaml.load(path.read_bytes(), Loader=_Loader)  # noqa: S506 - the safe loader in C
    except OSError as error:
        raise ConfigError(f"cannot read kubeconfig {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"cannot parse kubeconfig {path}: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"cannot use kubeconfig {path}: it is not a mapping")
    return document


def _identity(user: dict[str, Any], path: Path) -> Identity:
    for plugin in ("exec", "auth-provider"):
        if user.get(plugin):
            raise ConfigError(f"cannot use kubeconfig {path}: credential plugins ({plugin}) are not supported")
    token_file = str(user.get("tokenFile") or "")
    return Identity(
        token=str(user.get("token") or ""),
        token_file=str(path.parent / token_file) if token_file else "",
        basic=(str(user["username"]), str(user.get("password") or "")) if user.get("username") else None,
        certificate_pem=_material(user, "client-certificate", path) or b"",
        key_pem=_material(user, "client-key", path) or b"",
    )


def _named(document: dict[str, Any], section: str, key: str, name: str, path: Path) -> dict[str, Any]:
    for entry in document.get(section) or []:
        if isinstance(entry, dict) and entry.get("name") == name:
            found = entry.get(key)
            return found if isinstance(found, dict) else {}
    raise ConfigError(f"cannot use kubeconfig {path}: it has no {key} named {name!r}")


def _from_document(document: dict[str, Any], path: Path, context_name: str) -> KubeConfig:
    context_name = context_name or document.get("current-context") or ""
    if not context_name:
        raise ConfigError(f"cannot use kubeconfig {path}: current-context is not set")
    context = _named(document, "contexts", "context", context_name, path)
    cluster = _named(document, "clusters", "cluster", context.get("cluster", ""), path)
    user = _named(document, "users", "user", context["user"], path) if context.get("user") else {}
    who = _identity(user, path)
    server = str(cluster.get("server") or "").rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise ConfigError(f"cannot use kubeconfig {path}: cluster server {server!r} is not an http(s) URL")
    insecure = bool(cluster.get("insecure-skip-tls-verify"))
    ca = _material(cluster, "certificate-authority", path)
    tls = _tls_context(ca, who, insecure=insecure) if server.startswith("https://") else None
    return KubeConfig(
        server=server,
        tls=tls,
        token=who.token,
        token_file=who.token_file,
        basic=who.basic,
        namespace=str(context.get("namespace") or "default"),
        ca_pem=ca or b"",
        tls_server_name=str(cluster.get("tls-server-name") or ""),
        certificate_pem=who.certificate_pem,
        insecure=insecure,
    )


def _material(section: dict[str, Any], name: str, path: Path) -> bytes | None:
    """A PEM that is embedded (`name-data`, base64) or in a file (`name`); embedded wins, as upstream."""
    if data := section.get(name + "-data"):
        try:
            return base64.b64decode(data, validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise ConfigError(f"cannot use kubeconfig {path}: {name}-data is not base64") from error
    if file := section.get(name):
        try:
            return (path.parent / str(file)).read_bytes()
        except OSError as error:
            raise ConfigError(f"cannot use kubeconfig {path}: {name}: {error}") from error
    return None


def _tls_context(ca: bytes | None, who: Identity, *, insecure: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca.decode() if ca else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    show_certificate(context, who)
    return context


def show_certificate(context: ssl.SSLContext, who: Identity) -> None:
    """`ssl` loads pairs from files only: through one that nobody else can read and that is gone at once. Raises
    ConfigError; does nothing for who has no certificate."""
    if not who.pair:
        return
    with tempfile.NamedTemporaryFile(prefix="shirube-", suffix=".pem") as file:
        file.write(who.pair)
        file.flush()
        try:
            context.load_cert_chain(file.name)
        except ssl.SSLError as error:
            raise ConfigError(f"cannot use the client certificate: it does not fit its key: {error.reason}") from error
