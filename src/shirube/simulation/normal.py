"""A world without what may differ between two runs that came to the same result.

Names made by chance become their prefix and a `?`, UIDs what they name, times, addresses, nodes and revisions a word
each; managed fields, generations, Events and Leases are left out. What remains is a sorted list of lines, one for each
object, so that two results can be compared and their difference read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import orjson

from shirube.storage.types import KeyValue

Json = dict[str, Any]

_LEFT_OUT = ("/registry/core/events/", "/registry/coordination.k8s.io/leases/", "/registry/masterleases/")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_ADDRESS = re.compile(r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(/\d+)?\b")
# lastScaleTime: when an autoscaler scaled is written after it did; a crash in between loses it, and nothing else tells.
_DROPPED = frozenset(
    (
        "resourceVersion",
        "managedFields",
        "generation",
        "observedGeneration",
        "creationTimestamp",
        "nodePort",
        "lastScaleTime",
    )
)
_ONE_WORD = {"nodeName": "node", "certificate": "certificate", "hostIP": "ip"}
# Secret data made by chance; a volume's directory has its claim's UID, which is replaced where it stands.
_SECRET = frozenset(("token", "ca.crt"))


def normal(items: Iterable[KeyValue]) -> list[str]:
    objects = [orjson.loads(item.value) for item in items if not item.key.startswith(_LEFT_OUT)]
    names: dict[str, str] = {}
    uids: dict[str, str] = {}
    for obj in objects:
        metadata = obj["metadata"]
        prefix = metadata.get("generateName")
        if prefix and metadata["name"].startswith(prefix):
            names[metadata["name"]] = prefix + "?"
    # A claim made for a pod is named after it.
    for name, word in names.items():
        for other, its in names.items():
            if other in word:
                names[name] = word = word.replace(other, its)
    for obj in objects:
        metadata = obj["metadata"]
        where = f"{metadata.get('namespace', '')}/{names.get(metadata['name'], metadata['name'])}"
        uids[metadata["uid"]] = f"<uid of {obj.get('kind', '')} {where}>"
    words = _Words(names, uids)
    return sorted(orjson.dumps(words.of(obj), option=orjson.OPT_SORT_KEYS).decode() for obj in objects)


class _Words:
    def __init__(self, names: dict[str, str], uids: dict[str, str]) -> None:
        self._names, self._uids = names, uids

    def of(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {self._text(k): self.of(v, k) for k, v in value.items() if k not in _DROPPED}
        if isinstance(value, list):
            return sorted((self.of(v, key) for v in value), key=lambda v: orjson.dumps(v, option=orjson.OPT_SORT_KEYS))
        if isinstance(value, str):
            return _ONE_WORD.get(key) or ("secret" if key in _SECRET else self._text(value))
        return value

    def _text(self, text: str) -> str:
        if text in self._names:
            return self._names[text]
        if len(text) < 7:
            return text
        text = _TIME.sub("<time>", text)
        text = _UID.sub(lambda found: self._uids.get(found[0], "<uid>"), text)
        text = _ADDRESS.sub("<address>", text)
        for name, word in self._names.items():
            if name in text:
                text = text.replace(name, word)
        return text


def difference(expected: list[str], found: list[str], limit: int = 6) -> list[str]:
    """Lines that only one of both has."""
    missing, extra = list(expected), []
    for line in found:
        if line in missing:
            missing.remove(line)
        else:
            extra.append(line)
    return [f"- {line}" for line in missing[:limit]] + [f"+ {line}" for line in extra[:limit]]
