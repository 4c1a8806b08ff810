"""Pods that run `net_server`, and what these tests ask them through the API server's proxy."""

from __future__ import annotations

import json
import sys
import urllib.parse
from pathlib import Path
from typing import Any

from tests.cluster.conformance.api import Api, Obj
from tests.cluster.conformance.objects import container, pod, ready
from tests.waiting import eventually

HTTP, UDP = 8080, 8081
_SCRIPT = Path(__file__).with_name("net_server.py").read_text()
# This machine's Python in a container of an image without one.
_MOUNTS = {"python": (sys.base_prefix, sys.base_prefix), "lib": ("/usr/lib", "/lib"), "lib64": ("/usr/lib64", "/lib64")}


def server(name: str, labels: Any = None, *, ports: Any = None, serve: Any = None, env: Any = None, **spec: Any) -> Obj:
    """A pod that serves HTTP on 8080 and UDP on 8081, or what `serve` says ("http:80"); `ports` as in the API."""
    python = f"{sys.base_prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    wanted = serve or [f"http:{HTTP}", f"udp:{UDP}"]
    first = int(wanted[0].split(":")[1])
    made = container(
        command=[python, "-c", _SCRIPT, *wanted],
        ports=ports or [],
        env=env or [],
        volumeMounts=[{"name": v, "mountPath": inside, "readOnly": True} for v, (_, inside) in _MOUNTS.items()],
        securityContext={"runAsUser": 0},
        readinessProbe={"tcpSocket": {"port": first}, "periodSeconds": 1},
    )
    volumes = [{"name": v, "hostPath": {"path": outside}} for v, (outside, _) in _MOUNTS.items()]
    made_pod = pod(name, made, labels=labels, volumes=volumes, **spec)
    made_pod["spec"]["terminationGracePeriodSeconds"] = 0
    return made_pod


def start(api: Api, ns: str, *wanted: Obj) -> dict[str, Obj]:
    """Create the pods; all of them, by name, when they are ready."""
    pods = api.pods(ns)
    for one in wanted:
        pods.create(one)
    names = [one["metadata"]["name"] for one in wanted]

    def found() -> dict[str, Obj] | None:
        by_name = {p["metadata"]["name"]: p for p in pods.items()}
        return by_name if all(ready(by_name[n]) for n in names) else None

    return dict(eventually(found, f"pods {names} are ready", 60))


def ask(api: Api, ns: str, name: str, path: str, /, port: int = HTTP, **query: Any) -> Any:
    """What a pod's server answers, asked through the API server."""
    target = f"/api/v1/namespaces/{ns}/pods/{name}:{port}/proxy/{path}"
    answer = api.call("GET", target + ("?" + urllib.parse.urlencode(query) if query else ""))
    assert answer.code == 200, answer.body
    text = answer.body.decode()
    return json.loads(text) if text.startswith("{") else text


def dial(
    api: Api,
    ns: str,
    source: str,
    host: str,
    port: int,
    protocol: str = "http",
    request: str = "hostname",
    tries: int = 1,
) -> set[str]:
    """The distinct answers that `source` gets at an address; none when nobody answers."""
    via = {"port": 9080} if source.startswith("host-") else {}
    asked = {"host": host, "port": port, "protocol": protocol, "request": request, "tries": tries}
    target = f"dial?{urllib.parse.urlencode(asked)}"
    return set(ask(api, ns, source, target, **via)["answers"])


def reaches(api: Api, ns: str, source: str, host: str, port: int, names: set[str], protocol: str = "http") -> None:
    """Exactly these pods answer at the address in the end, every one of them."""
    seen: set[str] = set()

    def asked() -> bool:
        seen.update(dial(api, ns, source, host, port, protocol, tries=max(4, 4 * len(names))))
        return seen >= names

    eventually(asked, f"{source} gets answers of {names} at {protocol} {host}:{port}; so far {seen}")
    assert dial(api, ns, source, host, port, protocol, tries=6) <= names


def silent(api: Api, ns: str, source: str, host: str, port: int, protocol: str = "http") -> None:
    """Nobody answers at the address in the end."""
    eventually(lambda: not dial(api, ns, source, host, port, protocol), f"nobody answers at {protocol} {host}:{port}")


def query(api: Api, ns: str, source: str, name: str, kind: str = "A", *, search: bool = False) -> list[tuple[str, str]]:
    """(type, data) of the answers to a DNS question that the pod asks."""
    more = {"search": "1"} if search else {}
    return [(t, d) for t, d in ask(api, ns, source, "query", name=name, type=kind, **more)["answers"]]


def resolves(api: Api, ns: str, source: str, name: str, wanted: Any, kind: str = "A", *, search: bool = False) -> None:
    """The question has these answers (as a set of data) in the end."""
    eventually(
        lambda: {d for t, d in query(api, ns, source, name, kind, search=search) if t == kind} == set(wanted),
        f"{kind} {name} is {wanted}",
    )


def service(name: str, labels: Any = None, **spec: Any) -> Obj:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": labels or {}}, "spec": spec}
