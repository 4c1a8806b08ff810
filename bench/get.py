"""GET of pods with wrk: a thousand of them in turn, 32 connections, bearer token."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile

from bench.figure import Figure
from bench.processes import cpu_seconds
from bench.server import PODS
from bench.sharing import Shared

OBJECTS = 1000
READERS = 32
SECONDS = 5

_SCRIPT = """
local n, requests = 0, {{}}
init = function()
  for i = 0, {objects} - 1 do
    requests[i] = wrk.format("GET", "{path}/pod-" .. i, {{["Authorization"] = "Bearer {token}"}})
  end
end
request = function()
  n = (n + 1) % {objects}
  return requests[n]
end
"""


def run(shared: Shared) -> list[Figure]:
    what, command = f"GET of a pod, {READERS} readers (wrk)", "python -m bench get"
    wrk = shutil.which("wrk")
    if wrk is None:
        return [Figure(what, "wrk is missing: apt install wrk", "≥ 12,000/s", command)]
    server = shared.server
    server.at_least(OBJECTS)
    target = server.target
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_SCRIPT.format(objects=OBJECTS, path=PODS, token=target.token))
        script.flush()
        before = cpu_seconds(server.process.pid)
        done = subprocess.run(
            [wrk, "-t1", f"-c{READERS}", f"-d{SECONDS}s", "--latency", "-s", script.name, target.url],
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS + 30,
        )
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if rate is None:
        return [Figure(what, f"wrk failed: {done.stderr or done.stdout}", "≥ 12,000/s", command)]
    used = cpu_seconds(server.process.pid) - before
    count = re.search(r"(\d+) requests in", done.stdout)
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    value = f"{float(rate[1]):,.0f}/s" + (f" ({failed[1]} failed)" if failed else "")
    if p99 := re.search(r"99%\s+(\S+)", done.stdout):
        value += f", p99 {p99[1]}"
    if count:
        value += f", {used / int(count[1]) * 1e6:.0f} µs CPU"
    return [Figure(what, value, "≥ 12,000/s", command)]
