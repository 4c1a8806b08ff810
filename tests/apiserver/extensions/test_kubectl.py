"""Official kubectl against a served definition: its validation, its explanations, its tables."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from tests.ports import free_port
from tests.waiting import eventually

from .conftest import definition, spec_schema, version

ROOT = Path(__file__).parents[3]
Kubectl = Callable[..., str]


def _kubectl() -> str:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import kubectl
    finally:
        sys.path.pop(0)
    found = kubectl.cache() / "kubectl"
    if not found.exists():
        pytest.skip("kubectl is not here: .venv/bin/python tools/kubectl.py fetches it")
    return str(found)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Path]:
    """The kubeconfig of a server process."""
    _kubectl()
    folder = tmp_path_factory.mktemp("server")
    command = [sys.executable, "-m", "shirube", "server", "--data-dir", str(folder), "--port", str(free_port())]
    log = folder / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
    try:

        def ready() -> bool:
            assert process.poll() is None, log.read_text()
            return b"\nready" in log.read_bytes()

        eventually(ready, "the server is ready", 60)
        yield folder / "admin.kubeconfig"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def kubectl(server: Path) -> Kubectl:
    program = _kubectl()

    def run(*arguments: str, given: object = None, fails: bool = False) -> str:
        done = subprocess.run(
            [program, "--kubeconfig", str(server), *arguments],
            input=None if given is None else orjson.dumps(given),
            capture_output=True,
            timeout=30,
            check=False,
        )
        said = (done.stdout + done.stderr).decode()
        assert (done.returncode != 0) is fails, said
        return said

    return run


async def define(kubectl: Kubectl, plural: str, schema: dict, **more: object) -> None:
    """Create a definition and wait for it, off the loop."""
    obj = definition(version(schema=schema, **more), plural=plural)
    await asyncio.to_thread(kubectl, "create", "-f", "-", given=obj)
    name = obj["metadata"]["name"]
    await asyncio.to_thread(kubectl, "wait", "--for=condition=Established", "--timeout=10s", f"crd/{name}")


def custom(kind: str, name: str, **more: object) -> dict:
    return {"apiVersion": "stable.example.com/v1", "kind": kind, "metadata": {"name": name}, **more}


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] "
    "works for CRD with validation schema [Conformance]"
)
async def test_validation_and_explanations(kubectl):
    bar = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "description": "Name of Bar."},
            "feeling": {"type": "string", "enum": ["Great", "Down"]},
            "bazs": {"type": "array", "description": "List of Bazs.", "items": {"type": "string"}},
        },
    }
    schema = spec_schema(bars={"type": "array", "description": "List of Bars and their specs.", "items": bar})
    schema["description"] = "Foo CRD for Testing"
    await define(kubectl, "foos", schema)
    good = custom("Foo", "test-foo", spec={"bars": [{"name": "test-bar"}]})
    kubectl("create", "-f", "-", given=good)
    good["spec"]["bars"][0]["bazs"] = ["a"]
    kubectl("apply", "-f", "-", given=good)
    for verb in ("create", "apply"):
        unknown = custom("Foo", "bad", spec={"foo": True})
        assert 'unknown field "spec.foo"' in kubectl(verb, "-f", "-", given=unknown, fails=True)
        missing = custom("Foo", "bad", spec={"bars": [{"bazs": []}]})
        assert "spec.bars[0].name: Required value" in kubectl(verb, "-f", "-", given=missing, fails=True)
        wrong = custom("Foo", "bad", spec={"bars": [{"name": "x", "feeling": "Odd"}]})
        said = kubectl(verb, "-f", "-", given=wrong, fails=True)
        assert 'spec.bars[0].feeling: Unsupported value: "Odd": supported values: "Great", "Down"' in said
    assert "Foo CRD for Testing" in kubectl("explain", "foos")
    assert "creationTimestamp\t<string>" in kubectl("explain", "foos.metadata")
    assert "List of Bars and their specs." in kubectl("explain", "foos.spec")
    bars = kubectl("explain", "foos.spec.bars")
    assert "name\t<string> -required-" in bars
    assert "Name of Bar." in bars
    assert "List of Bazs." in kubectl("explain", "foos.spec.bars.bazs")
    assert 'field "bars2" does not exist' in kubectl("explain", "foos.spec.bars2", fails=True)
    kubectl("delete", "foo", "test-foo")


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] "
    "works for CRD preserving unknown fields at the schema root [Conformance]"
)
@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] "
    "works for CRD without validation schema [Conformance]"
)
async def test_unknown_fields_at_the_root(kubectl):
    await define(kubectl, "waldos", {"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    obj = custom("Waldo", "w", a={"b": [{"c": "d"}]})
    kubectl("create", "-f", "-", given=obj)
    kubectl("apply", "-f", "-", given={**obj, "a": {"b": []}})
    assert kubectl("get", "waldo", "w", "-o", "jsonpath={.a}") == '{"b":[]}'
    explained = kubectl("explain", "waldos")
    assert "KIND:       Waldo" in explained
    assert "DESCRIPTION:\n    <empty>" in explained


@pytest.mark.conformance(
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] "
    "works for CRD preserving unknown fields in an embedded object [Conformance]"
)
async def test_unknown_fields_in_a_nested_object(kubectl):
    schema = spec_schema(dummy={"type": "object"})
    schema["description"] = "preserve-unknown-properties in nested field for Testing"
    schema["properties"]["spec"] |= {
        "description": "Specification of Fred",
        "x-kubernetes-preserve-unknown-fields": True,
    }
    await define(kubectl, "freds", schema)
    obj = custom("Fred", "f", spec={"a": 1, "b": [{"c": "d"}]})
    kubectl("create", "-f", "-", given=obj)
    kubectl("apply", "-f", "-", given=obj)
    assert "unknown field" in kubectl("create", "-f", "-", given=custom("Fred", "g", other=1), fails=True)
    assert "preserve-unknown-properties in nested field" in kubectl("explain", "freds")
    assert "Specification of Fred" in kubectl("explain", "freds.spec")


async def test_columns_scale_and_short_names(kubectl):
    scale = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
    columns = [{"name": "Wanted", "type": "integer", "jsonPath": ".spec.replicas"}]
    await define(
        kubectl,
        "sets",
        spec_schema(replicas={"type": "integer"}),
        subresources={"scale": scale, "status": {}},
        additionalPrinterColumns=columns,
    )
    kubectl("create", "-f", "-", given=custom("Set", "s", spec={"replicas": 1}))
    kubectl("scale", "set/s", "--replicas=4")
    assert kubectl("get", "sets").split() == ["NAME", "WANTED", "s", "4"]
    kubectl("delete", "crd", "sets.stable.example.com", "--timeout=10s")
    assert "could not find the requested resource" in kubectl("get", "sets", fails=True)
