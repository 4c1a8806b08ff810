"""CEL that the engine does not parse, as CEL that it does: optional selection, `cel.bind`, Kubernetes' objects.

    a.?b.c[?d]                   a.optionalField("b").optionalField("c").optionalIndex(d)
    cel.bind(x, e, f)            [e].map(x, f)[0]
    Object.spec{a: 1, ?b: c}     structure({"a": 1, "?b": c})     (JSONPatch{…} likewise)

Once a chain has become optional it stays so until a method is called on it, as in cel-go. Text in, text out; what
is inside string literals is left alone.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<string>[rRbB]{0,2}(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'))
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<number>\d[\w.]*)
    |(?P<other>\.\?|\[\?|.)""",
    re.VERBOSE | re.DOTALL,
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_MARKS = (".?", "[?", "bind", "Object", "JSONPatch")
Token = tuple[str, str]


def rewrite(expression: str) -> str:
    """The same expression in what the engine understands."""
    if not any(mark in expression for mark in _MARKS):
        return expression
    return _rewritten(_tokens(expression))


def _tokens(text: str) -> list[Token]:
    found = [(m.lastgroup or "", m.group()) for m in _TOKEN.finditer(text)]
    return [(kind, part) for kind, part in found if kind != "space"]


def _end(tokens: list[Token], start: int) -> int:
    """The index of the bracket that closes the one at `start`; the last token where none does."""
    depth = 0
    for n in range(start, len(tokens)):
        kind, part = tokens[n]
        if kind != "other":
            continue
        if part in ("(", "[", "{", "[?"):
            depth += 1
        elif part in (")", "]", "}"):
            depth -= 1
            if not depth:
                return n
    return len(tokens) - 1


def _arguments(tokens: list[Token]) -> list[list[Token]]:
    """What is between the commas of the outermost level."""
    out: list[list[Token]] = [[]]
    depth = 0
    for kind, part in tokens:
        if kind == "other":
            depth += (part in ("(", "[", "{", "[?")) - (part in (")", "]", "}"))
            if part == "," and not depth:
                out.append([])
                continue
        out[-1].append((kind, part))
    return out


def _structure(tokens: list[Token], start: int) -> tuple[str, int] | None:
    """`Object.spec.x{…}` at `start` as (its text, the index after it); None when it is none."""
    n = start + 1
    while n + 1 < len(tokens) and tokens[n] == ("other", ".") and tokens[n + 1][0] == "name":
        n += 2
    if n >= len(tokens) or tokens[n] != ("other", "{"):
        return None
    end = _end(tokens, n)
    fields = []
    for field in _arguments(tokens[n + 1 : end]):
        mark = "?" if field and field[0] == ("other", "?") else ""
        field = field[1:] if mark else field
        if len(field) > 2 and field[1] == ("other", ":"):
            fields.append(f'"{mark}{field[0][1]}": {_rewritten(field[2:])}')
    return f"structure({{{', '.join(fields)}}})", end + 1


def _rewritten(tokens: list[Token]) -> str:
    out: list[str] = []
    n, optional = 0, False
    while n < len(tokens):
        kind, part = tokens[n]
        following = tokens[n + 1] if n + 1 < len(tokens) else ("", "")
        called = n + 2 < len(tokens) and tokens[n + 2] == ("other", "(")
        if part == "cel" and tokens[n + 1 : n + 4] == [("other", "."), ("name", "bind"), ("other", "(")]:
            end = _end(tokens, n + 3)
            arguments = _arguments(tokens[n + 4 : end])
            if len(arguments) == 3:
                name, value, body = map(_rewritten, arguments)
                out.append(f"([{value}].map({name}, {body})[0])")
                n, optional = end + 1, False
                continue
        if kind == "name" and part in ("Object", "JSONPatch") and (not n or tokens[n - 1][1] not in (".", ".?")):
            made = _structure(tokens, n)
            if made is not None:
                out.append(made[0])
                n, optional = made[1], False
                continue
        if kind == "other" and part in (".?", ".") and following[0] == "name" and (part == ".?" or optional):
            if part == "." and called:
                optional = False  # orValue, hasValue …: what comes after is a value again
                out.append("." + following[1])
            else:
                optional = True
                out.append(f'.optionalField("{following[1]}")')
            n += 2
            continue
        if kind == "other" and (part == "[?" or (part == "[" and optional)):
            end = _end(tokens, n)
            out.append(f".optionalIndex({_rewritten(tokens[n + 1 : end])})")
            n, optional = end + 1, True
            continue
        if kind == "other" and part in _CLOSING:
            end = _end(tokens, n)
            out.append(part + _rewritten(tokens[n + 1 : end]) + tokens[end][1])
            n = end + 1
            continue
        optional = False
        out.append(
            part if kind != "name" or not out or not (out[-1][-1:].isalnum() or out[-1][-1:] == "_") else " " + part
        )
        n += 1
    return "".join(out)
