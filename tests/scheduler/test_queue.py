from tests.scheduler.pods import info

from shirube.scheduler.queue import SchedulingQueue


def names(queue, now):
    found = []
    while (one := queue.pop(now)) is not None:
        found.append(one.name)
    return found


def test_by_priority_then_by_age():
    queue = SchedulingQueue()
    for one in (info("old"), info("new"), info("urgent", priority=10)):
        queue.put(one, 0)
    assert names(queue, 0) == ["urgent", "old", "new"]


def test_one_that_fits_nowhere_waits_for_an_event_and_its_back_off():
    queue = SchedulingQueue()
    queue.put(info("big"), 0)
    queue.failed(queue.pop(0), 0, frozenset())
    assert queue.pop(100) is None
    assert queue.wake(0.1, lambda info, refused_by: True) == 1
    assert queue.pop(0.5) is None
    assert queue.next_wake(0.5) == 0.5
    assert queue.pop(1.0).name == "big"


def test_back_off_doubles_up_to_ten_seconds():
    queue, now = SchedulingQueue(), 0.0
    queue.put(info("p"), now)
    waits = []
    for _ in range(6):
        queue.failed(queue.pop(now), now, None)
        waits.append(queue.next_wake(now))
        now += waits[-1]
    assert waits == [1, 2, 4, 8, 10, 10]


def test_a_changed_pod_replaces_the_queued_one_and_a_removed_one_never_comes():
    queue = SchedulingQueue()
    queue.put(info("p", cpu="1"), 0)
    changed = info("p", cpu="2")
    queue.put(changed, 0)
    assert queue.pop(0) is changed
    queue.put(info("q"), 0)
    queue.remove("default/q")
    assert queue.pop(0) is None


def test_nobody_waits_for_an_event_longer_than_five_minutes():
    queue = SchedulingQueue()
    queue.put(info("p"), 0)
    queue.failed(queue.pop(0), 0, frozenset())
    assert queue.next_wake(0) == 300
    queue.flush_leftovers(300)
    assert queue.pop(300).name == "p"
