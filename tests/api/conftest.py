"""What tests of kinds share: copy an object with one change, and run it through its strategy as the server does."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from shirube.api.errors import Cause
from shirube.api.kinds import strategy_of
from shirube.api.resources import BUILTIN
from shirube.api.strategy import Strategy

Obj = dict[str, Any]


class Rules:
    """The strategy of one resource, driven in the server's order. Objects given in are not changed."""

    def __init__(self, group: str, version: str, plural: str) -> None:
        resource = BUILTIN.by_path(group, version, plural)
        assert resource is not None
        self.strategy: Strategy = strategy_of(resource)
        self.namespaced = resource.namespaced

    def create(self, obj: Obj) -> tuple[Obj, list[Cause]]:
        new = json.loads(json.dumps(obj))
        new.setdefault("metadata", {}).setdefault("name", "x")
        new["metadata"].setdefault("uid", "0f0e0d0c-0000-4000-8000-000000000001")
        new["metadata"].setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        if self.namespaced:
            new["metadata"].setdefault("namespace", "default")
        self.strategy.default(new)
        self.strategy.prepare_for_create(new)
        return new, self.strategy.validate(new)

    def stored(self, obj: Obj) -> Obj:
        new, causes = self.create(obj)
        assert causes == []
        return new

    def update(self, new: Obj, old: Obj, part: str = "") -> tuple[Obj, list[Cause]]:
        new = json.loads(json.dumps(new))
        self.strategy.default(new)
        getattr(self.strategy, f"prepare_for_{part}update")(new, old)
        return new, getattr(self.strategy, f"validate_{part}update")(new, old)


def change(obj: Obj, path: str, value: Any) -> Obj:
    """A copy with the value at "spec.containers.0.name"; a value of ... takes the field away."""
    new = json.loads(json.dumps(obj))
    at: Any = new
    keys: list[Any] = [int(k) if k.isdigit() else k for k in path.split("/")]
    for key, following in pairwise(keys):
        if isinstance(at, dict):
            at = at.setdefault(key, [] if isinstance(following, int) else {})
        else:
            while len(at) <= key:
                at.append([] if isinstance(following, int) else {})
            at = at[key]
    if value is ...:
        del at[keys[-1]]
    elif isinstance(at, list) and len(at) == keys[-1]:
        at.append(value)
    else:
        at[keys[-1]] = value
    return new


@pytest.fixture
def rules():
    """``rules(group, version, plural)``: the strategy to be tried."""
    return Rules


@pytest.fixture
def altered():
    """``altered(obj, path, value)``: a copy with one change; paths are "spec/containers/0/name"."""
    return change


def _assert_cause(causes: list[Cause], field: str, message: str) -> None:
    shown = "\n".join(str(c) for c in causes)
    assert any(c.field == field and message in c.message for c in causes), f"want {field}: {message}\nhave {shown}"


@pytest.fixture
def assert_cause():
    """``assert_cause(causes, field, message)``: one of the causes is about the field and says the message."""
    return _assert_cause
