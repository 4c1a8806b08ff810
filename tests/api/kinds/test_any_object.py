"""Whatever passes the schema is judged, never crashed on: random objects of every kind, from their schemas."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from shirube.api import schema
from shirube.api.kinds import strategy_of
from shirube.api.resources import BUILTIN
from shirube.api.schema.types import Type
from shirube.api.table import table

STORED = [r for r in BUILTIN if not r.virtual]
WORDS = (
    "",
    "a",
    "A b",
    "a/b",
    "-",
    "..",
    "/x/../y",
    "10%",
    "1.2.3.4",
    "::1",
    "10.0.0.0/8",
    "Always",
    "None",
    "Exists",
    "0",
    "é",
)
NUMBERS = (0, 1, -1, 80, 65536, 2**31)
QUANTITIES = ("0", "1", "-1", "500m", "1Gi", 2, 0.5)
TIMES = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000001Z")
ROUNDS = 25


def made(kind: Type, chance: Random, depth: int) -> Any:
    """A random value of a type; the deeper, the emptier."""
    if kind.kind == "object":
        share = 0.5 if depth < 4 else 0.25
        chosen = [f for f in kind.properties if f in kind.required or chance.random() < share]
        if depth > 9:
            chosen = []
        return {f: made(kind.properties[f], chance, depth + 1) for f in chosen}
    if kind.kind in ("list", "map"):
        count = chance.choice((0, 1, 2)) if depth < 9 else 0
        assert kind.items is not None
        values = [made(kind.items, chance, depth + 1) for _ in range(count)]
        return values if kind.kind == "list" else dict(zip(chance.sample(WORDS, count), values, strict=True))
    if kind.kind == "string":
        return chance.choice(TIMES if kind.format == "date-time" else WORDS)
    if kind.kind == "boolean":
        return chance.random() < 0.5
    if kind.kind == "integer":
        return chance.choice(NUMBERS)
    if kind.kind == "number":
        return chance.random()
    if kind.kind == "int-or-string":
        return chance.choice((*NUMBERS, *WORDS))
    return chance.choice(QUANTITIES) if kind.kind == "quantity" else {"any": 1}


@pytest.mark.parametrize("resource", STORED, ids=[f"{r.group_version}/{r.name}" for r in STORED])
def test_random_objects_are_judged(resource):
    hub = BUILTIN.by_path(*resource.storage)
    kind, strategy = schema.type_of(hub.group, hub.version, hub.kind), strategy_of(resource)
    chance = Random(f"{resource.group}/{resource.name}")
    stored = []
    for _ in range(ROUNDS):
        obj = made(kind, chance, 0)
        obj["metadata"] = made(kind.properties["metadata"], chance, 2)
        obj["metadata"]["name"] = "x"
        strategy.default(obj)
        once = json.dumps(obj)
        strategy.default(obj)
        assert json.dumps(obj) == once, "defaulting twice changes nothing more"
        strategy.prepare_for_create(obj)
        strategy.validate(obj)
        strategy.warnings(obj)
        strategy.grace_period(obj, None)
        assert all(isinstance(v, str) for v in strategy.selectable_fields(obj).values())
        table(hub, [obj], 1_800_000_000.0)
        stored.append(json.dumps(obj))
    parts = [""] + (["status_"] if strategy.has_status else [])
    for before, after in zip(stored, reversed(stored), strict=True):
        for part in parts:
            old, new = json.loads(before), json.loads(after)
            strategy.default(new)
            getattr(strategy, f"prepare_for_{part}update")(new, old)
            getattr(strategy, f"validate_{part}update")(new, old)
            assert json.dumps(old) == before, "the old object is read-only"
        strategy.warnings(new, old)
