"""Macros of CEL that the engine lacks, written with those that it has.

    x.all(k, v, e)              x.entries().all(p, e with k, v from p)         (exists, existsOne likewise)
    x.transformList(k, v, e)    x.entries().map(p, …)                          (with a filter: k, v, f, e)
    x.transformMap(k, v, e)     x.entries().map(p, [key, …]).pairsToMap()
    x.transformMapEntry(k, v, e) x.entries().map(p, …).mergeEntries()
    x.sortBy(v, e)              x.map(v, [v, e]).sortPairs()
    x.optMap(v, e)              x.optionalItems().map(v, e).optionalFirst()    (optFlatMap likewise)

A name is bound by going through a list of one. `entries()` of a list are pairs of index and item, those of a map of key
and value. Two-variable comprehensions follow cel-go's `ext.TwoVarComprehensions`.
"""

from __future__ import annotations

PAIR = "pair__"  # what a pair is called while its two names are bound; nested macros hide it, as they may

MACROS = frozenset(
    (
        "all",
        "exists",
        "existsOne",
        "exists_one",
        "transformList",
        "transformMap",
        "transformMapEntry",
        "sortBy",
        "optMap",
        "optFlatMap",
    )
)


def bound(names: dict[str, str], body: str) -> str:
    """`body` with names for values: `cel.bind` for each."""
    for name, value in reversed(names.items()):
        body = f"[{value}].map({name}, {body})[0]"
    return f"({body})"


def expanded(macro: str, arguments: list[str]) -> str | None:
    """What stands for `.macro(arguments)` after its receiver; None when it is no macro of ours."""
    count = len(arguments)
    if macro == "existsOne" and count == 2:
        return f".exists_one({arguments[0]}, {arguments[1]})"
    if macro in ("all", "exists", "existsOne", "exists_one") and count == 3:
        name = "exists_one" if macro == "existsOne" else macro
        return f".entries().{name}({PAIR}, {_paired(arguments[:2], arguments[2])})"
    if macro.startswith("transform") and count in (3, 4):
        return _transformed(macro, arguments)
    if macro == "sortBy" and count == 2:
        return f".map({arguments[0]}, [{arguments[0]}, {arguments[1]}]).sortPairs()"
    if macro in ("optMap", "optFlatMap") and count == 2:
        last = "optionalFirst" if macro == "optMap" else "optionalFlat"
        return f".optionalItems().map({arguments[0]}, {arguments[1]}).{last}()"
    return None


def _paired(names: list[str], body: str) -> str:
    return bound({names[0]: f"{PAIR}[0]", names[1]: f"{PAIR}[1]"}, body)


def _transformed(macro: str, arguments: list[str]) -> str:
    names, body = arguments[:2], arguments[-1]
    chosen = f".filter({PAIR}, {_paired(names, arguments[2])})" if len(arguments) == 4 else ""
    made = _paired(names, body)
    if macro == "transformList":
        return f".entries(){chosen}.map({PAIR}, {made})"
    if macro == "transformMap":
        return f".entries(){chosen}.map({PAIR}, [{PAIR}[0], {made}]).pairsToMap()"
    return f".entries(){chosen}.map({PAIR}, {made}).mergeEntries()"
