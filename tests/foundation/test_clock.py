import pytest

from shirube.foundation.clock import ManualClock, parse_rfc3339, parse_utc_day, rfc3339, rfc3339_micro, utc_day


def test_times_round_trip():
    assert rfc3339(0) == "1970-01-01T00:00:00Z"
    assert rfc3339_micro(1.5) == "1970-01-01T00:00:01.500000Z"
    assert parse_rfc3339("1970-01-01T00:00:01.500000Z") == 1.5
    assert parse_rfc3339("1970-01-01T09:00:00+09:00") == 0
    with pytest.raises(ValueError, match="no zone"):
        parse_rfc3339("1970-01-01T00:00:00")


def test_manual_clock_only_moves_when_told():
    clock = ManualClock(10)
    assert clock.now() == clock.now() == 10
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (12.5, 2.5)


def test_days_are_of_utc_and_of_one_form():
    moment = parse_rfc3339("2026-01-02T23:59:59Z")
    assert utc_day(moment) == "2026-01-02"
    assert utc_day(moment + 1) == "2026-01-03"
    assert parse_utc_day("2026-01-03") == moment + 1
    for text in ("20260103", "2026-1-3", "2026-01-32", "2026-W01-1", ""):
        with pytest.raises(ValueError):
            parse_utc_day(text)
