"""JSON patch (RFC 6902): a list of add, remove, replace, move, copy and test operations, all or nothing.

Written here rather than taken from the `jsonpatch` package (tests hold it against that package): a server
must bound what crafted patches can do (`copy` doubles a document with every operation) and answer in
upstream's words, and that package's deep copies cost ten times the rest. As upstream's library does, indexes
may be negative and a `test` for null holds where nothing is.
"""

from __future__ import annotations

from typing import Any

import orjson

from shirube.api.decode import MAX_BYTES, check_depth
from shirube.api.errors import ApiError, bad_request, request_entity_too_large
from shirube.api.patch import plain_copy

Json = dict[str, Any]

MAX_OPERATIONS = 10_000
_MISSING = object()


class _Failed(Exception):
    """An operation that does not fit the document."""


def apply(doc: Json, patch: Any) -> Json:
    """`doc` after every operation of `patch`."""
    if not isinstance(patch, list) or not all(isinstance(operation, dict) for operation in patch):
        raise bad_request("error decoding patch: a JSON patch is a list of operations")
    if len(patch) > MAX_OPERATIONS:
        raise request_entity_too_large(
            f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(patch)}"
        )
    document = _Document(plain_copy(doc))
    try:
        for operation in plain_copy(patch):
            document.run(operation)
    except _Failed as error:
        raise _does_not_apply(str(error)) from None
    if not isinstance(document.root, dict):
        raise _does_not_apply("the patched document is not an object")
    check_depth(document.root)
    return document.root


def _does_not_apply(detail: str) -> ApiError:
    message = "the server rejected our request due to an error in our request"
    return ApiError(422, "Invalid", message, {"causes": [{"message": detail}]})


def _tokens(pointer: Any, member: str) -> list[str]:
    if not isinstance(pointer, str):
        raise _Failed(f"operation has no {member}")
    if pointer == "":
        return []
    if not pointer.startswith("/"):
        raise _Failed(f'{member} "{pointer}" does not start with "/"')
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/")]


def _index(token: str, size: int, path: str) -> int:
    """`token` as an index below `size`; negative ones count from the end."""
    digits = token.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise _Failed(f'"{token}" in "{path}" is no index of a list: invalid index referenced')
    index = int(token)
    if not -size <= index < size:
        raise _Failed(f"Unable to access invalid index: {index}: invalid index referenced")
    return index + size if index < 0 else index


class _Document:
    def __init__(self, root: Any) -> None:
        self.root = root
        self.copied = 0

    def run(self, operation: Json) -> None:
        kind = operation.get("op")
        tokens = _tokens(operation.get("path"), "path")
        path = str(operation["path"])
        if kind in ("add", "replace", "test") and "value" not in operation:
            raise _Failed(f"{kind} operation on {path} has no value")
        if kind == "add":
            self.add(tokens, operation["value"], "add", path)
        elif kind == "remove":
            self.remove(tokens, "remove", path)
        elif kind == "replace":
            self.replace(tokens, operation["value"], path)
        elif kind == "test":
            self.test(tokens, operation["value"], path)
        elif kind == "move":
            self.move(operation, tokens, path)
        elif kind == "copy":
            self.copy(operation, tokens, path)
        else:
            raise _Failed(f"Unexpected kind: {kind}")

    def parent(self, tokens: list[str], kind: str, path: str) -> Any:
        """The collection that holds the last of `tokens`."""
        node = self.root
        for token in tokens[:-1]:
            if isinstance(node, dict):
                node = node.get(token, _MISSING)
            elif isinstance(node, list):
                node = node[_index(token, len(node), path)]
            else:
                node = _MISSING
            if node is _MISSING:
                break
        if not isinstance(node, dict | list):
            raise _Failed(f'{kind} operation does not apply: doc is missing path: "{path}": missing value')
        return node

    def value(self, tokens: list[str], kind: str, path: str) -> Any:
        """What is at `tokens`, or `_MISSING`."""
        if not tokens:
            return self.root
        parent = self.parent(tokens, kind, path)
        if isinstance(parent, dict):
            return parent.get(tokens[-1], _MISSING)
        return parent[_index(tokens[-1], len(parent), path)]

    def add(self, tokens: list[str], value: Any, kind: str, path: str) -> None:
        if not tokens:
            self.root = value
            return
        parent, last = self.parent(tokens, kind, path), tokens[-1]
        if isinstance(parent, dict):
            parent[last] = value
        elif last == "-":
            parent.append(value)
        else:
            parent.insert(_index(last, len(parent) + 1, path), value)

    def remove(self, tokens: list[str], kind: str, path: str) -> Any:
        if not tokens:
            raise _Failed(f"{kind} operation does not apply: the whole document cannot be removed")
        parent, last = self.parent(tokens, kind, path), tokens[-1]
        if isinstance(parent, list):
            return parent.pop(_index(last, len(parent), path))
        if last not in parent:
            raise _Failed(
                f"error in {kind} for path: '{path}': Unable to remove nonexistent key: {last}: missing value"
            )
        return parent.pop(last)

    def replace(self, tokens: list[str], value: Any, path: str) -> None:
        if self.value(tokens, "replace", path) is _MISSING:
            raise _Failed(f"replace operation does not apply: doc is missing key: {path}: missing value")
        if not tokens:
            self.root = value
            return
        parent, last = self.parent(tokens, "replace", path), tokens[-1]
        if isinstance(parent, dict):
            parent[last] = value
        else:
            parent[_index(last, len(parent), path)] = value

    def test(self, tokens: list[str], value: Any, path: str) -> None:
        try:
            found = self.value(tokens, "test", path)
        except _Failed:
            found = _MISSING
        if found is _MISSING:
            found = None
        if _canonical(found) != _canonical(value):
            raise _Failed(f"testing value {path} failed: test failed")

    def move(self, operation: Json, tokens: list[str], path: str) -> None:
        source = operation.get("from")
        origin = _tokens(source, "from")
        if tokens[: len(origin)] == origin and len(tokens) > len(origin):
            raise _Failed(f"move operation does not apply: {source} cannot move into itself")
        if tokens == origin:
            if self.value(origin, "move", str(source)) is _MISSING:
                raise _Failed(f"move operation does not apply: doc is missing from path: {source}: missing value")
            return
        self.add(tokens, self.remove(origin, "move", str(source)), "move", path)

    def copy(self, operation: Json, tokens: list[str], path: str) -> None:
        source = operation.get("from")
        value = self.value(_tokens(source, "from"), "copy", str(source))
        if value is _MISSING:
            raise _Failed(f"copy operation does not apply: doc is missing from path: {source}: missing value")
        data = _dump(value)
        self.copied += len(data)
        if self.copied > MAX_BYTES:
            raise _Failed(
                f"Unable to complete the copy, the accumulated size increase of copy is {self.copied}, "
                f"exceeding the limit {MAX_BYTES}"
            )
        self.add(tokens, orjson.loads(data), "copy", path)


def _dump(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # deeper than any object may be
        raise _Failed("the document is nested too deeply") from None


def _canonical(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        raise _Failed("the document is nested too deeply") from None
