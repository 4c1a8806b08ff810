from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shirube.controllers import deployment_rollout as rollout


def deployment(replicas: int, surge: Any = "25%", unavailable: Any = "25%", **spec: Any) -> dict[str, Any]:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    return {
        "metadata": {"name": "d", "namespace": "default", "uid": "d"},
        "spec": {
            "replicas": replicas,
            "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"v": 1}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
            **spec,
        },
        "status": {},
    }


def replica_set(name: str, replicas: int, available: int | None = None, **annotations: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "uid": name,
            "annotations": annotations,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"replicas": replicas, "template": {"spec": {"v": name}}},
        "status": {"replicas": replicas, "availableReplicas": replicas if available is None else available},
    }


@pytest.mark.parametrize(
    "replicas,surge,unavailable,expected",
    [
        (10, "25%", "25%", (3, 2)),
        (1, "25%", "25%", (1, 0)),
        (10, 0, 0, (0, 1)),
        (10, 0, "1%", (0, 1)),
        (2, "100%", "100%", (2, 2)),
        (2, 0, 5, (0, 2)),
    ],
)
def test_bounds(replicas: int, surge: Any, unavailable: Any, expected: tuple[int, int]):
    assert rollout.bounds(deployment(replicas, surge, unavailable)) == expected


share = st.one_of(st.integers(0, 6), st.integers(0, 100).map(lambda n: f"{n}%"))


@settings(max_examples=150, deadline=None)
@given(
    replicas=st.integers(0, 12),
    surge=share,
    unavailable=share,
    olds=st.lists(st.integers(0, 6), max_size=3),
    data=st.data(),
)
def test_a_rolling_update_stays_within_its_bounds_and_ends(
    replicas: int, surge: Any, unavailable: Any, olds: list[int], data: st.DataObject
):
    """Whatever becomes available when: never too many pods, never too few available, and it comes to an end."""
    d = deployment(replicas, surge, unavailable)
    most, fewest = rollout.bounds(d)
    old_sets = [replica_set(f"old{n}", size) for n, size in enumerate(olds)]
    new = replica_set("new", rollout.new_set_replicas(d, old_sets, None), 0)
    every = [*old_sets, new]
    for turn in range(200):
        before_total = rollout.total(every)
        before_available = sum(rollout.available_of(rs) for rs in every)
        steps = rollout.scale_new(d, new, old_sets) or rollout.scale_olds(d, new, old_sets)
        for rs, size in steps:
            grown = size > rollout.replicas_of(rs)
            rs["spec"]["replicas"] = size
            # The worst case: those that go were all available.
            rs["status"]["availableReplicas"] = min(rs["status"]["availableReplicas"], size)
            rs["status"]["replicas"] = size
            if grown:
                assert rollout.total(every) <= max(replicas + most, before_total)
        available = sum(rollout.available_of(rs) for rs in every)
        if available < before_available:
            assert available >= min(replicas - fewest, before_available)
        done = rollout.replicas_of(new) == replicas and rollout.total(old_sets) == 0
        if done and rollout.available_of(new) == replicas:
            return
        missing = rollout.replicas_of(new) - rollout.available_of(new)
        # At first as it comes, later for certain: a rollout whose pods become available must end.
        arrived = data.draw(st.integers(0, missing)) if turn < 15 else missing
        new["status"]["availableReplicas"] += arrived
    pytest.fail("the rollout does not end")


def test_pods_that_are_going_already_are_not_counted_on():
    """Halved in the midst of a rollout: the sets' statuses still tell of all the pods that were there before."""
    new, old = replica_set("new", 3, 5), replica_set("old", 37, 69)
    (scale,) = rollout.scale_olds(deployment(40, 0, 1), new, [old])
    assert scale.replicas == 36  # with the three of the new set 39, which is the least


def unseen(rs: dict[str, Any]) -> dict[str, Any]:
    """Its size was changed and it does not know yet."""
    rs["metadata"]["generation"], rs["status"]["observedGeneration"] = 3, 2
    return rs


def test_the_new_set_waits_for_pods_that_are_still_to_go():
    d = deployment(6, 2, 1)
    new, old = replica_set("new", 3, 3), replica_set("old", 4)
    old["status"]["replicas"] = 5  # it has not taken the fifth away
    assert rollout.scale_new(d, new, [old]) == []
    old["status"]["replicas"] = 4
    assert rollout.scale_new(d, new, [old]) == [rollout.Scale(new, 4)]
    assert rollout.scale_new(d, new, [unseen(old)]) == []


def test_pods_that_nobody_may_take_away_hold_no_rollout():
    d = deployment(6, 2, 1)
    new, old = replica_set("new", 3, 3), replica_set("old", 4)
    old["status"] |= {"replicas": 5, "conditions": [{"type": "ReplicaFailure", "reason": "FailedDelete"}]}
    assert rollout.scale_new(d, new, [old]) == [rollout.Scale(new, 4)]


