"""Kubeconfig files with everything embedded: they can be copied to another machine and still work.

The form is upstream's `Config` v1 ("Organizing Cluster Access Using kubeconfig Files"). Written as YAML that
`kubectl config` and people can read, mode 0600, by rename.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

import yaml


def write(
    path: Path | str,
    server: str,
    ca: Path | str,
    client_cert: Path | str,
    client_key: Path | str,
    name: str,
    *,
    user: str = "kubernetes-admin",
) -> None:
    """Write `path`: cluster and context `name`, reached at the URL `server`. `ca`, `client_*` are PEM files.

    A file that already says the same is left alone.
    """
    target = Path(path)
    text = render(server, ca, client_cert, client_key, name, user=user)
    if target.exists() and target.read_text() == text:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)
    os.replace(part, target)


def render(
    server: str,
    ca: Path | str,
    client_cert: Path | str,
    client_key: Path | str,
    name: str,
    *,
    user: str = "kubernetes-admin",
) -> str:
    """The text that `write` writes."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": _embedded(ca)}}],
        "users": [
            {
                "name": f"{user}@{name}",
                "user": {
                    "client-certificate-data": _embedded(client_cert),
                    "client-key-data": _embedded(client_key),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": f"{user}@{name}"}}],
        "current-context": name,
        "preferences": {},
    }
    return yaml.dump(config, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False, width=4096)


def _embedded(path: Path | str) -> str:
    return base64.b64encode(Path(path).read_bytes()).decode()
