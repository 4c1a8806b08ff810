"""Readings to rates, as a table: what two readings say, and when there is nothing to say yet."""

from __future__ import annotations

import pytest

from shirube.metrics_server import documents
from shirube.metrics_server.usage import BadReading, Book, Point, Reading, Usage, parse, rate

TEXT = """\
# HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the container in core-seconds
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container="app",namespace="default",pod="web"} 12.5 1750000000500
# TYPE container_memory_working_set_bytes gauge
container_memory_working_set_bytes{container="app",namespace="default",pod="web"} 2.097152e+06 1750000000500
# TYPE container_start_time_seconds gauge
container_start_time_seconds{container="app",namespace="default",pod="web"} 1749999000
# TYPE node_cpu_usage_seconds_total counter
node_cpu_usage_seconds_total 700 1750000000500
# TYPE node_memory_working_set_bytes gauge
node_memory_working_set_bytes 1.5e+09 1750000000500
# TYPE pod_cpu_usage_seconds_total counter
pod_cpu_usage_seconds_total{namespace="default",pod="web"} 13 1750000000500
"""


def test_a_node_agents_text_is_read():
    reading = parse(TEXT, now=1.0)
    assert reading.node == Point(1_750_000_000.5, 700.0, 1_500_000_000)
    assert dict(reading.containers) == {
        ("default", "web", "app"): Point(1_750_000_000.5, 12.5, 2_097_152, 1_749_999_000.0)
    }


@pytest.mark.parametrize(
    "text",
    ["node_cpu_usage_seconds_total x\n", 'container_cpu_usage_seconds_total{pod="a"} 1\n', "<html>no</html>\n"],
)
def test_nonsense_is_refused(text):
    with pytest.raises(BadReading):
        parse(text, now=1.0)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (Point(100, 5, 1, 10), Point(115, 8, 7, 10), Usage(115, 15, 0.2, 7)),
        (None, Point(115, 8, 7, 10), None),  # long since started, and read once
        (None, Point(115, 8, 7, 95), Usage(115, 20, 0.4, 7)),  # young: since its start
        (None, Point(115, 8, 7, 0), None),  # nobody knows since when
        (Point(100, 5, 1, 10), Point(115, 1, 7, 111), Usage(115, 4, 0.25, 7)),  # restarted between the readings
        (Point(100, 5, 1, 10), Point(115, 4, 7, 10), None),  # the counter went back
        (Point(115, 5, 1, 10), Point(115, 5, 7, 10), None),  # the same reading twice
    ],
)
def test_rates(before, now, expected):
    assert rate(before, now) == expected


def reading(at, **containers):
    return Reading(Point(at, at, 1), {("default", "web", name): point for name, point in containers.items()})


def test_a_pod_shows_when_all_its_containers_do():
    book = Book()
    book.record("n1", reading(100, a=Point(100, 1, 1, 1)))
    assert book.pods() == {}
    book.record("n1", reading(115, a=Point(115, 4, 1, 1), b=Point(115, 1, 1, 0)))
    assert book.pods() == {}
    book.record("n1", reading(130, a=Point(130, 4, 1, 1), b=Point(130, 4, 1, 0)))
    assert book.pods("default") == {("default", "web"): {"a": Usage(130, 15, 0, 1), "b": Usage(130, 15, 0.2, 1)}}
    assert book.pods("other") == {}
    assert book.nodes() == {"n1": Usage(130, 15, 1.0, 1)}


def test_nodes_that_left_or_fell_silent_are_forgotten():
    book = Book()
    for at in (100, 115):
        book.record("n1", reading(at))
        book.record("n2", reading(at))
    book.forget("n1")
    assert set(book.nodes()) == {"n2"}
    book.keep_only(set())
    assert book.nodes() == {}


@pytest.mark.parametrize(
    ("seconds", "text"), [(15, "15s"), (15.0123, "15.012s"), (60, "1m0s"), (75.5, "1m15.5s"), (0.5, "0.5s")]
)
def test_durations_as_go_writes_them(seconds, text):
    assert documents.duration(seconds) == text


def test_amounts():
    assert documents.amounts(Usage(1, 1, 0.25, 1025)) == {"cpu": "250000000n", "memory": "2Ki"}
