"""CEL that the engine does not parse, as CEL that it does: optional selection, `cel.bind`, more macros, Kubernetes'
objects.

    a.?b.c[?d]                   a.optionalField("b").optionalField("c").optionalIndex(d)
    {?"a": b}, [?c]              optionalMap([["a", b, true]]), optionalList([[c, true]])
    cel.bind(x, e, f)            [e].map(x, f)[0]
    string(x)                    asText(x)
    Object.spec{a: 1, ?b: c}     structure({"a": 1, "?b": c})     (JSONPatch{…} likewise)

Once a chain has become optional it stays so until a method is called on it, as in cel-go. Text in, text out; what
is inside string literals is left alone.
"""

from __future__ import annotations

import re

from shirube.api.cel.macros import MACROS, bound, expanded

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<string>[rRbB]{0,2}(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'))
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<number>\d[\w.]*)
    |(?P<other>\.\?|\[\?|.)""",
    re.VERBOSE | re.DOTALL,
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_MARKS = re.compile(r"[.\[{,]\s*\?|\bbind\b|Object|JSONPatch|\bstring\b|" + "|".join(rf"\b{m}\b" for m in MACROS))
Token = tuple[str, str]


def rewrite(expression: str) -> str:
    """The same expression in what the engine understands."""
    if not _MARKS.search(expression):
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


def _of_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _literal(tokens: list[Token], start: int) -> bool:
    """Whether a bracket begins a list or map, rather than an index or a message."""
    if not start:
        return True
    kind, part = tokens[start - 1]
    return part == "in" or (kind not in ("name", "string", "number") and part not in (")", "]", "}"))


def _optional_literal(tokens: list[Token], start: int) -> tuple[str, int] | None:
    """A list or map with items that are left out when they are none, as (its text, the index after it); None when it
    has no such items."""
    end = _end(tokens, start)
    inner = tokens[start + 1 : end]
    if tokens[start][1] == "[?":
        inner = [("other", "?"), *inner]
    items = [(item[0] == ("other", "?"), item) for item in _arguments(inner) if item]
    if not any(optional for optional, _ in items):
        return None
    made = []
    for optional, item in items:
        item = item[1:] if optional else item
        said = "true" if optional else "false"
        if tokens[start][1] != "{":
            made.append(f"[{_rewritten(item)}, {said}]")
            continue
        colon = _colon(item)
        made.append(f"[{_rewritten(item[:colon])}, {_rewritten(item[colon + 1 :])}, {said}]")
    name = "optionalMap" if tokens[start][1] == "{" else "optionalList"
    return f"{name}([{', '.join(made)}])", end + 1


def _colon(tokens: list[Token]) -> int:
    """The colon after the key of an entry; a conditional in a key has one of its own."""
    depth = conditions = 0
    for n, (kind, part) in enumerate(tokens):
        if kind != "other":
            continue
        depth += (part in ("(", "[", "{", "[?")) - (part in (")", "]", "}"))
        if depth:
            continue
        conditions += part == "?"
        if part == ":":
            if not conditions:
                return n
            conditions -= 1
    return len(tokens)


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
                out.append(bound({name: value}, body))
                n, optional = end + 1, False
                continue
        if kind == "name" and part in ("Object", "JSONPatch") and (not n or tokens[n - 1][1] not in (".", ".?")):
            made = _structure(tokens, n)
            if made is not None:
                out.append(made[0])
                n, optional = made[1], False
                continue
        if kind == "other" and part == "." and called and following[1] in MACROS:
            end = _end(tokens, n + 2)
            made_of = expanded(following[1], [_rewritten(a) for a in _arguments(tokens[n + 3 : end])])
            if made_of is not None:
                out.append(made_of)
                n, optional = end + 1, False
                continue
        if part == "string" and following == ("other", "(") and (not n or tokens[n - 1][1] != "."):
            tokens[n] = (kind, part) = ("name", "asText")
        if (
            kind == "other"
            and part in ("[", "[?", "{")
            and _literal(tokens, n)
            and (text := _optional_literal(tokens, n))
        ):
            out.append(text[0])
            n, optional = text[1], False
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
        apart = bool(out) and _of_word(part[0]) and _of_word(out[-1][-1:])
        out.append(f" {part}" if apart else part)
        n += 1
    return "".join(out)
