"""The tables of built-in resources hold together."""

from __future__ import annotations

import pytest

from shirube.api.groups import TABLES
from shirube.api.groups.row import ALL_VERBS, GroupTable, Row

ROWS = [(table, row) for table in TABLES for row in table.rows]


@pytest.mark.parametrize("table", TABLES, ids=lambda t: f"{t.group}/{t.version}")
def test_rows_are_sorted_and_unique(table: GroupTable) -> None:
    names = [row.name for row in table.rows]
    assert names == sorted(set(names))
    for row in table.rows:
        subresources = [sub.name for sub in row.sub]
        assert subresources == sorted(set(subresources))


@pytest.mark.parametrize(("table", "row"), ROWS, ids=lambda x: getattr(x, "name", ""))
def test_a_row_is_plausible(table: GroupTable, row: Row) -> None:
    assert row.name == row.name.lower()
    assert row.kind[0].isupper()
    assert row.verbs
    assert set(row.verbs) <= set(ALL_VERBS)
    assert list(row.verbs) == sorted(row.verbs)
    for sub in row.sub:
        assert list(sub.verbs) == sorted(sub.verbs)
        assert bool(sub.version) == bool(sub.group)


def test_short_names_are_unique_within_a_group() -> None:
    for table in TABLES:
        short = [name for row in table.rows for name in row.short.split()]
        assert len(short) == len(set(short)), table.group
