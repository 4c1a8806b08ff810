"""Bytes from outside to plain objects: JSON and YAML with limits, and the search for duplicate fields.

Whatever the bytes are, the answer is an object or an `ApiError` (400, or 413 when too large): deep nesting
is measured without recursion, aliases are counted before they are expanded, documents of another encoding
are refused. JSON is orjson's. YAML becomes what `sigs.k8s.io/yaml` makes of it (YAML 1.1 booleans such as
`yes` and `on`, octal `0644`, timestamps stay strings, keys become strings), built from libyaml's events.

Duplicate keys cannot be seen in a parsed dict. `may_have_duplicates` is the cheap test that nearly every body
passes: as many `"key":` in the text as keys in the object; only where they differ `duplicates` parses again.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from functools import lru_cache
from typing import Any

import orjson
import yaml

from shirube.api.errors import ApiError, bad_request, request_entity_too_large

# As upstream's limit for request bodies.
MAX_BYTES = 3 * 1024 * 1024
# orjson encodes 254 levels; the deepest built-in schema needs some 40.
MAX_DEPTH = 200
# What aliases may add to a YAML document, in characters and nodes.
MAX_ALIASED = 1024 * 1024

_TOO_DEEP = "exceeded max depth"


# ---------------------------------------------------------------------------------- JSON


def json_body(data: bytes, *, max_depth: int = MAX_DEPTH, max_bytes: int = MAX_BYTES) -> Any:
    """The value of a JSON text."""
    _check_size(data, max_bytes)
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        ended = error.pos >= len(error.doc)
        why = "unexpected end of JSON input" if ended else str(error)
        raise bad_request(f"couldn't get version/kind; json parse error: {why}") from None
    # Every level has a bracket of its own: few brackets cannot be deep, and most bodies have few.
    if data.count(b"{") + data.count(b"[") > max_depth:
        check_depth(value, max_depth)
    return value


def _check_size(data: bytes, max_bytes: int) -> None:
    if len(data) > max_bytes:
        raise request_entity_too_large(f"limit is {max_bytes}")


def check_depth(value: Any, max_depth: int = MAX_DEPTH) -> None:
    """Raises 400 when `value` nests deeper; takes no Python frames however deep it is."""
    level = [value] if isinstance(value, dict | list) else []
    depth = 0
    while level:
        depth += 1
        if depth > max_depth:
            raise bad_request(f"couldn't get version/kind; json parse error: {_TOO_DEEP}")
        level = [
            child
            for parent in level
            for child in (parent.values() if type(parent) is dict else parent)
            if type(child) is dict or type(child) is list
        ]


def count_keys(value: Any) -> int:
    """How many keys the objects inside `value` have, at all depths."""
    keys, level = 0, [value]
    while level:
        below: list[Any] = []
        for parent in level:
            if type(parent) is dict:
                keys += len(parent)
                below.extend(c for c in parent.values() if type(c) is dict or type(c) is list)
            elif type(parent) is list:
                below.extend(c for c in parent if type(c) is dict or type(c) is list)
        level = below
    return keys


def may_have_duplicates(data: bytes, key_count: int) -> bool:
    """Whether a valid JSON text may have more keys than its parsed object; False is certain.

    In valid JSON an unescaped `":` stands after a key and nowhere else; space before a colon, or a backslash
    that may itself be escaped, calls for the exact search.
    """
    # One byte is found some twenty times faster than two: most bodies have no line breaks and no escapes at all.
    if b" " in data and b" :" in data:
        return True
    if (b"\n" in data or b"\t" in data or b"\r" in data) and (b"\n:" in data or b"\t:" in data or b"\r:" in data):
        return True
    keys = data.count(b'":')
    if b"\\" in data:
        if b'\\\\"' in data:
            return True
        keys -= data.count(b'\\":')
    return keys != key_count


def duplicates(data: bytes) -> list[str]:
    """Paths (`spec.containers[0].image`) of the fields that a valid JSON text has more than once, sorted."""
    repeated: dict[int, list[str]] = {}
    kept: list[dict[str, Any]] = []  # ids are unique only while the objects live

    def take(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        taken = dict(pairs)
        if len(taken) != len(pairs):
            seen: set[str] = set()
            twice = [key for key, _ in pairs if key in seen or seen.add(key)]  # type: ignore[func-returns-value]
            repeated[id(taken)] = list(dict.fromkeys(twice))
            kept.append(taken)
        return taken

    try:
        value = json.loads(data, object_pairs_hook=take)
    except (ValueError, RecursionError):
        return []
    paths: list[str] = []
    stack: list[tuple[str, Any]] = [("", value)]
    while repeated and stack:
        path, node = stack.pop()
        if isinstance(node, dict):
            prefix = path + "." if path else ""
            paths.extend(prefix + key for key in repeated.get(id(node), ()))
            stack.extend((prefix + key, child) for key, child in node.items())
        elif isinstance(node, list):
            stack.extend((f"{path}[{i}]", child) for i, child in enumerate(node))
    return sorted(paths)


# ---------------------------------------------------------------------------------- YAML


def yaml_body(data: bytes, *, max_depth: int = MAX_DEPTH, max_bytes: int = MAX_BYTES) -> Any:
    """The value of a YAML text of one document, as JSON would have it."""
    return _yaml(data, max_depth, max_bytes)[0]


def yaml_duplicates(data: bytes) -> list[str]:
    """Upstream's words for the keys that a YAML text sets more than once: `line 3: key "a" already set in map`."""
    return _yaml(data, MAX_DEPTH, MAX_BYTES)[1]


