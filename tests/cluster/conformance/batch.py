"""Many small pods at once: a module's pods are all created when its first test asks, and each test looks at its own.

A test with a parameter `case` describes one pod that runs to its end and what its log must show; what several tests
together cost is then little more than the slowest of the pods.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.conformance.api import Api, Obj, Refused
from tests.waiting import eventually

TOOLS = "localhost/tools:1"
_numbers = itertools.count(1)

# A line that the log must have; or how to make it from the pod and the node that it ran on.
Expected = str | Callable[[Obj, Obj], str]


def tool(script: str | None = None, name: str = "main", **more: Any) -> Obj:
    """A container of the tools image; with a script it runs that in a shell, as root."""
    command = {"command": ["/bin/sh", "-c", script]} if script is not None else {}
    return {"name": name, "image": TOOLS, **command, **more}


def tool_pod(*containers: Obj, name: str = "", metadata: Any = None, **spec: Any) -> Obj:
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": list(containers), **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **(metadata or {})}, "spec": spec}


@dataclass(frozen=True, eq=False)
class Case:
    """A pod that must succeed, and what the log of its first container must contain, line for line."""

    pod: Obj
    expected: tuple[Expected, ...]
    needs: tuple[Obj, ...] = ()  # ConfigMaps and Secrets, created before it in the same namespace
    name: str = field(default_factory=lambda: f"case-{next(_numbers)}")


class Batch:
    def __init__(self, api: Api, ns: str) -> None:
        self.api, self.ns = api, ns
        self.pods = api.pods(ns)

    def create(self, cases: Iterable[Case]) -> None:
        cases = list(cases)
        self.create_all(need for case in cases for need in case.needs)
        self.create_all({**case.pod, "metadata": {**case.pod["metadata"], "name": case.name}} for case in cases)

    def create_all(self, objects: Iterable[Obj]) -> None:
        """Pods, ConfigMaps and Secrets; what is there already stays (cases may share)."""
        plurals = {"Pod": "pods", "ConfigMap": "configmaps", "Secret": "secrets"}

        def create(obj: Obj) -> None:
            try:
                self.api.at("v1", plurals[obj["kind"]], self.ns).create(obj)
            except Refused as error:
                if error.reason != "AlreadyExists" or obj["kind"] == "Pod":
                    raise

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(create, objects))

    def log(self, name: str, container: str = "", **query: Any) -> str:
        if container:
            query["container"] = container
        return str(self.api.get(f"/api/v1/namespaces/{self.ns}/pods/{name}/log", **query))

    def until(self, name: str, condition: Callable[[Obj], Any], what: str, seconds: float = 60) -> Obj:
        """The pod once `condition` holds."""

        def found() -> Obj | None:
            pod = self.pods.get(name)
            assert condition(pod), pod.get("status")
            return pod

        return dict(eventually(found, f"pod {name} {what}", seconds))

    def ended(self, name: str, phase: str = "Succeeded", seconds: float = 60) -> Obj:
        pod = self.until(name, lambda pod: pod["status"]["phase"] in ("Succeeded", "Failed"), "ends", seconds)
        assert pod["status"]["phase"] == phase, (pod["status"], self.said(pod))
        return pod

    def said(self, pod: Obj) -> dict[str, str]:
        """The logs of all its containers, for messages of failed tests."""
        name, spec = pod["metadata"]["name"], pod["spec"]
        names = [c["name"] for c in (*spec.get("initContainers", ()), *spec["containers"])]
        return {
            one: self.api.call("GET", f"{self.pods._of(name, 'log')}?container={one}").body.decode() for one in names
        }

    def running(self, name: str, seconds: float = 60) -> Obj:
        return self.until(name, lambda pod: pod["status"]["phase"] == "Running", "runs", seconds)

    def check(self, case: Case) -> None:
        pod = self.ended(case.name)
        node = self.api.at("v1", "nodes").get(pod["spec"]["nodeName"])
        log = self.log(case.name, pod["spec"]["containers"][0]["name"])
        lines = log.splitlines()
        for expected in case.expected:
            line = expected if isinstance(expected, str) else expected(pod, node)
            assert line in lines, f"{line!r} is not in {log!r}"
