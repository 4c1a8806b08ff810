"""The judge of crashes finds what it is there to find."""

from __future__ import annotations

import pytest

from .judge import Happened, Judge, Violation


def put(revision: int, key: str, value: str) -> Happened:
    return Happened(revision, "PUT", key, value)


HISTORY = [put(2, "a", "1"), put(3, "b", "1"), Happened(4, "DELETE", "a", ""), put(6, "a", "2")]


@pytest.fixture
def seen() -> Judge:
    judge = Judge("shared")
    for event in HISTORY:
        judge.answered(judge.begins(event.key, event.kind, event.value), event.revision)
    told = judge.watches("w", 1)
    told.events, told.revision = list(HISTORY), 6
    return judge


def test_a_good_history_passes_and_is_the_base_of_the_next(seen: Judge):
    seen.listed("l", 3, {"a": (2, "1"), "b": (3, "1")})
    seen.judge(HISTORY, 7)
    assert seen.state == {"a": (6, "2"), "b": (3, "1")}
    seen.answered(seen.begins("b", "PUT", "2"), 8)
    lost = seen.begins("a", "PUT", "3")
    assert not lost.known
    seen.told[0].events.append(put(8, "b", "2"))
    seen.told[0].revision = 8
    seen.judge([put(8, "b", "2")], 8)


@pytest.mark.parametrize(
    ("history", "said"),
    [
        (HISTORY[:3], "acknowledged write is lost"),
        (HISTORY[1:], "acknowledged write is lost"),
        ([*HISTORY, put(7, "a", "9")], "nobody wrote"),
        ([*HISTORY, put(7, "a", "2")], "nobody wrote"),
        ([HISTORY[1], HISTORY[0], *HISTORY[2:]], "came after"),
        ([*HISTORY[:3], put(7, "a", "2")], "but is at 7"),
    ],
    ids=["lost at the end", "lost at the start", "from nowhere", "twice", "disorder", "another revision"],
)
def test_a_bad_history(seen: Judge, history: list[Happened], said: str):
    with pytest.raises(Violation, match=said):
        seen.judge(history, 7)


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([HISTORY[0], *HISTORY[2:]], "lost"),
        ([HISTORY[0], HISTORY[0], *HISTORY[1:]], "came after"),
        ([HISTORY[1], HISTORY[0], *HISTORY[2:]], "came after"),
        ([*HISTORY[:3], put(5, "c", "1"), HISTORY[3]], "first difference"),
    ],
    ids=["lost", "repeated", "reordered", "invented"],
)
def test_a_watcher_that_was_told_something_else(seen: Judge, events: list[Happened], said: str):
    seen.told[0].events = events
    with pytest.raises(Violation, match=said):
        seen.judge(HISTORY, 7)


def test_a_revision_that_goes_back_or_was_overtaken():
    judge = Judge("shared")
    judge.answered(judge.begins("a", "PUT", "1"), 5)
    late = judge.begins("b", "PUT", "1")
    with pytest.raises(Violation, match="had been acknowledged"):
        judge.judge([], 4)
    judge.answered(late, 4)
    with pytest.raises(Violation, match="began after 5"):
        judge.judge([put(4, "b", "1"), put(5, "a", "1")], 5)


def test_a_lost_update_and_a_wrong_list():
    judge = Judge("shared")
    for n, value in enumerate(["a=1", "b=1"]):
        judge.answered(judge.begins("shared", "PUT", value), n + 2)
    with pytest.raises(Violation, match="was lost at 3"):
        judge.judge([put(2, "shared", "a=1"), put(3, "shared", "b=1")], 3)
    judge = Judge("shared")
    judge.listed("l", 2, {"a": (1, "0")})
    with pytest.raises(Violation, match="is not the state then"):
        judge.judge([], 2)
