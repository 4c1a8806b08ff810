from shirube.kubelet.probes.verdict import LIVENESS, READINESS, STARTUP, Timing, Verdict


def verdict(kind, **probe):
    return Verdict(kind, Timing.of(probe))


def test_defaults_are_upstreams():
    assert Timing.of({}) == Timing(0, 10, 1, 1, 3)


def test_where_each_begins():
    assert [verdict(kind).passed for kind in (STARTUP, READINESS, LIVENESS)] == [False, False, True]


def test_failures_in_a_row_turn_liveness_over():
    live = verdict(LIVENESS, failureThreshold=3)
    results = [False, False, True, False, False, False]
    assert [live.observe(r) for r in results] == [False, False, True, False, False, True]
    assert not live.passed


def test_successes_in_a_row_make_ready():
    ready = verdict(READINESS, successThreshold=2)
    assert [ready.observe(True), ready.passed] == [False, False]
    assert [ready.observe(True), ready.passed] == [True, True]


def test_a_failing_extra_look_does_not_count():
    start = verdict(STARTUP, failureThreshold=1)
    assert not start.observe(False, extra=True)
    assert start.observe(True, extra=True) and start.passed


def test_extra_looks_double_until_the_next_regular_one():
    ready = verdict(READINESS)
    ready.observe(False)
    assert [ready.next_extra_look(1.0) for _ in range(5)] == [0.1, 0.2, 0.4, 0.8, None]
    ready.observe(True)
    assert ready.next_extra_look(1.0) is None
    assert verdict(LIVENESS).next_extra_look(10) is None
