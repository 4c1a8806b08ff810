"""A cluster of its own (name `bench`, its own home) for the figures that need nodes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from bench.server import free_port, request_as

ROOT = Path(__file__).parent.parent
NAME = "bench"
IMAGE = "localhost/hello:1"


class Cluster:
    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise RuntimeError("cannot start a cluster: run this as root")
        self.home = Path(tempfile.mkdtemp(prefix="shirube-bench-cluster-"))
        self.port = free_port()
        self._config: Any = None

    def shirube(self, *args: str, timeout: float = 90) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "shirube", *args],
            env={**os.environ, "SHIRUBE_HOME": str(self.home), "PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            cwd=ROOT,
        )
        if done.returncode != 0:
            raise RuntimeError(f"shirube {' '.join(args)}: {done.stderr or done.stdout}")
        return done.stdout

    def up(self) -> None:
        self.shirube("up", "--name", NAME, "--nodes", "1", "--port", str(self.port))
        self._config = None
        if not self.images_saved:
            self.shirube("image", "build", "examples/hello", "--name", NAME)

    @property
    def images_saved(self) -> bool:
        return any((self.home / "lib" / NAME / "images").glob("*hello*"))

    def forget_all_but_images(self) -> None:
        """Stop, and leave nothing but the saved images: the next `up` makes a new cluster."""
        images, kept = self.home / "lib" / NAME / "images", self.home / "images"
        shutil.copytree(images, kept)
        self.shirube("down", "--name", NAME, "--purge")
        images.parent.mkdir(parents=True, exist_ok=True)
        kept.rename(images)
        self._config = None

    def close(self) -> None:
        try:
            self.shirube("down", "--name", NAME, "--purge")
        finally:
            shutil.rmtree(self.home, ignore_errors=True)

    @property
    def config(self) -> Any:
        if self._config is None:
            self._config = yaml.safe_load(self.shirube("kubeconfig", "--name", NAME))
        return self._config

    def request(self, method: str, path: str, body: Any = None) -> Any:
        return request_as(self.config, method, path, body)

    def wait(self, what: str, condition: Any, timeout: float = 60) -> float:
        """Seconds until `condition()` holds, asked every 20 ms."""
        began = time.perf_counter()
        while not condition():
            if time.perf_counter() - began > timeout:
                raise RuntimeError(f"cannot wait for {what}: not there after {timeout} s")
            time.sleep(0.02)
        return time.perf_counter() - began