@pytest.mark.parametrize("who", ["new", "old"])
def test_pods_of_a_set_that_does_not_know_its_size_are_not_counted_on(who: str):
    d = deployment(6, 2, 1)
    new, old = replica_set("new", 3, 3), replica_set("old", 4)
    assert rollout.scale_olds(d, new, [old]) != []
    unseen(new if who == "new" else old)
    assert rollout.scale_olds(d, new, [old]) == []


def test_a_new_set_is_made_while_old_ones_have_all_the_room():
    d = deployment(6, 0, 1)
    assert rollout.new_set_replicas(d, [unseen(replica_set("old", 2))], None) == 0
    assert rollout.new_set_replicas(d, [replica_set("old", 6)], None) == 0
    assert rollout.new_set_replicas(d, [replica_set("old", 2)], None) == 4


def test_growing_waits_for_pods_that_are_still_to_go():
    d = deployment(10, 0, 1)
    new, old = replica_set("new", 5, **{rollout.DESIRED: "5"}), replica_set("old", 0)
    old["status"]["replicas"] = 1
    assert rollout.rescale(d, new, [old]) == []
    old["status"]["replicas"] = 0
    assert rollout.rescale(d, new, [old]) == [rollout.Scale(new, 10)]
    d["spec"]["replicas"] = 3
    assert rollout.rescale(d, unseen(new), [unseen(old)]) == [rollout.Scale(new, 3)]  # less is never too much


def test_growing_in_proportion_waits_for_pods_that_are_still_to_go():
    d = deployment(10, 2, 1)
    before = {rollout.DESIRED: "5", rollout.MAXIMUM: "7"}
    new, old = replica_set("new", 3, **before), replica_set("old", 4, **before)
    assert {s.replica_set["metadata"]["name"]: s.replicas for s in rollout.rescale(d, new, [old])} == {
        "new": 5,
        "old": 7,
    }
    assert rollout.rescale(d, new, [unseen(old)]) == []


def test_sick_old_pods_go_first():
    d = deployment(10, 2, 2)
    healthy, sick = replica_set("a", 5, 5), replica_set("b", 5, 0)
    new = replica_set("new", 2, 0)
    steps = {s.replica_set["metadata"]["name"]: s.replicas for s in rollout.scale_olds(d, new, [healthy, sick])}
    assert steps == {"b": 3}


@settings(max_examples=150, deadline=None)
@given(
    wanted=st.integers(0, 40),
    before=st.integers(1, 40),
    surge=st.integers(0, 5),
    sizes=st.lists(st.integers(1, 10), min_size=2, max_size=4),
)
def test_scaling_in_proportion_adds_up(wanted: int, before: int, surge: int, sizes: list[int]):
    d = deployment(wanted, surge, 1)
    sets = [
        replica_set(f"rs{n}", size, 0, **{rollout.DESIRED: str(before), rollout.MAXIMUM: str(before + surge)})
        for n, size in enumerate(sizes)
    ]
    steps = rollout.rescale(d, sets[0], sets[1:])
    assert all(s.replicas >= 0 for s in steps)
    allowed = wanted + rollout.bounds(d)[0] if wanted else 0
    if sum(sizes) <= allowed or wanted == 0:
        assert sum(s.replicas for s in steps) == allowed


def test_revisions_are_numbered_and_remembered():
    d = deployment(1)
    d["metadata"]["annotations"] = {"note": "x", rollout.REVISION: "9"}
    first = rollout.new_set_annotations(d, None, 1)
    assert first == {"note": "x", rollout.REVISION: "1"}
    again = rollout.new_set_annotations(d, replica_set("a", 1, **first), 3)
    assert again[rollout.REVISION] == "3"
    assert again[rollout.REVISION_HISTORY] == "1"


def test_the_new_set_is_found_by_template_without_its_hash():
    d = deployment(1)
    rs = replica_set("x", 1)
    template = d["spec"]["template"]
    rs["spec"]["template"] = {
        "metadata": {"labels": {"app": "d", rollout.HASH_LABEL: "h"}, "creationTimestamp": None},
        "spec": template["spec"],
    }
    assert rollout.find_new(d, [rs]) is rs
    assert rollout.template_hash(rs["spec"]["template"], None) == rollout.template_hash(template, None)
    assert rollout.template_hash(template, 1) != rollout.template_hash(template, None)


