"""TLS contexts: 1.2 or newer everywhere, HTTP/1.1 by ALPN, client certificates verified where they are shown.

`client_auth`: "optional" takes connections without a certificate too (the API server: tokens), "required" does
not, "none" never asks. A certificate that the client CA did not sign ends the handshake.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal

# TLS 1.2 suites with forward secrecy and authenticated encryption; those of TLS 1.3 are all good.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

ClientAuth = Literal["optional", "required", "none"]


def server_context(
    cert: str | Path,
    key: str | Path,
    client_ca: str | Path | None = None,
    client_auth: ClientAuth = "optional",
) -> ssl.SSLContext:
    """For a listening socket; files are PEM. Raises OSError or ssl.SSLError when they cannot be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(str(cert), str(key))
    if client_ca is not None and client_auth != "none":
        context.load_verify_locations(str(client_ca))
        context.verify_mode = ssl.CERT_REQUIRED if client_auth == "required" else ssl.CERT_OPTIONAL
    return context


def client_context(
    ca: str | Path | None = None,
    cert: str | Path | None = None,
    key: str | Path | None = None,
    *,
    ca_data: str | None = None,
    insecure: bool = False,
) -> ssl.SSLContext:
    """For connecting: `ca` (a file) or `ca_data` (PEM text) signs the server; neither means the system's.

    `insecure` trusts any server; it exists for kubelets whose serving certificate nobody signed.
    """
    context = ssl.create_default_context(cafile=str(ca) if ca else None, cadata=ca_data)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert is not None:
        context.load_cert_chain(str(cert), str(key) if key else None)
    return context
