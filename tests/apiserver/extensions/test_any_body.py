"""Whatever a client sends as a custom resource is judged, never crashed on."""

from __future__ import annotations

import random
from typing import Any

from .conftest import CRONTABS, crontab, definition, spec_schema, version

LIST_MAP = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["k"],
    "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}},
}
SCHEMA = spec_schema(
    a={"type": "string", "nullable": True},
    b=LIST_MAP,
    c={"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
    d={"type": "object", "additionalProperties": {"type": "integer"}},
    e={"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
    f={"x-kubernetes-int-or-string": True},
    g={"type": "object", "properties": {"x": {"type": "object", "default": {}, "properties": {}}}},
)
SCHEMA["properties"]["spec"]["x-kubernetes-validations"] = [{"rule": "!has(self.b) || self.b.all(x, x.k != 'z')"}]
PIECES: list[Any] = [
    None,
    True,
    1,
    -1.5,
    "t",
    [],
    {},
    [None],
    ["a", "a"],
    [{"k": "a"}],
    [{"k": None}],
    [[1]],
    {"k": {}},
]
PIECES += [[{"k": "a"}, {"k": "a"}], {"x": None}, {"apiVersion": 1, "kind": [], "metadata": "m"}, {"metadata": []}]


async def test_random_bodies(api, install):
    await install(definition(version(schema=SCHEMA, subresources={"status": {}})))
    chance = random.Random(7)
    seen = set()
    for n in range(150):
        spec: Any = {key: chance.choice(PIECES) for key in "abcdefg" if chance.random() < 0.4}
        if chance.random() < 0.15:
            spec = chance.choice(PIECES)
        status: Any = chance.choice([None, {}, 1, {"s": chance.choice(PIECES)}])
        name = f"o{n % 20}"
        body = crontab(name, spec=spec, status=status)
        how = chance.choice(["post", "apply", "merge", "status", "json"])
        if how == "post":
            answer = await api.post(CRONTABS, body)
        elif how == "apply":
            target = f"{CRONTABS}/{name}?fieldManager=m&force=true"
            answer = await api.patch(target, body, kind="apply-patch+yaml")
        elif how == "json":
            answer = await api.patch(
                f"{CRONTABS}/{name}", [{"op": "add", "path": "/spec", "value": spec}], kind="json-patch+json"
            )
        else:
            part = "/status" if how == "status" else ""
            answer = await api.patch(f"{CRONTABS}/{name}{part}", {"spec": spec, "status": status})
        assert answer.status < 500, (how, body, answer.message)
        seen.add(answer.status)
    assert {200, 201, 404, 422} <= seen
    assert (await api.get(CRONTABS)).status == 200


async def test_metadata_that_is_no_object(api, install):
    await install(definition())
    for metadata in ("text", [], 1, None):
        answer = await api.post(CRONTABS, {**crontab("a"), "metadata": metadata})
        assert 400 <= answer.status < 500, answer.raw
