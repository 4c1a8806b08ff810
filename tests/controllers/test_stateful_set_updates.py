"""Which pods of a StatefulSet a rolling update takes next: with a budget, and without."""

from __future__ import annotations

from typing import Any

import pytest
from tests.controllers.test_stateful_set import names, pod, stateful_set

from shirube.controllers.stateful_set_plan import max_unavailable, plan


@pytest.mark.parametrize(
    "value,replicas,expected",
    [
        (None, 8, 1),
        (3, 8, 3),
        (3, 0, 3),
        ("10%", 29, 2),
        ("50%", 7, 3),
        ("100%", 7, 7),
        ("10%", 7, 1),
        ("99%", 0, 1),
    ],
)
def test_a_share_of_the_pods_is_rounded_down_but_never_to_none(value: Any, replicas: int, expected: int):
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": value}}
    assert max_unavailable(stateful_set(replicas, updateStrategy=rolling)) == expected


# Pods are up and old but for those named here; what an update takes away with so many allowed to be down.
@pytest.mark.parametrize(
    "replicas,budget,partition,down,going,expected",
    [
        (1, 1, 0, {0}, set(), [0]),
        (3, 1, 0, {2}, set(), [2]),
        (3, 1, 0, {0}, set(), [0]),  # from the top there would be no getting to it
        (4, 2, 0, {0, 1}, set(), [1, 0]),
        (5, 1, 0, {0, 1, 2}, set(), [2, 1, 0]),
        (5, 3, 0, {0, 1}, set(), [1, 0, 4]),
        (5, 3, 0, {3}, {4}, [3, 2]),
        (5, 3, 0, {4}, {3}, [4, 2]),
        (3, 1, 0, set(), {2}, []),
        (5, 1, 2, {2}, set(), [2]),
        (5, 1, 2, {1}, set(), []),
        (5, 2, 3, {1, 4}, set(), [4]),
        (5, 2, 3, {3, 4}, set(), [4, 3]),
        (3, 1, 7, {0}, set(), []),
    ],
)
def test_old_pods_that_are_down_do_not_stop_a_parallel_update(
    replicas: int, budget: int, partition: int, down: set[int], going: set[int], expected: list[int]
):
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": partition, "maxUnavailable": budget}}
    owner = stateful_set(replicas, podManagementPolicy="Parallel", updateStrategy=rolling)
    pods = [pod(n, up=n not in down, going=n in going) for n in range(replicas)]
    assert names(plan(owner, pods, "old", "new", 0).delete) == [f"db-{n}" for n in expected]


def test_an_update_that_comes_up_broken_goes_on_with_the_next_one():
    """New pods that are down take up the budget; old ones that are down do not wait for them."""
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}
    owner = stateful_set(4, podManagementPolicy="Parallel", updateStrategy=rolling)
    pods = [pod(0), pod(1, up=False), pod(2), pod(3, "new", up=False)]
    assert names(plan(owner, pods, "old", "new", 0).delete) == ["db-1"]


# As above, with pods that are new already.
@pytest.mark.parametrize(
    "partition,down,going,new,expected",
    [
        (0, set(), set(), set(), [3]),
        (0, {0, 1}, set(), set(), [3]),  # what is down below does not matter
        (0, {3}, set(), set(), [3]),
        (0, set(), {3}, set(), []),
        (0, {0}, set(), {3}, [2]),
        (0, {3}, set(), {3}, []),  # each is waited for
        (2, set(), set(), {2, 3}, []),
        (0, {1}, set(), {1, 3}, [2]),
    ],
)
def test_without_a_budget_each_pod_is_waited_for_from_the_top(
    partition: int, down: set[int], going: set[int], new: set[int], expected: list[int]
):
    """As v1.36 has it by default: the field is of a feature that is off."""
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}
    owner = stateful_set(4, podManagementPolicy="Parallel", updateStrategy=rolling)
    pods = [pod(n, "new" if n in new else "old", up=n not in down, going=n in going) for n in range(4)]
    assert names(plan(owner, pods, "old", "new", 0).delete) == [f"db-{n}" for n in expected]
