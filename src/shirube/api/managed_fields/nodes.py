"""Types as field management sees them: what is owned as a whole, and what part by part.

`node_types.root_of` gives the node of a `Type`, made once. Each kind of node knows, for a value of its type:

- `shape`: everything of the value that its set of fields depends on (names of fields, keys of list items), as a
  flat list: objects of one shape share their sets, which is what makes creating cheap;
- `added`: the fields of a value that is new, containers included, as an update owns them;
- `applied`: the fields that an applied configuration speaks of, which is upstream's `ToFieldSet`;
- `compare`: the fields that differ between two values, as (added or modified, removed).

Follows sigs.k8s.io/structured-merge-diff (`typed/compare.go`, `typed/tofieldset.go`). Lists and maps that a
schema calls atomic are leaves. Item order of granular lists belongs to nobody.
"""

from __future__ import annotations

from typing import Any

import orjson

from shirube.api.managed_fields.sets import LEAF, FieldSet, shown

Changes = tuple[FieldSet | None, FieldSet | None]
NO_CHANGES: Changes = (None, None)

_EMPTY_OBJECT: dict[str, Any] = {}
_OTHER = object()  # in a shape: a value that is not of the kind that its type says


class UndeclaredField(Exception):
    """An applied configuration has a field that its schema does not know."""

    def __init__(self, path: str, what: str = "field not declared in schema") -> None:
        super().__init__(f"{path}: {what}")
        self.path = path
        self.what = what


class Node:
    """A leaf: owned as a whole."""

    leaf = True

    def shape(self, value: Any, out: list[Any]) -> None:
        return

    def added(self, value: Any) -> FieldSet:
        return LEAF

    def initial(self, value: Any) -> FieldSet:
        """`added`, for a value whose container was there before it."""
        return LEAF

    def applied(self, value: Any, path: str) -> FieldSet | None:
        return LEAF

    def compare(self, old: Any, new: Any) -> Changes:
        return NO_CHANGES if old == new else (LEAF, None)


LEAF_NODE = Node()


