"""The status of validating policies on the real API server: what is wrong with them, once and again."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.controllers.conftest import House
from tests.controllers.live import Live, live
from tests.simulation.identity_stories import crank_definition
from tests.waiting import until

from shirube.api.errors import ApiError
from shirube.api.gvr import CUSTOMRESOURCEDEFINITIONS, VALIDATINGADMISSIONPOLICIES
from shirube.client.rest import Client, unreachable
from shirube.controllers.validating_policy_status import (
    PublishedTypes,
    ValidatingPolicyStatusController,
    status_change,
)

NAME = "validatingadmissionpolicy-status-controller"


def policy(name: str, group: str, resource: str, **spec: Any) -> dict[str, Any]:
    rule = {"apiGroups": [group], "apiVersions": ["v1"], "resources": [resource], "operations": ["*"]}
    return {"metadata": {"name": name}, "spec": {"matchConstraints": {"resourceRules": [rule]}, **spec}}


async def checked(client: Client, name: str, generation: int = 1) -> list[tuple[str, str]]:
    """(what, first line of what is wrong with it) once this generation has been looked at."""

    async def looked_at() -> Any:
        status = (await client.get(VALIDATINGADMISSIONPOLICIES, name)).get("status") or {}
        return status if status.get("observedGeneration") == generation and "typeChecking" in status else None

    status = await until(looked_at, 10)
    found = status["typeChecking"].get("expressionWarnings") or []
    return [(w["fieldRef"], w["warning"].splitlines()[0]) for w in found]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Live]:
    async with live(tmp_path) as house, house.controllers(only=NAME):
        yield house
    refused = {entry for entry in house.tokens.log if entry[2] in (401, 403)}
    assert not refused, "the controller has the rights that it needs"


async def test_warnings_come_and_go_with_the_policy(house: Live):
    expressions = [
        {"expression": "object.spec.replicas > 1", "messageExpression": "'at ' + object.name"},
        {"expression": "true &&\n object.spec.replicas == '1'"},
    ]
    variables = [{"name": "n", "expression": "object.spec.size"}]
    made = policy("typed", "apps", "deployments", validations=expressions, variables=variables)
    await house.admin.create(VALIDATINGADMISSIONPOLICIES, made)
    where = "apps/v1, Kind=Deployment: ERROR: <input>"
    assert await checked(house.admin, "typed") == [
        ("spec.validations[0].messageExpression", f"{where}:1:15: undefined field 'name'"),
        (
            "spec.validations[1].expression",
            f"{where}:2:23: found no matching overload for '_==_' applied to '(int, string)'",
        ),
        ("spec.variables[0].expression", f"{where}:1:12: undefined field 'size'"),
    ]
    right = {"spec": {"variables": [], "validations": [{"expression": "object.spec.replicas > 1"}]}}
    await house.admin.patch(VALIDATINGADMISSIONPOLICIES, "typed", right)
    assert await checked(house.admin, "typed", 2) == []
    stored = await house.admin.get(VALIDATINGADMISSIONPOLICIES, "typed")
    assert stored["status"]["typeChecking"] == {}
    assert "validatingadmissionpolicy-status" in {entry["manager"] for entry in stored["metadata"]["managedFields"]}


async def test_a_policy_that_fits_is_told_so(house: Live):
    validations = [{"expression": "object.spec.replicas > 1"}]
    await house.admin.create(
        VALIDATINGADMISSIONPOLICIES, policy("right", "apps", "deployments", validations=validations)
    )
    await house.admin.create(VALIDATINGADMISSIONPOLICIES, policy("wide", "*", "deployments", validations=validations))
    await house.admin.create(VALIDATINGADMISSIONPOLICIES, policy("lost", "apps", "ships", validations=validations))
    for name in ("right", "wide", "lost"):
        assert await checked(house.admin, name) == []


async def test_custom_resources_are_looked_at_as_their_definitions_are(house: Live):
    """Not served yet, served, changed, gone."""
    admin = house.admin
    validations = [{"expression": "object.spec.size > 1 && object.spec.seize"}]
    await admin.create(VALIDATINGADMISSIONPOLICIES, policy("own", "t.example.com", "cranks", validations=validations))
    assert await checked(admin, "own") == []
    await admin.create(CUSTOMRESOURCEDEFINITIONS, crank_definition(size="integer"))

    def wrong(text: str) -> Any:
        async def found() -> bool:
            return text in "".join(line for _, line in await checked(admin, "own"))

        return found

    await until(wrong("t.example.com/v1, Kind=Crank: ERROR: <input>:1:36: undefined field 'seize'"), 10)
    version = crank_definition(size="string", seize="boolean")["spec"]["versions"]
    await admin.patch(CUSTOMRESOURCEDEFINITIONS, "cranks.t.example.com", {"spec": {"versions": version}})
    await until(wrong("found no matching overload for '_>_' applied to '(string, int)'"), 10)
    await admin.delete(CUSTOMRESOURCEDEFINITIONS, "cranks.t.example.com")

    async def forgotten() -> bool:
        return await checked(admin, "own") == []

    await until(forgotten, 10)


class Documents:
    """A server's documents; `silent` are those that it cannot give."""

    def __init__(self, documents: dict[str, Any]) -> None:
        self.documents = documents
        self.silent: set[str] = set()
        self.asked: list[str] = []

    async def raw(self, method: str, path: str) -> bytes:
        self.asked.append(path)
        if path in self.silent:
            raise unreachable(path)
        if path not in self.documents:
            raise ApiError(404, "NotFound", path)
        return orjson.dumps(self.documents[path])