def test_history_beyond_the_limit_is_cleaned_up_oldest_first():
    d = deployment(1, revisionHistoryLimit=1)
    olds = [replica_set(f"r{n}", 0, **{rollout.REVISION: str(n)}) for n in (3, 1, 2)]
    assert [rs["metadata"]["name"] for rs in rollout.to_clean_up(d, olds)] == ["r1", "r2"]
    olds[1]["spec"]["replicas"] = 1
    assert [rs["metadata"]["name"] for rs in rollout.to_clean_up(d, olds)] == ["r2"], "the latest is kept to go back to"


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {"replicas": 1}},
        {"status": {"replicas": 1}},
        {"metadata": {"name": "r", "generation": 2}, "status": {"observedGeneration": 1}},
        {"metadata": {"name": "r", "deletionTimestamp": "2026-01-01T00:00:00Z"}},
    ],
    ids=["sized", "with pods", "has not seen its size", "going"],
)
def test_only_sets_that_are_done_with_are_cleaned_up(change: dict[str, Any]):
    old = replica_set("r", 0)
    assert rollout.to_clean_up(deployment(1, revisionHistoryLimit=0), [old]) == [old]
    assert rollout.to_clean_up(deployment(1, revisionHistoryLimit=0), [{**old, **change}]) == []
    assert rollout.to_clean_up(deployment(1, revisionHistoryLimit=2**31 - 1), [old]) == []


@pytest.mark.parametrize("word", ["abc", "", "-1", "+3", "²", "1.0", " 3", str(2**31), str(2**64)])
def test_sizes_that_are_none_stop_no_rollout(word: str):
    """Somebody wrote into the annotations by which we know a size that has changed."""
    d = deployment(3)
    new = replica_set("new", 3, **{rollout.DESIRED: word, rollout.MAXIMUM: word})
    assert not rollout.is_scaling(d, [new])
    assert rollout.annotated_size(new, rollout.DESIRED) is None
    both = [replica_set(n, 2, **{rollout.MAXIMUM: word}) for n in ("new", "old")]
    d["status"] = {"replicas": 4}
    d["spec"]["replicas"] = 8
    assert sorted(s.replicas for s in rollout.rescale(d, both[0], both[1:])) == [5, 5]


def test_a_size_that_was_given_by_hand_is_noted():
    """Scaled together with its deployment: without the note it would be told to scale for ever, and never roll."""
    d = deployment(5)
    new = replica_set("new", 5, **{rollout.DESIRED: "3"})
    assert rollout.is_scaling(d, [new])
    assert rollout.rescale(d, new, []) == [rollout.Scale(new, 5)]


# (wanted, wanted before, sizes from the newest to the oldest, what they become), each by its neighbour's share
@pytest.mark.parametrize(
    "wanted,before,surge,sizes,expected",
    [
        (6, 3, 0, [1, 2], [2, 4]),
        (2, 4, 0, [1, 3], [1, 1]),
        (3, 8, 0, [7, 1], [3, 0]),
        (14, 10, 0, [0, 4, 6], [0, 6, 8]),
        (5, 4, 0, [2, 2], [3, 2]),
        (3, 4, 0, [2, 2], [2, 1]),
        (0, 7, 2, [4, 2, 3], [0, 0, 0]),
        (9, 9, 0, [0, 0], [9, 0]),
        (16, 8, 2, [5, 5], [9, 9]),
    ],
)
def test_scaling_in_proportion(wanted: int, before: int, surge: int, sizes: list[int], expected: list[int]):
    d = deployment(wanted, surge, 1)
    note = {rollout.DESIRED: str(before), rollout.MAXIMUM: str(before + surge)}
    sets = [replica_set(f"rs{n}", size, 0, **note) for n, size in enumerate(sizes)]
    for n, rs in enumerate(sets):
        rs["metadata"]["creationTimestamp"] = f"2026-01-0{9 - n}T00:00:00Z"
    after = {rs["metadata"]["name"]: size for rs, size in zip(sets, sizes, strict=True)}
    after |= {s.replica_set["metadata"]["name"]: s.replicas for s in rollout.rescale(d, sets[0], sets[1:])}
    assert list(after.values()) == expected


def test_a_new_set_that_never_comes_up_costs_no_old_pods_when_scaling():
    note = {rollout.DESIRED: "2"}
    new, old = replica_set("new", 2, 0, **note), replica_set("old", 1, **note)
    sizes = {s.replica_set["metadata"]["name"]: s.replicas for s in rollout.rescale(deployment(2, 1, 1), new, [old])}
    assert sizes == {"new": 2, "old": 1}
    new["status"]["availableReplicas"] = 2
    assert rollout.rescale(deployment(2, 1, 1), new, [old]) == [rollout.Scale(old, 0)]


def test_the_history_of_revisions_stays_short():
    annotations: dict[str, str] = {}
    for revision in range(1, 1200, 2):
        annotations = rollout.new_set_annotations(deployment(1), replica_set("a", 1, **annotations), revision)
    past = annotations[rollout.REVISION_HISTORY]
    assert len(past) <= 2000 and past.endswith("1195,1197") and annotations[rollout.REVISION] == "1199"
    same = rollout.new_set_annotations(deployment(1), replica_set("a", 1, **annotations), 1100)
    assert same == annotations, "a lower number is no new revision"
    strange = {rollout.REVISION: "first"}
    assert rollout.new_set_annotations(deployment(1), replica_set("a", 1, **strange), 4) == strange
