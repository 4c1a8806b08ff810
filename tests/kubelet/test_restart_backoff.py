from shirube.kubelet.restart_backoff import RestartBackoff

KEY = ("u", "c", "h")


def test_the_first_crash_is_free_then_ten_seconds_doubling_to_five_minutes():
    backoff, now = RestartBackoff(), 1000.0
    waits = []
    for _ in range(8):
        waits.append(backoff.until(KEY, now) - now)
        now = backoff.until(KEY, now)
        backoff.next(KEY, now)
    assert waits == [0, 10, 20, 40, 80, 160, 300, 300]


def test_ten_quiet_minutes_are_forgiven():
    backoff = RestartBackoff()
    for _ in range(4):
        backoff.next(KEY, 1000.0)
    assert backoff.until(KEY, 1000.0 + 601) == 1601.0
    backoff.next(KEY, 1601.0)
    assert backoff.delay(KEY) == 10


def test_pods_do_not_share_and_are_forgotten():
    backoff = RestartBackoff()
    backoff.next(KEY, 0)
    assert backoff.delay(("other", "c", "h")) == 0
    backoff.forget("u")
    assert backoff.delay(KEY) == 0
