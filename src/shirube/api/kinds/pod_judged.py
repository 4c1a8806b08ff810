"""Pod specs that were found valid: pods of one template are judged once.

Whether a spec is valid depends on nothing but the spec (and the pod's name, where volumes make claims named after
it), so the JSON of the last few valid ones is remembered. The name of the token volume is random in every pod: it is
taken out of what is compared.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import orjson

_KEPT = 128  # specs; 2 MB at most
_MAX_BYTES = 16 * 1024
_TOKEN_VOLUME = re.compile("kube-api-access-[a-z0-9]{5}")  # what is taken out must be a valid name itself
_PLACEHOLDER = b"0"  # where a name stands, a number cannot: no other spec looks like this

_valid: OrderedDict[bytes, None] = OrderedDict()


def likeness(spec: Mapping[str, Any]) -> bytes | None:
    """What specs that are valid for the same reasons have in common; None when that cannot be told."""
    try:
        text = orjson.dumps(spec)
    except orjson.JSONEncodeError:
        return None
    if len(text) > _MAX_BYTES or b'"ephemeral":' in text:
        return None
    names = [
        name for volume in spec.get("volumes") or () if _TOKEN_VOLUME.fullmatch(name := str(volume.get("name", "")))
    ]
    if len(names) == 1:
        text = text.replace(orjson.dumps(names[0]), _PLACEHOLDER)
    return text


def is_valid(likeness: bytes | None) -> bool:
    if likeness is None or likeness not in _valid:
        return False
    _valid.move_to_end(likeness)
    return True


def remember(likeness: bytes | None) -> None:
    """A spec like this was found valid."""
    if likeness is None:
        return
    _valid[likeness] = None
    if len(_valid) > _KEPT:
        _valid.popitem(last=False)
