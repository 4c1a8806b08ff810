"""CEL expressions: compiled and checked once, evaluated with a bound on their work.

The engine, its missing syntax and Kubernetes' functions are those of `shirube.api.cel`. The engine has no types of
ours and cannot be interrupted, so that both are done around it: names are checked against what an expression may
refer to when it is compiled, and work is bounded by how deeply its macros (`all`, `map`, …) are nested and by the
sizes of what they go through, before it is evaluated.
"""

from __future__ import annotations

import functools
import importlib
import logging
import re
from collections.abc import Mapping
from typing import Any

from shirube.api.cel.cost import LOOPS, MAX_STEPS, CostExceeded, steps, without_texts
from shirube.api.cel.rewriting import rewrite

_MACRO = re.compile(rf"(?:\.|\b)({'|'.join(LOOPS)})\s*\(\s*([A-Za-z_]\w*)\s*,")
_FUNCTION_FAILED = re.compile(
    r"Function '[^']*' error: Python function call failed: \w+: (.*?)\. Check function", re.DOTALL
)
_TYPES = frozenset(
    ("int", "uint", "double", "bool", "string", "bytes", "list", "map", "type", "null_type", "optional", "math",
     "sets", "strings", "base64", "lists", "google", "dyn")
)  # fmt: skip
_CORE = frozenset(
    ("all", "exists", "exists_one", "existsOne", "map", "filter", "has", "size", "contains", "startsWith", "endsWith",
     "matches", "int", "uint", "double", "string", "bytes", "bool", "type", "dyn", "duration", "timestamp", "hasValue",
     "value", "orValue", "or", "optional.of", "optional.none", "optional.ofNonZeroValue", "of", "none",
     "ofNonZeroValue",
     "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getHours", "getMilliseconds",
     "getMinutes", "getMonth", "getSeconds")
)  # fmt: skip


class CompileError(ValueError):
    """An expression that cannot be used; the text is upstream's, with the place."""


@functools.cache
def _engine() -> tuple[Any, dict[str, Any]]:
    """The engine and all functions; loaded with the first expression, since it brings much with it."""
    logging.getLogger("cel").setLevel(logging.CRITICAL)  # it logs functions that raise, which we report
    engine = importlib.import_module("cel")
    more = importlib.import_module("cel.stdlib")
    library = importlib.import_module("shirube.api.cel.library")
    return engine, {**more.STDLIB_FUNCTIONS, **library.FUNCTIONS}


@functools.cache
def _known() -> tuple[frozenset[str], frozenset[str]]:
    """(names of functions and methods, names of the libraries that dotted functions begin with)"""
    names = _engine()[1]
    dotted = {name for name in names if "." in name}
    methods = {name.rpartition(".")[2] for name in dotted}
    return frozenset({*names, *methods, *_CORE}), frozenset(name.partition(".")[0] for name in dotted)


class Expression:
    """A compiled expression."""

    def __init__(self, source: str, variables: frozenset[str]) -> None:
        """Raises CompileError for bad syntax, and for names that are neither `variables` nor known functions."""
        self.source = source
        engine, functions = _engine()
        try:
            text = rewrite(source)
            self._program = engine.compile(text)
        except (ValueError, RuntimeError) as error:
            raise CompileError(_syntax_error(str(error))) from error
        code = without_texts(source)
        bound = {match[2] for match in _MACRO.finditer(without_texts(text))}
        found = self._program.references()
        known, libraries = _known()
        for name in found["variables"]:
            if name.partition(".")[0] not in variables | bound | libraries | _TYPES:
                raise _undeclared(source, code, name)
        for name in found["functions"]:
            if re.match(r"[A-Za-z]", name) and name not in known:
                raise _undeclared(source, code, name)
        dotted = any(name.partition(".")[0] in libraries for name in found["variables"])
        wanted = set(found["functions"])
        self._functions = {n: f for n, f in functions.items() if n in wanted or (dotted and "." in n)}
        self.uses = frozenset(re.findall(r"(?<![.\w])[A-Za-z_]\w*", code)) & variables
        self.depth = depth(code)

    def run(self, variables: Mapping[str, Any], largest: int) -> Any:
        """The value. `largest` is the size of the largest list or map within reach. Raises CostExceeded; ValueError
        with the engine's message."""
        if steps(largest, self.depth) > MAX_STEPS:
            raise CostExceeded
        engine, _ = _engine()
        try:
            return self._program.execute(engine.Context(variables=dict(variables), functions=self._functions))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of the engine is no Exception
            raise ValueError(_reason(error)) from error


def depth(code: str) -> int:
    """How deeply macros are nested."""
    deepest = 0
    for match in _MACRO.finditer(code):
        deepest = max(deepest, 1 + depth(_argument(code, match.end())))
    return deepest


def _argument(code: str, start: int) -> str:
    """The rest of a macro's arguments, up to its closing bracket."""
    level = 1
    for at in range(start, len(code)):
        level += (code[at] in "([{") - (code[at] in ")]}")
        if level == 0:
            return code[start:at]
    return code[start:]


def optional(value: Any, present: bool) -> Any:
    """An optional value, for `optionalOldSelf`."""
    kind = _engine()[0].OptionalValue
    return kind.of(value) if present else kind.none()


def _undeclared(source: str, code: str, name: str) -> CompileError:
    return located(source, max(code.find(name), 0), f"undeclared reference to '{name}' (in container '')")


def located(source: str, at: int, why: str) -> CompileError:
    """An error at an offset, with the line and a pointer, as cel-go shows it."""
    line = source.count("\n", 0, at) + 1
    column = at - (source.rfind("\n", 0, at) + 1)
    text = source.splitlines()[line - 1] if source else ""
    pointer = f" | {text}\n | {'.' * column}^"
    return CompileError(f"compilation failed: ERROR: <input>:{line}:{column + 1}: {why}\n{pointer}")


def _syntax_error(text: str) -> str:
    _, found, rest = text.partition("ERROR:")
    return f"compilation failed: ERROR:{rest}" if found else f"compilation failed: {text}"


def _reason(error: BaseException) -> str:
    """What went wrong, in cel-go's words where they are known."""
    text = str(error)
    if isinstance(error, KeyError):
        return f"no such key: {error.args[0] if error.args else ''}"
    if isinstance(error, ZeroDivisionError):
        return "division by zero"
    if isinstance(error, OverflowError):
        return "integer overflow"
    if isinstance(error, TypeError):
        return "no such overload"
    if failed := _FUNCTION_FAILED.search(text):
        return failed[1]
    return text.partition(". Check ")[0] or type(error).__name__