def _yaml(data: bytes, max_depth: int, max_bytes: int) -> tuple[Any, list[str]]:
    _check_size(data, max_bytes)
    if data.lstrip()[:1] == b"{":
        # JSON is YAML, and what clients send as YAML is mostly JSON (kubectl's server-side apply).
        try:
            value = json_body(data, max_depth=max_depth, max_bytes=max_bytes)
        except ApiError as error:
            if _TOO_DEEP in error.message:
                raise
        else:
            twice = duplicates(data) if may_have_duplicates(data, count_keys(value)) else []
            return value, [f'key "{path}" already set in map' for path in twice]
    builder = _Builder(max_depth)
    try:
        parser = yaml.CSafeLoader(data)
        try:
            while (event := parser.get_event()) is not None:
                builder.take(event)
        finally:
            parser.dispose()
    except yaml.YAMLError as error:
        raise bad_request(f"error converting YAML to JSON: yaml: {_one_line(error)}") from None
    except UnicodeError as error:
        raise bad_request(f"error converting YAML to JSON: yaml: {error}") from None
    return builder.result, builder.twice


def _one_line(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    mark = getattr(error, "problem_mark", None)
    text = str(problem).replace("\n", " ")
    return f"line {mark.line + 1}: {text}" if mark is not None else text


_WAITING = object()
_MERGE = "<<"


class _Frame:
    """A collection that is being built."""

    __slots__ = ("anchor", "explicit", "key", "merges", "value", "weight")

    def __init__(self, value: Any, anchor: str | None) -> None:
        self.value = value
        self.anchor = anchor
        self.key: Any = _WAITING
        self.merges: list[Any] = []
        self.explicit: set[str] = set()
        self.weight = 1


class _Builder:
    """Events to one plain object. Keeps its own stack, so depth costs no Python frames."""

    def __init__(self, max_depth: int) -> None:
        self.max_depth = max_depth
        self.stack: list[_Frame] = []
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.open_anchors: set[str] = set()
        self.aliased = 0
        self.documents = 0
        self.result: Any = None
        self.twice: list[str] = []

    def take(self, event: Any) -> None:
        if isinstance(event, yaml.ScalarEvent):
            weight = 1 + len(event.value)
            value = _scalar(event)
            if event.anchor:
                self.anchors[event.anchor] = (value, weight)
            plain_merge = event.value == _MERGE and event.style in (None, "")
            self.put(value, weight, _line(event), plain_merge)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            if len(self.stack) >= self.max_depth:
                raise bad_request(f"error converting YAML to JSON: yaml: {_TOO_DEEP}")
            if event.anchor:
                self.open_anchors.add(event.anchor)
            self.stack.append(_Frame({} if isinstance(event, yaml.MappingStartEvent) else [], event.anchor))
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self.close(_line(event))
        elif isinstance(event, yaml.AliasEvent):
            self.alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            self.anchors.clear()

    def close(self, line: int) -> None:
        frame = self.stack.pop()
        if frame.merges:
            for merged in frame.merges:
                for key, value in merged.items():
                    frame.value.setdefault(key, value)
        if frame.anchor:
            self.open_anchors.discard(frame.anchor)
            self.anchors[frame.anchor] = (frame.value, frame.weight)
        self.put(frame.value, frame.weight, line, False)

    def alias(self, event: Any) -> None:
        if event.anchor in self.open_anchors:
            raise bad_request(f"error converting YAML to JSON: yaml: anchor '{event.anchor}' value contains itself")
        if event.anchor not in self.anchors:
            raise bad_request(f"error converting YAML to JSON: yaml: unknown anchor '{event.anchor}' referenced")
        value, weight = self.anchors[event.anchor]
        self.aliased += weight
        if self.aliased > MAX_ALIASED:
            raise bad_request("error converting YAML to JSON: yaml: document contains excessive aliasing")
        copy = _copy(value, self.max_depth - len(self.stack))
        self.put(copy, weight, _line(event), False)

    def put(self, value: Any, weight: int, line: int, is_merge: bool) -> None:
        """`value` is complete: it belongs to the collection that is open, or is the document."""
        if not self.stack:
            if self.documents > 1 and value is not None:
                raise bad_request("error converting YAML to JSON: yaml: only one document is expected")
            if self.documents == 1:
                self.result = value
            return
        frame = self.stack[-1]
        frame.weight += weight
        target = frame.value
        if isinstance(target, list):
            target.append(value)
        elif frame.key is _WAITING:
            frame.key = _MERGE_KEY if is_merge else _key(value)
        elif frame.key is _MERGE_KEY:
            sources = value if isinstance(value, list) else [value]
            if not all(isinstance(s, dict) for s in sources):
                raise bad_request(
                    "error converting YAML to JSON: yaml: map merge requires map or sequence of maps as the value"
                )
            frame.merges.extend(sources)
            frame.key = _WAITING
        else:
            if frame.key in frame.explicit:
                self.twice.append(f'line {line + 1}: key "{frame.key}" already set in map')
            frame.explicit.add(frame.key)
            target[frame.key] = value
            frame.key = _WAITING


_MERGE_KEY = object()


def _line(event: Any) -> int:
    return event.start_mark.line


def _copy(value: Any, depth: int) -> Any:
    """An alias' own copy: what is built is changed in place later (defaults, pruning)."""
    if not isinstance(value, dict | list):
        return value
    if depth <= 0:
        raise bad_request(f"error converting YAML to JSON: yaml: {_TOO_DEEP}")
    if isinstance(value, dict):
        return {key: _copy(child, depth - 1) for key, child in value.items()}
    return [_copy(child, depth - 1) for child in value]


def _key(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    shown = "null" if value is None else "map" if isinstance(value, dict) else "list"
    raise bad_request(f"error converting YAML to JSON: yaml: a map key cannot be a {shown}")


_CORE = "tag:yaml.org,2002:"


def _scalar(event: Any) -> Any:
    tag: str | None = event.tag
    if tag in (None, "", "!"):
        # A lone "!" says "as it stands"; so do quotes and blocks.
        plain = event.style in (None, "") and tag != "!"
        # Long scalars are text, and are not kept in the memory of `_plain`.
        return _number(_plain(event.value), event.value) if plain and len(event.value) <= 400 else event.value
    if tag == _CORE + "binary":
        try:
            return base64.b64decode(event.value.encode(), validate=False).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            raise bad_request(
                "error converting YAML to JSON: yaml: !!binary value contains invalid base64 data"
            ) from None
    if tag in (_CORE + "int", _CORE + "float", _CORE + "bool", _CORE + "null"):
        return _number(_plain(event.value[:400]), event.value)
    return event.value


def _number(value: Any, text: str) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise bad_request(f"error converting YAML to JSON: json: unsupported value: {text}")
    return value


_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_BASES = (
    (re.compile(r"0[xX][0-9a-fA-F]{1,16}"), 16, 2),
    (re.compile(r"0[bB][01]{1,64}"), 2, 2),
    (re.compile(r"0[oO][0-7]{1,22}"), 8, 2),
    (re.compile(r"0[0-7]{1,22}"), 8, 1),
    (re.compile(r"0|[1-9][0-9]{0,19}"), 10, 0),
)


@lru_cache(maxsize=4096)
def _plain(text: str) -> Any:
    """What an unquoted scalar means (YAML 1.1 as go-yaml v2 resolves it; times stay text)."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    digits = text.replace("_", "")
    sign, body = (digits[0], digits[1:]) if digits[:1] in ("+", "-") else ("", digits)
    for pattern, base, skip in _BASES:
        if pattern.fullmatch(body):
            number = int(body[skip:], base)
            number = -number if sign == "-" else number
            if -(2**63) <= number < 2**64:
                return number
    if _FLOAT.fullmatch(digits):
        real = float(digits)
        # Go prints whole floats without a point, so they arrive as integers.
        return int(real) if math.isfinite(real) and real.is_integer() and abs(real) < 1e21 else real
    return text
