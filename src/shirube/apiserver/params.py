"""Query parameters, parsed once, read by name and type. Bad values are 400 as upstream answers them."""

from __future__ import annotations

from urllib.parse import unquote_plus

from shirube.api import errors

_TRUE = frozenset(("1", "t", "true", "T", "TRUE", "True"))
_FALSE = frozenset(("0", "f", "false", "F", "FALSE", "False"))


class Params:
    __slots__ = ("given",)

    def __init__(self, query: str) -> None:
        values: dict[str, list[str]] = {}
        if query:
            for pair in query.split("&"):
                if not pair:
                    continue
                name, _, value = pair.partition("=")
                if "%" in pair or "+" in pair:
                    name, value = unquote_plus(name), unquote_plus(value)
                values.setdefault(name, []).append(value)
        self.given = values  # as they came, by name; nearly always none

    def get(self, name: str, default: str = "") -> str:
        found = self.given.get(name)
        return found[0] if found else default

    def all(self, name: str) -> list[str]:
        return self.given.get(name, [])

    def __contains__(self, name: str) -> bool:
        return name in self.given

    def __bool__(self) -> bool:
        return bool(self.given)

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean as conversion from query strings reads it: an empty value means true."""
        found = self.given.get(name)
        if not found:
            return default
        # As upstream's conversion of query strings: anything but a false word is true.
        return found[0] not in _FALSE

    def integer(self, name: str, default: int | None = None) -> int | None:
        text = self.get(name)
        if not text:
            return default
        try:
            return int(text)
        except ValueError:
            raise errors.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None

    def dry_run(self, kind: str = "CreateOptions") -> bool:
        values = self.all("dryRun")
        if not values:
            return False
        if any(value != "All" for value in values):
            shown = ", ".join(f'"{value}"' for value in values)
            raise errors.invalid(
                "meta.k8s.io",
                kind,
                "",
                [errors.Cause.not_supported("dryRun", shown.strip('"'), ["All"])],
            )
        return True

    def set_dry_run(self, values: list[str]) -> None:
        """As if it had been asked for in the query: DeleteOptions may say so in the body."""
        self.given["dryRun"] = values

    def pretty(self) -> bool:
        return "pretty" in self.given and self.get("pretty") in _TRUE
