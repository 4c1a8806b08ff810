"""The causes that validators report, by short names: upstream's package ``field``.

``invalid(path, value, detail)`` and its siblings make one ``Cause`` each; their wording is that of
``shirube.api.errors.Cause``.
"""

from __future__ import annotations

from shirube.api.errors import Cause

required = Cause.required
invalid = Cause.invalid
not_supported = Cause.not_supported
duplicate = Cause.duplicate
forbidden = Cause.forbidden
too_long = Cause.too_long
too_many = Cause.too_many
not_found = Cause.not_found
type_invalid = Cause.type_invalid
internal = Cause.internal

__all__ = [
    "Cause",
    "duplicate",
    "forbidden",
    "internal",
    "invalid",
    "not_found",
    "not_supported",
    "required",
    "too_long",
    "too_many",
    "type_invalid",
]
