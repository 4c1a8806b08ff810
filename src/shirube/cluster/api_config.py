"""The directory of `--api-config`: files that say who may do what, each under a name of its own.

`authentication.yaml`, `authorization.yaml`, `encryption.yaml`, `audit-policy.yaml` and `admission.yaml` are what
upstream's server takes as `--authentication-config`, `--authorization-config`, `--encryption-provider-config`,
`--audit-policy-file` and `--admission-control-config-file`. Each may be absent; any other YAML file is refused, so that
a misspelt name does not leave a door open, unless `admission.yaml` names it as the configuration of a plugin. The API
server follows the files while it runs, except for `admission.yaml`, which is read when it starts.
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
    "admission.yaml": "admission_control_config_file",
}


# What the cluster's own parts cannot be without: everything begins with the core group, leaders and nodes hold leases,
# Services lead to slices, node agents ask who somebody is and may and renew their certificates, `up` applies the rest.
NEEDED = (
    "v1",
    "apiregistration.k8s.io/v1",
    "authentication.k8s.io/v1",
    "authorization.k8s.io/v1",
    "certificates.k8s.io/v1",
    "coordination.k8s.io/v1",
    "discovery.k8s.io/v1",
    "rbac.authorization.k8s.io/v1",
    "storage.k8s.io/v1",
)


class ApiConfigError(Exception):
    """The directory cannot be used; the message names the file and what is wrong."""


def options(directory: Path, audit_log: Path) -> dict[str, Any]:
    """The API server's options for what is in the directory. Raises ApiConfigError."""
    if not directory.is_dir():
        raise ApiConfigError(f"cannot use --api-config {directory}: it is not a directory")
    found = sorted(p.name for p in directory.iterdir() if p.suffix in (".yaml", ".yml", ".json"))
    unknown = [name for name in found if name not in FILES]
    if unknown and "admission.yaml" in found:
        named = _named_by(directory / "admission.yaml")
        unknown = [name for name in unknown if directory / name not in named]
    found = [name for name in found if name in FILES]
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
            _readers(directory)[option](path.read_bytes())
        except OSError as error:
            raise ApiConfigError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise ApiConfigError(f"cannot use {path}: {error}") from error


def check_served(runtime_config: str) -> None:
    """Whether a cluster can be with that `--runtime-config`. Raises ApiConfigError, RuntimeConfigError."""
    from shirube.apiserver.runtime_config import turned_off

    missing = sorted({r.group_version for r in turned_off(runtime_config)} & set(NEEDED))
    if missing:
        raise ApiConfigError(
            f"cannot use --runtime-config {runtime_config}: a cluster cannot be without {', '.join(missing)}; "
            "`shirube server`, the API alone, can"
        )


def check_plugins(enable: str, disable: str, configuration: Path | None) -> None:
    """Whether admission plugins can be chosen and configured so. Raises ApiConfigError."""
    if not (enable or disable or configuration):
        return
    from shirube.apiserver.admission import configuration as admission
    from shirube.apiserver.admission import selection

    try:
        configured = admission.load(configuration) if configuration is not None else {}
        selection.chosen(enable, disable, configured)
    except ValueError as error:
        raise ApiConfigError(str(error)) from error


def _named_by(path: Path) -> list[Path]:
    from shirube.apiserver.admission import configuration as admission

    try:
        return admission.files(path.read_bytes(), path.parent)
    except OSError as error:
        raise ApiConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ApiConfigError(f"cannot use {path}: {error}") from error


def _readers(directory: Path) -> dict[str, Callable[[bytes], object]]:
    # The server's own; imported only when there is something to read.
    from shirube.apiserver.admission import configuration as admission
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
        "admission_control_config_file": lambda data: admission.read(data, directory),
    }
