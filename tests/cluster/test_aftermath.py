"""What a killed run of the tests made is taken away: by its guard, or by the next run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests import aftermath
from tests.cluster.conftest import ROOT

from shirube.cluster import cgroups

pytestmark = pytest.mark.cluster

RUN = """
import os, signal, subprocess, sys
sys.path[:0] = sys.argv[2:]
from tests import aftermath
from shirube.cluster import cgroups

if sys.argv[1] == "guarded":
    aftermath.watch()
else:
    os.environ[aftermath.MARK] = str(os.getpid())
name = aftermath.NAME
subprocess.run(["ip", "netns", "add", f"{name}-x"], check=True)
folder = f"/tmp/shirube-{name}"
os.makedirs(f"{folder}/mounted")
subprocess.run(["mount", "-t", "tmpfs", "none", f"{folder}/mounted"], check=True)
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
subprocess.Popen(["sh", "-c", "sleep 1000 & exec sleep 1000"], start_new_session=True, **quiet)
forgetful = subprocess.Popen(["sleep", "1000"], env={}, **quiet)
for group in (f"/shirube/{name}/one", f"/{name}-nodes/children"):
    cgroups.create(group)
    cgroups.join(group, forgetful.pid)
print(os.getpid(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("who", ["guarded", "found later"])
def test_what_a_killed_run_made_is_taken_away(who):
    # Both pipes are read to their ends: until the guard has ended, too.
    done = subprocess.run(
        [sys.executable, "-c", RUN, who, str(ROOT), str(ROOT / "src")], capture_output=True, text=True, check=False
    )
    run = int(done.stdout)
    told = done.stderr
    if who != "guarded":
        assert run in aftermath.dead_runs() and not told
        told = "\n".join(aftermath.take_away(run))
    assert run not in aftermath.dead_runs() and aftermath.take_away(run) == []
    name = aftermath.name_of(run)
    kinds = ("process ", "cgroup shirube/", f"cgroup {name}-nodes", "mount ", "network namespace ", "folder ")
    assert all(kind in told for kind in kinds), told
    assert not cgroups.processes(f"/{name}-nodes") and not Path(f"/tmp/shirube-{name}").exists()
