"""`$(VAR)` in commands, arguments, environment values and subPathExpr.

`$(NAME)` becomes the variable's value, or stays as it is when nobody defined it; `$$` is one dollar, so
`$$(NAME)` stays `$(NAME)`. Follows
https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping


def expand(text: str, lookup: Callable[[str], str | None]) -> str:
    """`text` with every `$(NAME)` replaced that `lookup` knows."""
    if "$" not in text:
        return text
    out: list[str] = []
    at = 0
    while (dollar := text.find("$", at)) >= 0 and dollar + 1 < len(text):
        out.append(text[at:dollar])
        following = text[dollar + 1]
        if following == "$":
            out.append("$")
            at = dollar + 2
        elif following == "(" and (close := text.find(")", dollar + 2)) >= 0:
            value = lookup(text[dollar + 2 : close])
            out.append(text[dollar : close + 1] if value is None else value)
            at = close + 1
        else:
            # A reference that is never closed keeps its text: "$(" is written and reading goes on.
            out.append(text[dollar : dollar + 2])
            at = dollar + 2
    out.append(text[at:])
    return "".join(out)


def expand_from(text: str, *variables: Mapping[str, str]) -> str:
    """`expand`, looking a name up in the first mapping that has it."""
    return expand(text, lambda name: next((found[name] for found in variables if name in found), None))
