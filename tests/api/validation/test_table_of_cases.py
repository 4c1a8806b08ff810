"""Good and bad objects of every kind, against the rules that upstream has for them.

Each row of `cases/` changes one thing of an object that is good: a bad one names the cause that has to follow, field,
reason and words; every rule stands there once. `…` stands for what is not repeated (long patterns, whole objects).
"""

from __future__ import annotations

import json
from collections import Counter
from importlib import util
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shirube.api import protobuf, schema
from shirube.api.resources import BUILTIN

REASONS = {
    "Required value": "FieldValueRequired",
    "Invalid value": "FieldValueInvalid",
    "Unsupported value": "FieldValueNotSupported",
    "Duplicate value": "FieldValueDuplicate",
    "Forbidden": "FieldValueForbidden",
    "Too long": "FieldValueTooLong",
    "Too many": "FieldValueTooMany",
    "Not found": "FieldValueNotFound",
}


def _modules():
    for path in sorted((Path(__file__).parent / "cases").glob("*.py")):
        spec = util.spec_from_file_location(f"cases_of_{path.stem}", path)
        module = util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield path.stem, module


BASES, BAD, GOOD, UPDATES = {}, [], [], []
for stem, module in _modules():
    BASES.update({(stem, name): base for name, base in module.BASES.items()})
    BAD += [((stem, name), *row) for name, *row in module.BAD]
    GOOD += [((stem, name), *row) for name, *row in module.GOOD]
    UPDATES += [((stem, name), *row) for name, *row in getattr(module, "UPDATES", ())]


def ids(rows):
    return [f"{row[0][1]}-{i}-{row[-1] if isinstance(row[-1], str) else row[1]}"[:90] for i, row in enumerate(rows)]


def meets(cause, wanted):
    """Whether a cause says what the table wants, with `…` for anything."""
    field, _, message = wanted.partition(": ")
    if cause.field != field:
        return False
    first, *rest = message.split("…")
    if not cause.message.startswith(first):
        return False
    at = len(first)
    for part in rest:
        at = cause.message.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return bool(rest and not rest[-1]) or at == len(cause.message) or cause.message.endswith(rest[-1] if rest else "\0")


def altered_by(altered, obj, path, value):
    for at, new in path.items() if isinstance(path, dict) else [(path, value)]:
        obj = altered(obj, at, new)
    return obj


def assert_meets(causes, wanted):
    shown = "\n".join(str(c) for c in causes)
    found = [c for c in causes if meets(c, wanted)]
    assert found, f"want {wanted}\nhave {shown}"
    title = wanted.partition(": ")[2].partition(":")[0]
    if not title.startswith("…"):
        assert found[0].reason == REASONS[title]


def of_schema(resource, obj):
    """The object as decoding leaves it; what the schema does not know would hide the rule that is tried."""
    group, version, kind = resource.group, resource.version, resource.kind
    checked, unknown, wrong = schema.check(group, version, kind, json.loads(json.dumps(obj)))
    assert (unknown, wrong) == ([], [])
    return checked


@pytest.mark.parametrize(("base", "path", "value", "wanted"), BAD, ids=ids(BAD))
def test_what_is_refused(rules, altered, base, path, value, wanted):
    resource, good = BASES[base]
    bad = altered_by(altered, good, path, value)
    of_schema(BUILTIN.by_path(*resource), bad)
    assert_meets(rules(*resource).create(bad)[1], wanted)


@pytest.mark.parametrize(("base", "path", "value"), GOOD, ids=ids(GOOD))
def test_what_is_accepted(rules, altered, base, path, value):
    resource, good = BASES[base]
    obj = altered_by(altered, good, path, value)
    of_schema(BUILTIN.by_path(*resource), obj)
    assert [str(c) for c in rules(*resource).create(obj)[1]] == []


@pytest.mark.parametrize(("base", "path", "value", "wanted"), UPDATES, ids=ids(UPDATES))
def test_what_may_not_change(rules, altered, base, path, value, wanted):
    """A path that begins with "status" is written through the status subresource."""
    resource, good = BASES[base]
    strategy = rules(*resource)
    old = altered(strategy.stored(good), "metadata/resourceVersion", "1")
    before, _, change = path.partition(" then ") if isinstance(path, str) else ("", "", path)
    if change and isinstance(path, str):
        # "path=json then path": what is stored differs from the base already
        at, _, text = before.partition("=")
        old = altered(old, at, json.loads(text))
    else:
        change = path
    first = next(iter(change)) if isinstance(change, dict) else change
    new = altered_by(altered, old, change, value)
    assert_meets(strategy.update(new, old, "status_" if first.startswith("status") else "")[1], wanted)


