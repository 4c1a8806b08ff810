"""How published events find the watches that they are for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shirube.storage.live_watch import LiveWatch, LiveWatches
from shirube.storage.types import Event

TEXTS = st.text("ab/", max_size=6)


class Nothing:
    """A store in which nothing has happened before."""

    revision = 0

    async def history(self, prefix, after):
        raise AssertionError("a watch that is live has no need of history")


@given(st.lists(TEXTS, max_size=8), st.lists(TEXTS, min_size=1, max_size=8), st.sets(st.integers(0, 7)))
def test_every_watch_gets_the_events_of_its_prefix_in_order(prefixes, keys, gone):
    watches = [LiveWatch(Nothing(), prefix, 0) for prefix in prefixes]
    all_watches = LiveWatches()
    for watch in watches:
        all_watches.add(watch)
    for index in gone:
        if index < len(watches):
            all_watches.remove(watches[index])
    events = [Event("PUT", key, b"", n, n, None) for n, key in enumerate(keys, 1)]
    all_watches.publish(events, len(keys))
    for index, watch in enumerate(watches):
        wanted = [] if index in gone else [e for e in events if e.key.startswith(watch.prefix)]
        assert [event for batch in watch._queue for event in batch] == wanted
