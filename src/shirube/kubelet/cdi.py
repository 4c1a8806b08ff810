"""Container Device Interface: what a device named `vendor.com/class=name` needs in a container.

Specifications are files that drivers put into a few directories. containerd learnt to read them in 1.7, so the agent
does it itself and hands the runtime plain devices, mounts and variables. What CRI cannot carry (hooks, Intel RDT,
IDs of further groups) is refused, never dropped. Pure but for reading the files.
Follows https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from shirube.kubelet.device_allocation import DeviceError, Grant

# The later wins, as the specification has it.
DIRECTORIES = (Path("/etc/cdi"), Path("/var/run/cdi"))
_MOUNT_OPTIONS = {"ro", "rw", "bind", "rbind", "nosuid", "nodev", "rprivate", "private"}
_REFUSED = ("hooks", "intelRdt", "additionalGids", "netDevices")


def grant(ids: Sequence[str], directories: Iterable[Path] = DIRECTORIES) -> Grant:
    """What a container needs for these devices. Blocking; raises DeviceError."""
    wanted = list(dict.fromkeys(ids))
    found = Grant(wanted)
    specs = _specs(directories) if wanted else {}
    whole: set[str] = set()
    for name in wanted:
        kind, _, device = name.partition("=")
        spec = specs.get(kind)
        edits = next((d for d in (spec or {}).get("devices") or () if d.get("name") == device), None)
        if spec is None or edits is None:
            raise DeviceError(f"unresolvable CDI device {name}: no specification describes it")
        if kind not in whole:
            # Once for all devices of the kind.
            whole.add(kind)
            _add(found, name, spec.get("containerEdits") or {})
        _add(found, name, edits.get("containerEdits") or {})
    return found


def _specs(directories: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """The specifications by kind, those of one kind taken together."""
    found: dict[str, dict[str, Any]] = {}
    for directory in directories:
        for path in sorted(directory.glob("*")) if directory.is_dir() else ():
            if path.suffix not in (".json", ".yaml"):
                continue
            try:
                spec = yaml.safe_load(path.read_text())  # JSON is YAML
                kind, devices = str(spec["kind"]), list(spec.get("devices") or ())
            except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
                raise DeviceError(f"cannot read CDI specification {path}: {error!r}") from error
            known = found.setdefault(kind, {"devices": [], "containerEdits": {}})
            known["devices"] = devices + known["devices"]
            known["containerEdits"] = spec.get("containerEdits") or known["containerEdits"]
    return found


def _add(grant: Grant, name: str, edits: Mapping[str, Any]) -> None:
    if beyond := [part for part in _REFUSED if edits.get(part)]:
        raise DeviceError(f"CDI device {name} needs {', '.join(beyond)}, which cannot be given on this node")
    for variable in edits.get("env") or ():
        key, _, value = str(variable).partition("=")
        grant.envs[key] = value
    for node in edits.get("deviceNodes") or ():
        device = {
            "container_path": str(node["path"]),
            "host_path": str(node.get("hostPath") or node["path"]),
            "permissions": str(node.get("permissions") or "rwm"),
        }
        if device not in grant.devices:
            grant.devices.append(device)
    for mount in edits.get("mounts") or ():
        options = set(mount.get("options") or ())
        if strange := sorted(options - _MOUNT_OPTIONS):
            raise DeviceError(f"CDI device {name} needs mount options {', '.join(strange)}, which CRI cannot carry")
        made = {
            "container_path": str(mount["containerPath"]),
            "host_path": str(mount["hostPath"]),
            "readonly": "ro" in options,
            "propagation": "PROPAGATION_PRIVATE",
        }
        if made not in grant.mounts:
            grant.mounts.append(made)
