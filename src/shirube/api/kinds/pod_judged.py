"""Pod specs that were found valid: pods of one template are judged once.

Whether a spec is valid, and what its user is warned of, depends on nothing but the spec (and the pod's name, where
volumes make claims named after it), so the JSON of the last few valid ones is remembered with their warnings. The name
of the token volume is random in every pod: it is taken out of what is compared, and no warning has it.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import orjson

_KEPT = 128  # specs; 4 MB at most, with their warnings
_MAX_BYTES = 16 * 1024
_MAX_WARNINGS = 16
_TOKEN_VOLUME = re.compile("kube-api-access-[a-z0-9]{5}")  # what is taken out must be a valid name itself
_PLACEHOLDER = b"0"  # where a name stands, a number cannot: no other spec looks like this

_valid: OrderedDict[bytes, list[str]] = OrderedDict()


def likeness(spec: Mapping[str, Any]) -> bytes | None:
    """What specs that are valid for the same reasons have in common; None when that cannot be told."""
    tokens = []
    for volume in spec.get("volumes") or ():
        if "ephemeral" in volume:
            return None
        name = volume.get("name")
        if name and _TOKEN_VOLUME.fullmatch(name):
            tokens.append(name)
    try:
        text = orjson.dumps(spec)
    except orjson.JSONEncodeError:
        return None
    if len(text) > _MAX_BYTES:
        return None
    return text.replace(orjson.dumps(tokens[0]), _PLACEHOLDER) if len(tokens) == 1 else text


def warnings_of(likeness: bytes | None) -> list[str] | None:
    """The warnings of specs like this, which are valid; None when it is not known whether they are."""
    if likeness is None or likeness not in _valid:
        return None
    _valid.move_to_end(likeness)
    return _valid[likeness]


def remember(likeness: bytes | None, warnings: list[str]) -> None:
    """A spec like this was found valid."""
    if likeness is None or len(warnings) > _MAX_WARNINGS:
        return
    _valid[likeness] = warnings
    if len(_valid) > _KEPT:
        _valid.popitem(last=False)
