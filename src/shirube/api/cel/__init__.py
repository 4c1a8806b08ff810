"""CEL as Kubernetes speaks it: expressions compiled once, evaluated on plain objects.

The engine is the Rust `cel` crate; `rewriting` gives it the syntax that it lacks, `library` the functions of
Kubernetes; `type_checking` holds expressions to types without it. The engine is imported with the first expression.
Expressions come from people who may write policies or definitions, so their length, the nesting of their loops and
their work on the objects at hand (`cost`) are bounded; regular expressions are linear by nature.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Mapping
from typing import Any

from shirube.api.cel import cost
from shirube.api.cel.cost import Budget, CostExceeded

__all__ = ["Budget", "CelError", "Expression", "compiled"]

MAX_LENGTH = 16 * 1024  # characters
MAX_NESTING = 5  # of loops inside loops
_BOUND = re.compile(r"\.(?:all|exists|exists_one|map|filter)\(\s*([A-Za-z_]\w*)\s*,")
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
    from cel.stdlib import add_stdlib_to_context

    from shirube.api.cel.engine import cel
    from shirube.api.cel.library import FUNCTIONS

    # The engine logs every function that raises; the error is ours to report.
    logging.getLogger("cel").setLevel(logging.CRITICAL)
    base = cel.Context()
    add_stdlib_to_context(base)
    functions = {**base.functions, **FUNCTIONS}
    functions["replace"] = cost.bounded(functions["replace"], cost.replaced)
    functions["join"] = cost.bounded(functions["join"], cost.joined)
    return functions


class Expression:
    def __init__(self, text: str) -> None:
        """Raises CelError."""
        from shirube.api.cel.collections import RANGE
        from shirube.api.cel.engine import cel
        from shirube.api.cel.rewriting import rewrite

        if len(text) > MAX_LENGTH:
            raise CelError(f"expression is longer than {MAX_LENGTH} characters")
        self._nested = cost.nesting(text)
        if self._nested > MAX_NESTING:
            raise CelError(f"loops are nested more than {MAX_NESTING} deep")
        self.text = text
        try:
            source = rewrite(text)
            self._program = cel.compile(source)
            used = self._program.references()
        except Exception as error:  # the engine raises whatever fits its own parser
            raise CelError(f"compilation failed: {_first_line(error)}") from error
        self.variables = frozenset(used["variables"])
        known = _functions()
        self._functions = {name: known[name] for name in used["functions"] if name in known}
        # Dotted names (format.dns1123Label) are seen as a variable and a method.
        heads = {name.split(".")[0] for name in known if "." in name} & self.variables
        self._functions |= {name: f for name, f in known.items() if "." in name and name.split(".")[0] in heads}
        self.variables -= heads | set(_BOUND.findall(source))
        self._literals = cost.of_literals(text, RANGE) if self._nested else 0
        self._copies = cost.copies(text)

    def evaluate(
        self,
        variables: Mapping[str, Any],
        functions: Mapping[str, Any] | None = None,
        budget: Budget | None = None,
    ) -> Any:
        """The value, as plain Python. Only variables that the expression names are handed over. Raises CelError, also
        when it would be too much work, alone or for what is left of `budget`."""
        from shirube.api.cel.engine import cel

        known = {name: variables[name] for name in self.variables if name in variables}
        try:
            cost.check_made(self._copies, known.values())
            (budget or Budget(cost.MAX_TOTAL_STEPS)).take(self._work(known))
        except CostExceeded as error:
            raise CelError(str(error)) from error
        context = cel.Context(
            known,
            {**self._functions, **functions} if functions else self._functions,
        )
        try:
            return self._program.execute(context)
        except KeyError as error:
            raise CelError(f"no such key: {error.args[0]}") from error
        except Exception as error:
            raise CelError(_reason(error)) from error

    def _work(self, known: Mapping[str, Any]) -> int:
        """Raises CostExceeded when it is more than one evaluation may be."""
        if not self._nested:
            return 1
        size = max(self._literals, max(map(cost.largest, known.values()), default=0))
        work = cost.steps(size, self._nested) * (cost.CALL if self._functions else 1)
        if work > cost.MAX_STEPS and self._nested > 1:
            raise CostExceeded("operation cancelled: actual cost limit exceeded")
        return work


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