def documents(*kinds: str) -> Documents:
    schemas = {
        kind: {
            "type": "object",
            "properties": {"spec": {"type": "string"}},
            "x-kubernetes-group-version-kind": [{"group": "x.io", "version": "v1", "kind": kind}],
        }
        for kind in kinds
    }
    return Documents(
        {
            "/apis/x.io/v1": {"resources": [{"name": kind.lower() + "s", "kind": kind} for kind in kinds]},
            "/openapi/v3": {"paths": {"apis/x.io/v1": {"serverRelativeURL": "/openapi/v3/apis/x.io/v1?hash=1"}}},
            "/openapi/v3/apis/x.io/v1": {"components": {"schemas": schemas}},
        }
    )


async def test_documents_are_read_once_for_what_they_say():
    server = documents("A", "B")
    types = PublishedTypes(server)  # type: ignore[arg-type]
    found, complete = await types.of(policy("p", "x.io", "as"))
    assert ([(m.api_version, m.kind) for m in found], complete) == ([("x.io/v1", "A")], True)
    await types.of(policy("q", "x.io", "as"))
    assert server.asked.count("/openapi/v3/apis/x.io/v1") == 1
    paths = server.documents["/openapi/v3"]["paths"]
    paths["apis/x.io/v1"]["serverRelativeURL"] = "/openapi/v3/apis/x.io/v1?hash=2"
    await types.of(policy("p", "x.io", "as"))
    assert server.asked.count("/openapi/v3/apis/x.io/v1") == 2


async def test_no_more_than_ten_kinds_of_a_policy():
    server = documents(*"ABCDEFGHIJKLM")
    made = policy("p", "x.io", "as")
    made["spec"]["matchConstraints"]["resourceRules"][0]["resources"] = [f"{c}s" for c in "abcdefghijklm"]
    found, _ = await PublishedTypes(server).of(made)  # type: ignore[arg-type]
    assert [m.kind for m in found] == list("ABCDEFGHIJ")


async def test_nothing_is_asked_for_policies_that_match_by_wildcards():
    server = documents()
    assert await PublishedTypes(server).of(policy("p", "*", "as")) == ([], True)  # type: ignore[arg-type]
    assert server.asked == []


async def test_a_server_that_is_silent_does_not_take_back_what_is_known():
    server = documents("A")
    server.silent = {"/apis/x.io/v1"}
    found, complete = await PublishedTypes(server).of(policy("p", "x.io", "as"))  # type: ignore[arg-type]
    assert (found, complete) == ([], False)
    known = {"observedGeneration": 1, "typeChecking": {"expressionWarnings": [{"fieldRef": "f", "warning": "w"}]}}
    told = {"metadata": {"generation": 1}, "status": known}
    assert status_change(told, [], complete=False) is None
    assert status_change(told, []) == {
        "status": {"observedGeneration": 1, "typeChecking": {"expressionWarnings": None}}
    }
    new = {"metadata": {"generation": 2}, "status": known}
    assert status_change(new, [], complete=False) is not None, "this generation has been seen all the same"


async def test_without_policies_nothing_is_loaded_for_them(client: Client):
    """A process without policies pays nothing for them."""
    loaded = {name for name in sys.modules if name.startswith("shirube.api.cel.type_checking")}
    for name in loaded:
        del sys.modules[name]
    quiet = House(client)
    async with quiet.running(ValidatingPolicyStatusController) as controllers:
        await client.create(CUSTOMRESOURCEDEFINITIONS, crank_definition(size="integer"))
        await quiet.settle(controllers)
    assert "shirube.api.cel.type_checking" not in sys.modules
