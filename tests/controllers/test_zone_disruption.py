from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from shirube.controllers import zone_disruption as zones


def test_states_and_rates():
    assert zones.state([True] * 3) == zones.NORMAL
    assert zones.state([False, False, True]) == zones.NORMAL, "two nodes are not yet a disruption"
    assert zones.state([False] * 3 + [True] * 2) == zones.PARTIAL
    assert zones.state([False] * 2) == zones.FULL
    assert zones.rate(zones.PARTIAL, 10) == 0 and zones.rate(zones.PARTIAL, 51) == 0.01
    assert zones.rate(zones.FULL, 10) == zones.rate(zones.NORMAL, 10) == 0.1


@given(st.lists(st.floats(0, 30), max_size=30))
def test_never_more_than_one_node_in_ten_seconds(steps):
    pace, now, taken = zones.Pace(), 0.0, []
    for step in steps:
        now += step
        if pace.wait(("r", "z"), 0.1, now) == 0.0:
            pace.taken(("r", "z"), now)
            taken.append(now)
    assert all(b - a >= 10 - 1e-6 for a, b in itertools.pairwise(taken))