class Struct(Node):
    """A struct or granular map: each of its fields for itself."""

    leaf = False
    __slots__ = ("children", "element", "names", "skipped", "structs")

    def __init__(self) -> None:
        self.children: dict[str, Node] = {}  # those that are no leaves
        self.names: dict[str, str] = {}  # field -> "f:field"; of a struct: all that are declared
        self.element: Node | None = None  # what undeclared fields are; None: they are an error
        self.structs: tuple[str, ...] = ()
        self.skipped: frozenset[str] = frozenset()  # never owned

    def child(self, key: str) -> Node:
        return self.children.get(key) or self.element or LEAF_NODE

    def shape(self, value: Any, out: list[Any]) -> None:
        if type(value) is not dict:
            out.append(_OTHER)
            return
        out += value
        out.append(None)
        if self.element is None or self.element.leaf:
            children = self.children
            if children:
                for key in value:
                    if key in children:
                        children[key].shape(value[key], out)
        else:
            for key, item in value.items():
                self.child(key).shape(item, out)

    def _set_of(self, value: dict[str, Any], first: tuple[str, ...] = ()) -> FieldSet:
        names, children, skipped = self.names, self.children, self.skipped
        out = {}
        for key in sorted(value):
            if key in skipped:
                continue
            node = children.get(key) or self.element
            if node is None:
                out[names.get(key) or "f:" + key] = LEAF
            elif key not in first:
                out[names.get(key) or "f:" + key] = node.added(value[key])
            elif within := node.initial(value[key]):
                out[names.get(key) or "f:" + key] = within
        return out

    def added(self, value: Any) -> FieldSet:
        if type(value) is not dict or not value:
            return LEAF
        return {".": LEAF, **self._set_of(value)}

    def initial(self, value: Any) -> FieldSet:
        return self._set_of(value, self.structs) if type(value) is dict else LEAF

    def applied(self, value: Any, path: str) -> FieldSet | None:
        if type(value) is not dict:
            if value is None:
                return LEAF
            raise UndeclaredField(path or ".", f"expected map, got {_kind(value)}")
        out = {}
        for key in sorted(value):
            if key in self.skipped:
                continue
            item = value[key]
            declared = key in self.names
            if not declared and self.element is None:
                raise UndeclaredField(f"{path}.{key}")
            name, node = "f:" + key, self.child(key)
            if node.leaf:
                out[name] = LEAF
                continue
            within = node.applied(item, f"{path}.{key}")
            member = item is None or item == {} or not declared
            if within:
                out[name] = {".": LEAF, **within} if member else within
            elif member or within is not None:
                out[name] = LEAF
        return out or None

    def compare(self, old: Any, new: Any) -> Changes:
        if type(old) is not dict or type(new) is not dict:
            return NO_CHANGES if old == new else (LEAF, None)
        changed: FieldSet = {}
        removed: FieldSet = {}
        names, structs = self.names, self.structs
        for key, value in new.items():
            if key in self.skipped:
                continue
            if key in old:
                before = old[key]
                if before is value or before == value:
                    continue
            elif key in structs and type(value) is dict:
                before = _EMPTY_OBJECT
            else:
                changed[names.get(key) or "f:" + key] = self.child(key).added(value)
                continue
            more, less = self.child(key).compare(before, value)
            if more is not None:
                changed[names.get(key) or "f:" + key] = more
            if less is not None:
                removed[names.get(key) or "f:" + key] = less
        for key, value in old.items():
            if key in new or key in self.skipped:
                continue
            node = self.child(key)
            less = node.compare(value, _EMPTY_OBJECT)[1] if key in structs else node.added(value)
            if less is not None:
                removed[names.get(key) or "f:" + key] = less
        return (dict(sorted(changed.items())) or None), (dict(sorted(removed.items())) or None)


