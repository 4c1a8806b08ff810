"""The compiled cache: complete, atomic, the same every time."""

from __future__ import annotations

import marshal
from pathlib import Path

from shirube.api.schema import cache, compile, definitions, supplement


def test_two_builds_are_alike_and_the_second_yields(tmp_path: Path) -> None:
    first, second = tmp_path / "schema-a", tmp_path / "schema-b"
    compile.build(first)
    compile.build(second)
    assert {p.relative_to(first): p.read_bytes() for p in first.rglob("*") if p.is_file()} == {
        p.relative_to(second): p.read_bytes() for p in second.rglob("*") if p.is_file()
    }
    index = (first / "index").stat().st_ino
    compile.build(first)
    assert (first / "index").stat().st_ino == index, "a finished cache was replaced under its readers"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["schema-a", "schema-b"]


def test_old_caches_are_forgotten(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"schema-old{number}").mkdir()
    compile.build(tmp_path / "schema-new")
    assert len(list(tmp_path.glob("schema-*"))) == 4


def test_the_supplement_speaks_of_fields_that_exist() -> None:
    defs = definitions.load()
    for name, field in (*supplement.DEFAULTS, *supplement.ENUMS):
        assert field in defs[name]["properties"], f"{name}.{field}"
    for name in (*supplement.ANY, *supplement.MESSAGES, supplement.QUANTITY, supplement.TIME):
        assert name in defs


def test_no_value_is_of_a_kind_that_nobody_knows() -> None:
    known = {"object", "map", "list", "string", "integer", "number", "boolean", "int-or-string", "quantity", "any"}

    def walk(row: dict) -> None:
        assert "ref" in row or row["kind"] in known, row
        if "ref" in row:
            assert row["ref"] in cache.index().definitions
        for child in (*row.get("properties", {}).values(), *([row["items"]] if "items" in row else [])):
            walk(child)

    for name in cache.index().definitions:
        row = cache.row(name)
        assert marshal.loads(marshal.dumps(row)) == row
        walk(row)
