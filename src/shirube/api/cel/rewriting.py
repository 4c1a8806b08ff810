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


class _Rewriting:
    """A list of tokens on its way to text. Each rule looks at the token it stands on: it writes what that becomes and
    passes over it (True), or leaves it to the next rule."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.n = 0
        self.optional = False  # the chain so far is an optional value
        self.out: list[str] = []

    def text(self) -> str:
        rules = (self._bind, self._structure, self._macro, self._literal, self._field, self._index, self._bracket)
        while self.n < len(self.tokens):
            if not any(rule(*self.tokens[self.n]) for rule in rules):
                self._word()
        return "".join(self.out)

    def _write(self, text: str, following: int, *, optional: bool = False) -> bool:
        self.out.append(text)
        self.n, self.optional = following, optional
        return True

    def _at(self, ahead: int) -> Token:
        n = self.n + ahead
        return self.tokens[n] if 0 <= n < len(self.tokens) else ("", "")

    @property
    def _called(self) -> bool:
        return self._at(2) == ("other", "(")

    def _bind(self, _: str, part: str) -> bool:
        n = self.n
        if part != "cel" or self.tokens[n + 1 : n + 4] != [("other", "."), ("name", "bind"), ("other", "(")]:
            return False
        end = _end(self.tokens, n + 3)
        arguments = _arguments(self.tokens[n + 4 : end])
        if len(arguments) != 3:
            return False
        name, value, body = map(_rewritten, arguments)
        return self._write(bound({name: value}, body), end + 1)

    def _structure(self, kind: str, part: str) -> bool:
        if kind != "name" or part not in ("Object", "JSONPatch") or self._at(-1)[1] in (".", ".?"):
            return False
        made = _structure(self.tokens, self.n)
        return made is not None and self._write(*made)

    def _macro(self, kind: str, part: str) -> bool:
        name = self._at(1)[1]
        if kind != "other" or part != "." or not self._called or name not in MACROS:
            return False
        end = _end(self.tokens, self.n + 2)
        text = expanded(name, [_rewritten(a) for a in _arguments(self.tokens[self.n + 3 : end])])
        return text is not None and self._write(text, end + 1)

    def _literal(self, kind: str, part: str) -> bool:
        if kind != "other" or part not in ("[", "[?", "{") or not _literal(self.tokens, self.n):
            return False
        made = _optional_literal(self.tokens, self.n)
        return made is not None and self._write(*made)

    def _field(self, kind: str, part: str) -> bool:
        named, name = self._at(1)
        if kind != "other" or named != "name" or not (part == ".?" or (part == "." and self.optional)):
            return False
        if part == "." and self._called:  # orValue, hasValue …: what comes after is a value again
            return self._write("." + name, self.n + 2)
        return self._write(f'.optionalField("{name}")', self.n + 2, optional=True)

    def _index(self, kind: str, part: str) -> bool:
        if kind != "other" or not (part == "[?" or (part == "[" and self.optional)):
            return False
        end = _end(self.tokens, self.n)
        return self._write(f".optionalIndex({self._inside(end)})", end + 1, optional=True)

    def _bracket(self, kind: str, part: str) -> bool:
        if kind != "other" or part not in _CLOSING:
            return False
        end = _end(self.tokens, self.n)
        return self._write(part + self._inside(end) + self.tokens[end][1], end + 1, optional=self.optional)

    def _inside(self, end: int) -> str:
        return _rewritten(self.tokens[self.n + 1 : end])

    def _word(self) -> None:
        _, part = self.tokens[self.n]
        if part == "string" and self._at(1) == ("other", "(") and self._at(-1)[1] != ".":
            part = "asText"
        apart = bool(self.out) and _of_word(part[0]) and _of_word(self.out[-1][-1:])
        self._write(f" {part}" if apart else part, self.n + 1)


def _rewritten(tokens: list[Token]) -> str:
    return _Rewriting(tokens).text()
