"""The directory of `--api-config`: files that say who may do what, each under a name of its own.

`authentication.yaml`, `authorization.yaml`, `encryption.yaml` and `audit-policy.yaml` are what upstream's server takes
as `--authentication-config`, `--authorization-config`, `--encryption-provider-config` and `--audit-policy-file`.
Each may be absent; any other YAML file is refused, so that a misspelt name does not leave a door open. The API server
follows the files while it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

FILES = {
    "authentication.yaml": "authentication_config",
    "authorization.yaml": "authorization_config",
    "encryption.yaml": "encryption_config",
    "audit-policy.yaml": "audit_policy",
}


class ApiConfigError(Exception):
    """The directory cannot be used; the message names the file and what is wrong."""


def options(directory: Path, audit_log: Path) -> dict[str, Any]:
    """The API server's options for what is in the directory. Raises ApiConfigError."""
    if not directory.is_dir():
        raise ApiConfigError(f"cannot use --api-config {directory}: it is not a directory")
    found = sorted(p.name for p in directory.iterdir() if p.suffix in (".yaml", ".yml", ".json"))
    unknown = [name for name in found if name not in FILES]
    if unknown:
        raise ApiConfigError(
            f"cannot use --api-config {directory}: {unknown[0]} is not a known name; known are {', '.join(FILES)}"
        )
    if not found:
        raise ApiConfigError(f"cannot use --api-config {directory}: it has none of {', '.join(FILES)}")
    made: dict[str, Any] = {FILES[name]: directory / name for name in found}
    if "audit_policy" in made:
        made["audit_log"] = audit_log
    return made


def check(directory: Path) -> None:
    """Read every file as the server will. Raises ApiConfigError."""
    for option, path in options(directory, directory).items():
        if option == "audit_log":
            continue
        try:
            _readers()[option](path.read_bytes())
        except OSError as error:
            raise ApiConfigError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise ApiConfigError(f"cannot use {path}: {error}") from error


def _readers() -> dict[str, Callable[[bytes], object]]:
    # The server's own; imported only when there is something to read.
    from shirube.apiserver.audit import policy
    from shirube.apiserver.authentication import configuration as authentication
    from shirube.apiserver.authorization import configuration as authorization
    from shirube.apiserver.encryption import configuration as encryption
    from shirube.apiserver.options import Options
    from shirube.foundation.clock import SYSTEM

    return {
        "authentication_config": lambda data: authentication.read(data, SYSTEM, (Options().issuer,)),
        "authorization_config": authorization.read,
        "encryption_config": encryption.read,
        "audit_policy": policy.read,
    }
