"""What the watch cache holds of an object, and the encodings made of it.

An `Entry` never changes: a change of the object makes a new one. Its `data` is the served JSON; other encodings
(protobuf, tables, other versions, lines of a watch) are made when first asked for and shared through one bounded
cache, so a thousand watchers cost one encoding.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping

from shirube.api.selectors import FieldSelector, LabelSelector
from shirube.apiserver.stored import splice

__all__ = ["Encodings", "Entry", "bookmark", "event_line", "removed", "splice"]

_MAX_BYTES = 16 << 20
_VERSION = b'"metadata":{"resourceVersion":"'


class Encodings:
    """The least recently used go first when all together exceed `max_bytes`."""

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._made: OrderedDict[tuple[str, int, bool, Hashable], bytes] = OrderedDict()

    def get(self, key: tuple[str, int, bool, Hashable], make: Callable[[], bytes]) -> bytes:
        made = self._made.get(key)
        if made is not None:
            self._made.move_to_end(key)
            return made
        made = make()
        self._made[key] = made
        self._bytes += len(made)
        while self._bytes > self._max_bytes and len(self._made) > 1:
            _, old = self._made.popitem(last=False)
            self._bytes -= len(old)
        return made


class Entry:
    """An object at one revision. Labels and fields are read-only and shared."""

    __slots__ = ("_encodings", "data", "fields", "gone", "key", "labels", "revision")

    def __init__(
        self,
        key: str,
        revision: int,
        data: bytes,
        labels: Mapping[str, str],
        fields: Mapping[str, str],
        encodings: Encodings,
        gone: bool = False,
    ) -> None:
        self.key = key
        self.revision = revision
        self.data = data
        self.labels = labels
        self.fields = fields
        self.gone = gone  # the last state of what was deleted, or left a selection, at this revision
        self._encodings = encodings

    def selected(self, labels: LabelSelector | None, fields: FieldSelector | None) -> bool:
        if fields is not None and not fields.matches(self.fields):
            return False
        return labels is None or labels.matches(self.labels)

    def encoding(self, media: Hashable, make: Callable[[Entry], bytes]) -> bytes:
        """`make(self)`, made once. `media` names the encoding, including the served version."""
        return self._encodings.get((self.key, self.revision, self.gone, media), lambda: make(self))

    def __repr__(self) -> str:
        return f"Entry({self.key!r}, {self.revision})"


def removed(last: Entry, revision: int) -> Entry:
    """The entry of a DELETED event: the last state, with the revision at which it went."""
    data = last.data
    at = data.find(_VERSION) + len(_VERSION)
    data = b"%b%d%b" % (data[:at], revision, data[data.index(b'"', at) :])
    return Entry(last.key, revision, data, last.labels, last.fields, last._encodings, gone=True)


def event_line(type: str, entry: Entry) -> bytes:
    """A JSON watch event of the stored version, shared by all who watch."""
    return entry.encoding(type, lambda e: b'{"type":"%b","object":%b}\n' % (type.encode(), e.data))


def bookmark(api_version: str, kind: str, revision: int, *, initial_events_end: bool = False) -> bytes:
    """The object of a BOOKMARK event, as JSON."""
    end = ',"annotations":{"k8s.io/initial-events-end":"true"}' if initial_events_end else ""
    text = (
        f'{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{{"resourceVersion":"{revision}",'
        f'"creationTimestamp":null{end}}}}}'
    )
    return text.encode()
