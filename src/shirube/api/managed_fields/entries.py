"""`metadata.managedFields`: who did what, as entries.

An entry is known by its manager, operation, subresource and, for updates, API version. At most ten update
entries are kept: older ones are merged into `ancient-changes`, one for each API version. Follows upstream's
`managedfields/internal` (`buildmanagerinfo.go`, `capmanagers.go`, `managedfields.go`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from shirube.api.errors import quote
from shirube.api.managed_fields import sets
from shirube.api.managed_fields.sets import FieldSet

Json = dict[str, Any]

MAX_UPDATE_MANAGERS = 10
ANCIENT = "ancient-changes"
BEFORE_FIRST_APPLY = "before-first-apply"


class Key(NamedTuple):
    """What tells entries apart. Appliers are the same whatever version they apply (`version` is "")."""

    operation: str
    manager: str
    version: str
    subresource: str


class Entry(NamedTuple):
    fields: FieldSet
    api_version: str
    time: str
    source: Json | None  # the entry on the wire, where it is still right

    def to_dict(self, key: Key, fields: Any = None) -> Json:
        out: Json = {"manager": key.manager, "operation": key.operation, "apiVersion": self.api_version}
        if self.time:
            out["time"] = self.time
        out["fieldsType"] = "FieldsV1"
        out["fieldsV1"] = self.fields if fields is None else fields
        if key.subresource:
            out["subresource"] = key.subresource
        return out


Entries = dict[Key, Entry]


def key_of(manager: str, operation: str, api_version: str, subresource: str) -> Key:
    return Key(operation, manager, "" if operation == "Apply" else api_version, subresource)


def read(managed: Any) -> Entries | None:
    """Entries of `metadata.managedFields`; None when they are not well-formed."""
    if not isinstance(managed, list):
        return None
    entries: Entries = {}
    for item in managed:
        if not isinstance(item, dict):
            return None
        operation, fields = item.get("operation"), item.get("fieldsV1")
        api_version, manager = item.get("apiVersion"), item.get("manager", "")
        if operation not in ("Apply", "Update") or not isinstance(api_version, str) or not api_version:
            return None
        if not isinstance(manager, str) or item.get("fieldsType", "FieldsV1") != "FieldsV1":
            return None
        fields = {} if fields is None else fields
        if not isinstance(fields, dict):
            return None
        key = key_of(manager, operation, api_version, str(item.get("subresource") or ""))
        entry = Entry(fields, api_version, str(item.get("time") or ""), item)
        if key in entries:
            both = sets.union(entries[key].fields, fields)
            entry = Entry(both, api_version, max(entry.time, entries[key].time), None)
        entries[key] = entry
    return entries


def read_foreign(managed: Any) -> Entries | None:
    """`read` for what a client sends: every set is checked and put in order."""
    entries = read(managed)
    if entries is None or not all(sets.valid(entry.fields) for entry in entries.values()):
        return None
    return {
        key: Entry(sets.normal(entry.fields), entry.api_version, entry.time, None) for key, entry in entries.items()
    }


def is_reset(managed: Any) -> bool:
    """Whether a client asks to forget all managers: `[]` or `[{}]`."""
    return isinstance(managed, list) and managed in ([], [{}])


def capped(entries: Entries) -> Entries:
    """At most `MAX_UPDATE_MANAGERS` updates, the oldest merged together."""
    updates = [key for key in entries if key.operation == "Update"]
    if len(updates) <= MAX_UPDATE_MANAGERS:
        return entries
    updates.sort(key=lambda key: (entries[key].time, key))
    entries = dict(entries)
    first: dict[str, Key] = {}
    count = len(updates)
    for key in updates:
        if count <= MAX_UPDATE_MANAGERS:
            break
        version = key.version
        if version not in first:
            first[version] = key
            continue
        bucket = key_of(ANCIENT, "Update", version, "")
        if bucket not in entries:
            oldest = entries.pop(first[version])
            entries[bucket] = Entry(oldest.fields, version, oldest.time, None)
        if key == bucket:
            continue
        merged = entries.pop(key)
        both = sets.union(entries[bucket].fields, merged.fields)
        entries[bucket] = Entry(both, version, merged.time, None)
        count -= 1
    return entries


def written(entries: Entries, fragments: dict[int, Any] | None = None) -> list[Json]:
    """Entries as they are stored: appliers first, then by time and name.

    `fragments` gives ready-made JSON for sets, by the set's id.
    """
    items = sorted(
        entries.items(), key=lambda e: (e[0].operation, e[1].time, e[0].manager, e[1].api_version, e[0].subresource)
    )
    return [
        entry.source
        if entry.source is not None
        else entry.to_dict(key, fragments.get(id(entry.fields)) if fragments else None)
        for key, entry in items
    ]


def shown(key: Key) -> str:
    """A manager as conflicts name it."""
    text = quote(key.manager)
    if key.subresource:
        text += f" with subresource {quote(key.subresource)}"
    return text if key.operation == "Apply" else f"{text} using {key.version}"
