"""The main job of `make up`: the hello example on the running cluster, with official kubectl.

Builds the image, applies examples/hello.yaml, waits for the rollout, fetches the page through the Service from a pod
and through its NodePort from this machine, and prints what runs and what to try next.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tools")]

import kubectl  # noqa: E402

from shirube.cluster.layout import ClusterLayout  # noqa: E402
from shirube.cluster.progress import Progress  # noqa: E402

NODE_PORT = 30080


class StepFailed(Exception):
    """A step of the example failed; the message is what the program said."""


def run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode != 0:
        raise StepFailed(f"`{' '.join(argv)}` said: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def main() -> int:
    name = os.environ.get("SHIRUBE_NAME", "shirube")
    config = ClusterLayout.of(name).admin_kubeconfig
    progress = Progress()
    try:
        with progress.step("kubectl (official, cached outside the tree)"):
            program = str(kubectl.program())
        with progress.step("image localhost/hello:1, from this machine's files"):
            run(sys.executable, "-m", "shirube", "image", "build", "examples/hello", "--name", name)
        ctl = (program, "--kubeconfig", str(config))
        with progress.step("kubectl apply -f examples/hello.yaml"):
            run(*ctl, "apply", "-f", "examples/hello.yaml")
        with progress.step("rollout of 3 replicas"):
            run(*ctl, "-n", "hello", "rollout", "status", "deployment/hello", "--timeout=90s")
        with progress.step("the page from a pod, through the Service's name and ClusterIP"):
            inside = run(*ctl, "-n", "hello", "exec", "deploy/hello", "--", "wget", "-q", "-O-", "http://hello/")
        with progress.step(f"the page from this machine, through http://127.0.0.1:{NODE_PORT}/"):
            outside = fetch(f"http://127.0.0.1:{NODE_PORT}/")
    except (StepFailed, RuntimeError) as error:
        print(f"hello: {error}", file=sys.stderr)
        print(f"hello: `./shirube status --name {name}` says what is wrong", file=sys.stderr)
        return 1
    if inside != outside:
        print(f"hello: the pod got {inside!r}, this machine {outside!r}", file=sys.stderr)
        return 1
    print()
    print(outside)
    print(run(*ctl, "-n", "hello", "get", "nodes,pods,svc", "-o", "wide"))
    print("Try next:")
    print(f"  alias kubectl='{program} --kubeconfig {config}'")
    print("  kubectl -n hello scale deployment/hello --replicas=5 && kubectl -n hello get pods -w")
    print("  kubectl -n hello exec -it deploy/hello -- sh")
    print("  ./shirube status")
    return 0


def fetch(url: str) -> str:
    """The page; retried for a few seconds, as the port is opened by a watch on the Service."""
    deadline = time.monotonic() + 10
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                raise StepFailed(f"cannot fetch {url}: {error}") from error
            time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