class Listing(Node):
    """A granular list: items are told apart by keys (`k:`) or by their value (`v:`)."""

    leaf = False
    __slots__ = ("defaults", "elements", "item", "keys")

    def __init__(self) -> None:
        self.item: Node = LEAF_NODE
        self.keys: tuple[str, ...] = ()  # sorted; none: a set
        self.defaults: dict[str, Any] = {}
        self.elements: dict[Any, str] = {}  # identity -> "k:{…}", as many as is reasonable

    def shape(self, value: Any, out: list[Any]) -> None:
        if type(value) is not list:
            out.append(_OTHER)
            return
        if not self.keys:
            out += value
            out.append(None)
            return
        out.append(len(value))
        keys, item_shape = self.keys, self.item.shape
        if len(keys) == 1:
            key = keys[0]
            for item in value:
                out.append(item.get(key) if type(item) is dict else None)
                item_shape(item, out)
            return
        for item in value:
            for key in keys:
                out.append(item.get(key) if type(item) is dict else None)
            item_shape(item, out)

    def element(self, item: Any) -> str:
        """The path element of an item."""
        if not self.keys:
            return "v:" + orjson.dumps(item, option=orjson.OPT_SORT_KEYS).decode()
        if type(item) is not dict:
            return "v:" + orjson.dumps(item).decode()
        if len(self.keys) == 1:
            identity: Any = item.get(self.keys[0])
        else:
            identity = tuple(item.get(key) for key in self.keys)
        try:
            found = self.elements.get(identity)
        except TypeError:
            found, identity = None, None
        if found is None:
            named = {}
            for key in self.keys:
                value = item.get(key)
                if value is None:
                    value = self.defaults.get(key)
                if value is not None:
                    named[key] = value
            found = "k:" + orjson.dumps(named).decode()
            if identity is not None and not _has_bool(identity):
                if len(self.elements) >= 4096:
                    self.elements.clear()
                self.elements[identity] = found
        return found

    def index(self, items: list[Any]) -> dict[str, Any]:
        """Items by path element. Those that share one (the schema forbids it, validation may not) are a
        `_Repeated`, and are owned together."""
        found: dict[str, Any] = {}
        for item in items:
            element = self.element(item)
            if element in found:
                there = found[element]
                if isinstance(there, _Repeated):
                    there.append(item)
                else:
                    found[element] = _Repeated([there, item])
            else:
                found[element] = item
        return found

    def _added_item(self, item: Any) -> FieldSet:
        if isinstance(item, _Repeated) or not self.keys:
            return LEAF
        return self.item.added(item)

    def _set_of(self, value: list[Any]) -> FieldSet:
        return {element: self._added_item(item) for element, item in sorted(self.index(value).items(), key=_first)}

    def added(self, value: Any) -> FieldSet:
        if type(value) is not list or not value:
            return LEAF
        return {".": LEAF, **self._set_of(value)}

    def initial(self, value: Any) -> FieldSet:
        return self._set_of(value) if type(value) is list else LEAF

    def applied(self, value: Any, path: str) -> FieldSet | None:
        if type(value) is not list:
            if value is None:
                return LEAF
            raise UndeclaredField(path or ".", f"expected list, got {_kind(value)}")
        out: FieldSet = {}
        for item in value:
            element = self.element(item)
            where = path + shown(element)
            if self.keys and element == "k:{}":
                what = f'an element that omits key field "{self.keys[0]}" (and doesn\'t have default value)'
                raise UndeclaredField(path, f"associative list with keys has {what}")
            if element in out:
                raise UndeclaredField(path, f"duplicate entries for key {shown(element)}")
            within = self.item.applied(item, where) if self.keys else None
            out[element] = {".": LEAF, **within} if within else LEAF
        return dict(sorted(out.items())) or None

    def compare(self, old: Any, new: Any) -> Changes:
        if type(old) is not list or type(new) is not list:
            if type(new) is list and not old:
                return self.initial(new) or None, None
            if type(old) is list and not new:
                return None, self.initial(old) or None
            return NO_CHANGES if old == new else (LEAF, None)
        before, after = self.index(old), self.index(new)
        changed: FieldSet = {}
        removed: FieldSet = {}
        for element, item in after.items():
            if element not in before:
                changed[element] = self._added_item(item)
                continue
            was = before[element]
            if was == item:
                continue
            if isinstance(was, _Repeated) or isinstance(item, _Repeated):
                changed[element] = LEAF
                continue
            more, less = self.item.compare(was, item)
            if more is not None:
                changed[element] = more
            if less is not None:
                removed[element] = less
        for element, item in before.items():
            if element not in after:
                removed[element] = self._added_item(item)
        return (dict(sorted(changed.items())) or None), (dict(sorted(removed.items())) or None)


class Deduced(Struct):
    """A value of no schema (`x-kubernetes-preserve-unknown-fields`): maps by entry, lists and scalars whole."""

    def __init__(self) -> None:
        super().__init__()
        self.element = self

    def shape(self, value: Any, out: list[Any]) -> None:
        if type(value) is dict:
            super().shape(value, out)
        else:
            out.append(_OTHER)

    def applied(self, value: Any, path: str) -> FieldSet | None:
        return super().applied(value, path) if type(value) is dict else LEAF


class _Repeated(list[Any]):
    """Items of one list that share their path element."""


def _first(pair: tuple[str, Any]) -> str:
    return pair[0]


def _has_bool(identity: Any) -> bool:
    # True == 1 in a dict of Python's, but not in JSON.
    if type(identity) is tuple:
        return any(type(part) in (bool, float) for part in identity)
    return type(identity) in (bool, float)


def _kind(value: Any) -> str:
    return {str: "string", bool: "boolean", int: "int", float: "float", list: "list"}.get(type(value), "map")
