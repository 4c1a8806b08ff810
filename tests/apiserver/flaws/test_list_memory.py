"""Unbounded LIST memory (the cause of many a large cluster's outage; KEP-5116): many clients list much at once and
read slowly.

A list leaves in chunks, made as the client reads; a client that does not read costs the chunk that it has not read.
"""

from __future__ import annotations

import tracemalloc

import orjson
import pytest
from tests.apiserver.conftest import CONFIGMAPS, configmap

OBJECTS, SIZE, CLIENTS = 100, 60_000, 24
TOTAL = OBJECTS * SIZE


@pytest.fixture
async def much(api):
    """6 MB of config maps."""
    for n in range(OBJECTS):
        await api.ok("POST", CONFIGMAPS, configmap(f"c{n:04}", text="x" * SIZE))
    return api


FORMS = {
    "json": {},
    "indented": {"user_agent": "curl/8"},
    "metadata": {"accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"},
    "table": {"accept": "application/json;as=Table;g=meta.k8s.io;v=v1"},
}


@pytest.mark.parametrize("form", FORMS)
async def test_slow_readers_cost_a_chunk_each(much, form):
    # once through, so that what is imported and cached for this form is there
    whole = await much.get(CONFIGMAPS, **FORMS[form])
    assert whole.status == 200
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        bodies = []
        for _ in range(CLIENTS):
            answer = await much.send("GET", CONFIGMAPS, **FORMS[form])
            if isinstance(answer.body, bytes):
                assert len(answer.body) < TOTAL // 10
                continue
            bodies.append(answer.body)
            chunk = await anext(answer.body)
            assert len(chunk) < TOTAL // 4
        held, peak = (measured - before for measured in tracemalloc.get_traced_memory())
    finally:
        tracemalloc.stop()
    # twenty-four whole lists would be 144 MB
    assert held < 2 * TOTAL, held
    assert peak < 4 * TOTAL, peak
    for body in bodies:
        await body.aclose()


async def test_a_list_read_to_its_end_is_never_one_buffer(much):
    answer = await much.send("GET", CONFIGMAPS)
    largest = count = size = 0
    async for chunk in answer.body:
        largest, count, size = max(largest, len(chunk)), count + 1, size + len(chunk)
    assert size > TOTAL and count > 5 and largest < TOTAL // 4


@pytest.mark.parametrize("query", ["", "?resourceVersion=0", "?labelSelector=!x", "?limit=0", "?limit=1000000"])
async def test_no_question_makes_it_one(much, query):
    answer = await much.send("GET", CONFIGMAPS + query)
    assert not isinstance(answer.body, bytes)
    assert len(await anext(answer.body)) < TOTAL // 4
    await answer.body.aclose()


async def test_watches_that_begin_with_everything_stream_too(much):
    async with much.watch(f"{CONFIGMAPS}?resourceVersion=0") as events:
        first = await events.next()
        assert first[0] == "ADDED"
        assert len(events._rest) < TOTAL // 2


async def test_pages_are_as_long_as_was_asked(much):
    answer = await much.ok("GET", f"{CONFIGMAPS}?limit=7")
    assert len(answer["items"]) == 7 and answer["metadata"]["remainingItemCount"] >= OBJECTS - 7


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_indented_lists_are_the_same_lists(api, count):
    for n in range(count):
        await api.ok("POST", CONFIGMAPS, configmap(f"c{n}", text='a\nb "c" {[,'))
    plain = await api.ok("GET", f"{CONFIGMAPS}?labelSelector=!x")
    pretty = await api.get(f"{CONFIGMAPS}?labelSelector=!x&pretty=true")
    assert pretty.json == plain
    assert pretty.raw == orjson.dumps(plain, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