@pytest.mark.parametrize("base", BASES, ids=[f"{stem}-{name}" for stem, name in BASES])
def test_laws_of_a_good_object(rules, base):
    """Defaults settle at once, what is stored can be stored again, and every encoding keeps it."""
    resource, good = BASES[base]
    row, strategy = BUILTIN.by_path(*resource), rules(*resource)
    assert of_schema(row, good) is not None
    assert_laws(row, strategy, strategy.stored(good))


def assert_laws(row, strategy, stored):
    strategy.strategy.default(stored)  # a job takes over labels that it has put on its pods' template
    again = json.loads(json.dumps(stored))
    strategy.strategy.default(again)
    assert again == stored, "what has its defaults is left alone"
    updated, causes = strategy.update(stored, stored)
    assert (updated, [str(c) for c in causes]) == (stored, [])
    if strategy.strategy.has_status:
        told = json.loads(json.dumps(stored))
        told["metadata"]["resourceVersion"] = "1"
        assert [str(c) for c in strategy.update(told, told, "status_")[1]] == []
    assert of_schema(row, stored) == stored, "nothing that is stored is pruned"
    named = {"apiVersion": row.group_version, "kind": row.kind, **stored}
    decoded = of_schema(row, protobuf.decode(protobuf.encode(named)))
    assert without_empty_lists(decoded) == without_empty_lists(of_schema(row, named))


def without_empty_lists(value):
    """Protobuf does not tell an empty list from none."""
    if isinstance(value, dict):
        return {k: without_empty_lists(v) for k, v in value.items() if v != []}
    return [without_empty_lists(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("base", BASES, ids=[f"{stem}-{name}" for stem, name in BASES])
def test_fields_that_nobody_knows_are_pruned_wherever_they_stand(base):
    """Decoding takes out what is strange and nothing else."""
    resource, good = BASES[base]
    row, chance = BUILTIN.by_path(*resource), Random(f"{base}")
    obj = json.loads(json.dumps(good))
    places = []

    def plant(value, kind):
        if kind.kind == "object" and isinstance(value, dict):
            if not kind.preserve_unknown and chance.random() < 0.7:
                places.append(value)
            for key, inner in value.items():
                if key in kind.properties:
                    plant(inner, kind.properties[key])
        elif kind.kind in ("list", "map"):
            for inner in value if kind.kind == "list" else value.values():
                plant(inner, kind.items)

    plant(obj, schema.type_of(row.group, row.version, row.kind))
    for place in places:
        place["nobodyKnows"] = 1
    checked, unknown, wrong = schema.check(row.group, row.version, row.kind, obj)
    assert (checked, wrong, len(unknown)) == (good, [], len(places))


def test_every_kind_is_there_and_no_rule_twice():
    kinds = {resource for resource, _ in BASES.values()}
    stored = {(r.group, r.version, r.name) for r in BUILTIN if not r.virtual and r.gvr == r.storage}
    elsewhere = {("apiextensions.k8s.io", "v1", "customresourcedefinitions")}  # tests/api/crd
    assert stored - kinds - elsewhere == set()
    assert len(BAD) + len(GOOD) + len(UPDATES) >= 600
    rows = Counter((base, repr((path, value)), wanted) for base, path, value, wanted in BAD)
    assert [row for row, count in rows.items() if count > 1] == []


def places(value, path=()):
    """Every field and item, as the way to it."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_laws_of_what_is_left_of_a_good_object(rules, data):
    """Whatever is taken away or moved from elsewhere: rules never fail, and what they accept keeps the laws."""
    resource, good = BASES[data.draw(st.sampled_from(sorted(BASES)), label="base")]
    obj = json.loads(json.dumps(good))
    for _ in range(data.draw(st.integers(1, 4))):
        ways = [way for way in places(obj) if way != ("metadata",)]
        if not ways:
            break
        *way, last = data.draw(st.sampled_from(ways), label="place")
        holder = obj
        for key in way:
            holder = holder[key]
        if isinstance(holder[last], list) and holder[last] and data.draw(st.booleans(), label="twice"):
            holder[last].append(json.loads(json.dumps(data.draw(st.sampled_from(holder[last])))))
        elif isinstance(holder[last], int) and not isinstance(holder[last], bool):
            holder[last] = data.draw(st.sampled_from([-1, 0, 1, 65536, 2**31 - 1]), label="number")
        else:
            del holder[last]
    row, strategy = BUILTIN.by_path(*resource), rules(*resource)
    checked, _, wrong = schema.check(row.group, row.version, row.kind, obj)
    if wrong:
        return
    stored, causes = strategy.create(checked)
    if not causes:
        assert_laws(row, strategy, stored)
