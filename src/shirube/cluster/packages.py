"""The programs that a cluster runs on, and the Debian packages that bring them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from shirube.cluster.containerd import CNI_PLUGINS

# Program or file -> package. What `up` cannot do without.
REQUIRED = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
    "hostname": "hostname",
    "/usr/bin/catatonit": "catatonit",
    f"{CNI_PLUGINS}/bridge": "containernetworking-plugins",
}
# What is used where it is: the example's image, other runtimes, the way out for pods.
OPTIONAL = {"/bin/busybox": "busybox-static", "pasta": "passt", "crun": "crun", "runsc": "runsc"}


class PackageError(Exception):
    """Packages that are missing or cannot be installed; the message holds the command to run."""


def missing(table: dict[str, str]) -> list[str]:
    """Packages to install, sorted."""
    return sorted({package for program, package in table.items() if not _present(program)})


def _present(program: str) -> bool:
    return Path(program).exists() if program.startswith("/") else shutil.which(program, path=_path()) is not None


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def install(packages: list[str]) -> None:
    """Install Debian packages; raises PackageError with apt's own words."""
    if shutil.which("apt-get") is None:
        raise PackageError(
            f"cannot install {' '.join(packages)}: no apt-get here; install them with your system's tool"
        )
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = "\n".join(done.stderr.strip().splitlines()[-3:])
            raise PackageError(f"cannot install {' '.join(packages)}: `{' '.join(command)}` said: {said}")
