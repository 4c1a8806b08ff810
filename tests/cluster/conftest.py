"""One real cluster for all tests in this folder: namespaces, containerd, every component, official kubectl.

It lives under a home of its own, so it disturbs no cluster that is running, and takes everything away at the end, also
when a test fails. The machine is photographed before and after: `test_host.py` compares.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests import aftermath
from tests.ports import free_port
from tests.waiting import eventually

from shirube.cluster.layout import ClusterLayout

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import kubectl as official  # noqa: E402

# Clusters, namespaces, cgroups and folders are named after it: two runs on one machine, and what is left of a run that
# was killed, must not meet.
NAME = aftermath.NAME


def own_home(kind: str = "") -> Path:
    """A new SHIRUBE_HOME: short, for the paths of sockets are in it."""
    made = Path(f"/tmp/shirube-{NAME}{kind}")
    made.mkdir(mode=0o700)
    return made


@dataclass
class Cluster:
    home: Path
    port: int
    kubectl_program: str

    @property
    def layout(self) -> ClusterLayout:
        return ClusterLayout(NAME, self.home / "lib" / NAME, self.home / "run" / NAME)

    def shirube(self, *arguments: str, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "shirube", *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, "SHIRUBE_HOME": str(self.home)},
            check=False,
        )
        if check:
            assert done.returncode == 0, f"shirube {' '.join(arguments)}: {done.stderr}{done.stdout}"
        return done

    def up(self) -> subprocess.CompletedProcess[str]:
        return self.shirube("up", "--name", NAME, "--port", str(self.port), "--node-grace", "20")

    def run(self, *arguments: str, input: str | None = None, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """kubectl, whatever comes of it."""
        config = str(self.layout.admin_kubeconfig)
        return subprocess.run(
            [self.kubectl_program, "--kubeconfig", config, *arguments],
            input=input,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=ROOT,
            check=False,
        )

    def kubectl(self, *arguments: str, input: str | None = None, timeout: float = 300) -> str:
        """kubectl, which must succeed; its standard output."""
        done = self.run(*arguments, input=input, timeout=timeout)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}{done.stdout}"
        return done.stdout

    def fails(self, *arguments: str, input: str | None = None) -> str:
        """kubectl, which must fail; its standard error."""
        done = self.run(*arguments, input=input)
        assert done.returncode != 0, f"kubectl {' '.join(arguments)} succeeded: {done.stdout}"
        return done.stderr

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, text: str, *arguments: str) -> str:
        return self.kubectl("apply", *arguments, "-f", "-", input=text)

    def children(self) -> dict[str, dict[str, Any]]:
        found = json.loads(self.shirube("status", "--name", NAME, "-o", "json", check=False).stdout)
        return {c["name"]: c for c in found[0]["components"]}


@pytest.fixture(scope="session")
def host_before() -> dict[str, str]:
    return photograph()


@pytest.fixture(scope="session")
def cluster(host_before: dict[str, str]) -> Iterator[Cluster]:
    if os.geteuid() != 0:
        pytest.fail("cannot run the cluster tests: root is needed; run `sudo make test`")
    made = Cluster(own_home(), free_port(), str(official.program()))
    try:
        made.shirube("image", "build", "examples/hello", "--name", NAME)
        made.up()
    except BaseException:
        made.shirube("down", "--name", NAME, check=False)
        shutil.rmtree(made.home, ignore_errors=True)
        raise
    yield made
    down = made.shirube("down", "--name", NAME, check=False)
    if os.environ.get("SHIRUBE_KEEP_LOGS"):
        # (Under a name with which nobody takes them away.)
        print(f"logs are kept in {shutil.move(made.layout.logs, f'/tmp/logs-of-{NAME}')}")
    shutil.rmtree(made.home, ignore_errors=True)
    assert down.returncode == 0, down.stderr

    def as_before() -> bool:
        changed = differences(host_before, photograph())
        assert not changed, "the machine is not as it was before the cluster:\n" + "\n".join(changed)
        return True

    eventually(as_before, "nothing of the cluster is left", 10, pause=0.5)  # (what others do passes)


@pytest.fixture(scope="session")
def second_node(cluster: Cluster) -> Iterator[str]:
    """The name of a second node. Tests that want it come after those that do not, so it is made once."""
    name = cluster.shirube("node", "add", "--name", NAME).stdout.strip()
    yield name
    cluster.shirube("node", "rm", "--name", NAME, name)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mine = [item for item in items if "tests/cluster" in str(item.path)]

    def rank(item: pytest.Item) -> int:
        # What waits for the wall clock comes last of all.
        return 2 if item.path.name == "test_cron_job.py" else int("second_node" in getattr(item, "fixturenames", ()))

    places = [items.index(item) for item in mine]
    for place, item in zip(places, sorted(mine, key=rank), strict=True):
        items[place] = item


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace for one test, deleted afterwards without waiting."""
    name = "t-" + request.node.name.split("[")[0].removeprefix("test_").replace("_", "-")[:50].strip("-")
    cluster.kubectl("create", "namespace", name)
    account = ("get", "serviceaccount", "default", "-n", name)
    eventually(lambda: cluster.run(*account).returncode == 0, "the namespace has its service account")
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


_QUESTIONS = {
    "interfaces": "ip -o link | sed 's/ state .*//'",
    "addresses": "ip -o addr | sed 's/valid_lft.*//'",
    "routes": "ip route show table all",
    "rules": "ip rule",
    "firewall": "nft list ruleset",
    "sysctls": "cd /proc/sys/net && grep -rs . ipv4/conf ipv6/conf ipv4/ip_forward core | grep -v -e /stat -e flush",
    "mounts": f"cut -d' ' -f2- /proc/self/mounts | grep -e {NAME} -e '/run/netns ' -e netns/cni -e lib/cni || true",
    "namespaces": f"ls /run/netns 2>/dev/null | grep -E '^({NAME}|cni-)' || true",
    "cgroups": f"find /sys/fs/cgroup -maxdepth 3 -type d -path '*/shirube/{NAME}*'",
    "processes": f"ps -eo args | grep -F {NAME} | grep -v -e grep -e pytest || true",
    "files": "ls /run /var/lib /etc",
    "others": f"ls /run/netns 2>/dev/null | grep -vE '^({NAME}|cni-)' || true",
}
# Whoever needs them first makes them, and the last of those who know of that takes them away.
_SHARED = ("files: netns", "files: cni", "files: shirube", "mounts: /run/netns ")


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """A line for each line of a photograph that has gone ("-") or come ("+").

    Other clusters of this machine may come and go meanwhile: what all share is then not looked at."""
    passed_over = _SHARED if before["others"] or after["others"] else ()
    found = []
    for what in _QUESTIONS:
        if what == "others":
            continue
        was, is_now = Counter(before[what].splitlines()), Counter(after[what].splitlines())
        for sign, lines in (("-", was - is_now), ("+", is_now - was)):
            found += [
                f"{sign} {what}: {line}" for line in lines.elements() if not f"{what}: {line}".startswith(passed_over)
            ]
    return found


def photograph() -> dict[str, str]:
    """What of the machine must be as before when a cluster is gone."""
    found = {}
    for what, question in _QUESTIONS.items():
        found[what] = subprocess.run(["sh", "-c", question], capture_output=True, text=True, check=False).stdout
    return found
