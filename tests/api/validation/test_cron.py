"""Cron schedules as CronJobs accept them."""

from __future__ import annotations

import pytest

from shirube.api.validation.cron import schedule_error


@pytest.mark.parametrize(
    "schedule",
    ["* * * * *", "*/5 0-6 1,15 jan-mar mon-fri", "0 0 ? * SUN", "@hourly", "@every 1h30m", "5/10 * * * *"],
)
def test_good(schedule):
    assert schedule_error(schedule) == ""


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("@often", "unrecognized descriptor: @often"),
        ("@every x", "failed to parse duration @every x"),
    ],
)
def test_bad(schedule, message):
    assert message in schedule_error(schedule)
