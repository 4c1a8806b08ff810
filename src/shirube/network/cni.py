"""The CNI configuration of a node, over the standard plugins. Pure.

`ptp` rather than `bridge`: each pod has a veth of its own and everything between pods is routed by the node. So Service
translation and policies see traffic between two pods of one node as well, without `br_netfilter`, whose switch is not
per namespace on older kernels. Masquerade is ours (`masquerade`), not the plugin's: it would call iptables.
A configuration that somebody else brought is left in place and ours is not written.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from shirube.foundation import address_family

FILE_NAME = "10-shirube.conflist"
_DATA = "ipam"


def configuration(pod_cidrs: Sequence[str], data_dir: Path, mtu: int, *, bandwidth: bool) -> dict[str, Any]:
    """The conflist for a node whose pods get an address of each of `pod_cidrs`, in their order. `mtu` in bytes.

    `bandwidth`: the plugin is there that keeps to `kubernetes.io/ingress-bandwidth` and `egress-bandwidth`.
    """
    limits = [{"type": "bandwidth", "capabilities": {"bandwidth": True}}] if bandwidth else []
    return {
        "cniVersion": "1.0.0",
        "name": "shirube",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "mtu": mtu,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": cidr}] for cidr in pod_cidrs],
                    "routes": [{"dst": address_family.of(cidr).everything} for cidr in pod_cidrs],
                    "dataDir": str(data_dir),
                },
            },
            *limits,
        ],
    }


def foreign(conf_dir: Path) -> str | None:
    """The first configuration in the directory that is not ours, if any: it wins."""
    names = sorted(p.name for p in conf_dir.glob("*.conf*")) if conf_dir.is_dir() else []
    return next((n for n in names if n != FILE_NAME), None)


def write(conf_dir: Path, bin_dir: Path, pod_cidrs: Sequence[str], mtu: int) -> bool:
    """Put the configuration in place (atomically); whether anything changed."""
    conf_dir.mkdir(parents=True, exist_ok=True)
    bandwidth = (bin_dir / "bandwidth").exists()
    conflist = configuration(pod_cidrs, conf_dir.parent / _DATA, mtu, bandwidth=bandwidth)
    wanted = orjson.dumps(conflist, option=orjson.OPT_INDENT_2)
    path = conf_dir / FILE_NAME
    if path.exists() and path.read_bytes() == wanted:
        return False
    temporary = conf_dir / f".{FILE_NAME}.new"
    temporary.write_bytes(wanted)
    os.replace(temporary, path)
    return True
