"""CEL as Kubernetes speaks it: expressions compiled once, evaluated on plain objects.

The engine is the Rust `cel` crate; `rewriting` gives it the syntax that it lacks, `library` the functions of
Kubernetes. The engine is imported with the first expression. Expressions come from people who may write policies or
definitions, so their length and the nesting of their loops are bounded; regular expressions are linear by nature.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["CelError", "Expression", "compiled"]

MAX_LENGTH = 16 * 1024  # characters
MAX_NESTING = 5  # of loops inside loops
_LOOP = re.compile(r"\.(all|exists|exists_one|existsOne|map|filter)\s*\(")
_FUNCTION_FAILED = re.compile(
    r"Function '[^']*' error: Python function call failed: \w+: (.*?)\. Check function", re.DOTALL
)


class CelError(ValueError):
    """An expression that does not compile, or cannot be evaluated."""


@functools.lru_cache(maxsize=4096)
def compiled(text: str) -> Expression:
    """The expression, compiled at most once. Raises CelError."""
    return Expression(text)


@functools.cache
def _functions() -> dict[str, Any]:
    import cel
    from cel.stdlib import add_stdlib_to_context

    from shirube.api.cel.library import FUNCTIONS

    # The engine logs every function that raises; the error is ours to report.
    logging.getLogger("cel").setLevel(logging.CRITICAL)
    base = cel.Context()
    add_stdlib_to_context(base)
    return {**base.functions, **FUNCTIONS}


class Expression:
    def __init__(self, text: str) -> None:
        """Raises CelError."""
        import cel

        from shirube.api.cel.rewriting import rewrite

        if len(text) > MAX_LENGTH:
            raise CelError(f"expression is longer than {MAX_LENGTH} characters")
        if _nesting(text) > MAX_NESTING:
            raise CelError(f"loops are nested more than {MAX_NESTING} deep")
        self.text = text
        try:
            self._program = cel.compile(rewrite(text))
            used = self._program.references()
        except Exception as error:  # the engine raises whatever fits its own parser
            raise CelError(f"compilation failed: {_first_line(error)}") from error
        self.variables = frozenset(used["variables"])
        known = _functions()
        self._functions = {name: known[name] for name in used["functions"] if name in known}
        # Dotted names (format.dns1123Label) are seen as a variable and a method.
        heads = {name.split(".")[0] for name in known if "." in name} & self.variables
        self._functions |= {name: f for name, f in known.items() if "." in name and name.split(".")[0] in heads}
        self.variables -= heads

    def evaluate(self, variables: Mapping[str, Any], functions: Mapping[str, Any] | None = None) -> Any:
        """The value, as plain Python. Only variables that the expression names are handed over. Raises CelError."""
        import cel

        context = cel.Context(
            {name: variables[name] for name in self.variables if name in variables},
            {**self._functions, **functions} if functions else self._functions,
        )
        try:
            return self._program.execute(context)
        except KeyError as error:
            raise CelError(f"no such key: {error.args[0]}") from error
        except Exception as error:
            raise CelError(_reason(error)) from error


def _nesting(text: str) -> int:
    """How deep loops are nested, judged by brackets: an upper bound."""
    deepest, open_loops, stack = 0, 0, []
    starts = {m.end() - 1 for m in _LOOP.finditer(text)}
    for n, c in enumerate(text):
        if c == "(":
            stack.append(n in starts)
            open_loops += stack[-1]
            deepest = max(deepest, open_loops)
        elif c == ")" and stack:
            open_loops -= stack.pop()
    return deepest


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def _reason(error: BaseException) -> str:
    text = str(error)
    failed = _FUNCTION_FAILED.search(text)
    if failed:
        return failed[1]
    if isinstance(error, ZeroDivisionError):
        return "division by zero"
    if text.startswith("No such overload"):
        return "no such overload"
    return _first_line(error).partition(". Check")[0]
