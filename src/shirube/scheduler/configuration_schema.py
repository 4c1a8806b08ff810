"""The fields of a `KubeSchedulerConfiguration` v1 file and what they hold: whatever is not here is refused by its path.

Each field is a kind (`TEXT`, `INTEGER` …), a list of one, a table of fields, or a bounded integer. Objects of the API
inside (affinities) are taken as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

TEXT, INTEGER, NUMBER, FLAG, DURATION, OBJECT = (
    "a string",
    "an integer",
    "a number",
    "true or false",
    "a duration",
    "an object",
)


class Between(NamedTuple):
    """An integer with bounds, both included."""

    least: int
    most: int


_PLUGIN = {"name": TEXT, "weight": Between(0, 2**31 - 1)}
_PLUGIN_SET = {"enabled": [_PLUGIN], "disabled": [_PLUGIN]}
POINTS = (
    "preEnqueue", "queueSort", "preFilter", "filter", "postFilter", "preScore", "score", "reserve", "permit",
    "preBind", "bind", "postBind", "multiPoint",
)  # fmt: skip
_RESOURCE = {"name": TEXT, "weight": Between(1, 100)}
_SHAPE = [{"utilization": Between(0, 100), "score": Between(0, 10)}]
_PERCENTAGE = Between(0, 100)
FIELDS: Mapping[str, Any] = {
    "apiVersion": TEXT,
    "kind": TEXT,
    "parallelism": Between(1, 2**31 - 1),
    "leaderElection": {
        "leaderElect": FLAG,
        "leaseDuration": DURATION,
        "renewDeadline": DURATION,
        "retryPeriod": DURATION,
        "resourceLock": TEXT,
        "resourceName": TEXT,
        "resourceNamespace": TEXT,
    },
    "clientConnection": {
        "kubeconfig": TEXT,
        "acceptContentTypes": TEXT,
        "contentType": TEXT,
        "qps": NUMBER,
        "burst": INTEGER,
    },
    "enableProfiling": FLAG,
    "enableContentionProfiling": FLAG,
    "percentageOfNodesToScore": _PERCENTAGE,
    "podInitialBackoffSeconds": Between(1, 2**53),
    "podMaxBackoffSeconds": Between(1, 2**53),
    "delayCacheUntilActive": FLAG,
    "profiles": [
        {
            "schedulerName": TEXT,
            "percentageOfNodesToScore": _PERCENTAGE,
            "plugins": dict.fromkeys(POINTS, _PLUGIN_SET),
            "pluginConfig": [{"name": TEXT, "args": OBJECT}],
        }
    ],
    "extenders": [
        {
            "urlPrefix": TEXT,
            "filterVerb": TEXT,
            "preemptVerb": TEXT,
            "prioritizeVerb": TEXT,
            "bindVerb": TEXT,
            "weight": Between(0, 2**31 - 1),
            "enableHTTPS": FLAG,
            "tlsConfig": {
                "insecure": FLAG,
                "serverName": TEXT,
                "certFile": TEXT,
                "keyFile": TEXT,
                "caFile": TEXT,
                "certData": TEXT,
                "keyData": TEXT,
                "caData": TEXT,
            },
            "httpTimeout": DURATION,
            "nodeCacheCapable": FLAG,
            "managedResources": [{"name": TEXT, "ignoredByScheduler": FLAG}],
            "ignorable": FLAG,
        }
    ],
}
_ARGS = {"apiVersion": TEXT, "kind": TEXT}
ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "DefaultPreemption": {
        **_ARGS,
        "minCandidateNodesPercentage": _PERCENTAGE,
        "minCandidateNodesAbsolute": Between(0, 2**31 - 1),
    },
    "DynamicResources": {**_ARGS, "filterTimeout": DURATION, "bindingTimeout": DURATION},
    "InterPodAffinity": {
        **_ARGS,
        "hardPodAffinityWeight": Between(0, 100),
        "ignorePreferredTermsOfExistingPods": FLAG,
    },
    "NodeAffinity": {**_ARGS, "addedAffinity": OBJECT},
    "NodeResourcesBalancedAllocation": {**_ARGS, "resources": [{"name": TEXT, "weight": Between(1, 1)}]},
    "NodeResourcesFit": {
        **_ARGS,
        "ignoredResources": [TEXT],
        "ignoredResourceGroups": [TEXT],
        "scoringStrategy": {
            "type": TEXT,
            "resources": [_RESOURCE],
            "requestedToCapacityRatio": {"shape": _SHAPE},
        },
    },
    "PodTopologySpread": {
        **_ARGS,
        "defaultConstraints": [
            {"maxSkew": Between(1, 2**31 - 1), "topologyKey": TEXT, "whenUnsatisfiable": TEXT, "labelSelector": OBJECT}
        ],
        "defaultingType": TEXT,
    },
    "VolumeBinding": {**_ARGS, "bindTimeoutSeconds": Between(0, 2**53), "shape": _SHAPE},
}


class FieldError(ValueError):
    """A field that is not there, or does not hold what it should. The message starts with its path."""


def check(value: Any, wanted: Any, at: str = "") -> None:
    """Raises FieldError. A value of null stands for a field that is left out."""
    if value is None:
        return
    if isinstance(wanted, Mapping):
        if not isinstance(value, dict):
            raise FieldError(f"{at or 'the file'}: must be an object, not {_shown(value)}")
        for name, inner in value.items():
            if name not in wanted:
                raise FieldError(f"{_join(at, str(name))}: there is no such field; there are {', '.join(wanted)}")
            check(inner, wanted[name], _join(at, name))
    elif isinstance(wanted, list):
        if not isinstance(value, list):
            raise FieldError(f"{at}: must be a list, not {_shown(value)}")
        for number, inner in enumerate(value):
            if inner is None:
                raise FieldError(f"{at}[{number}]: must not be null")
            check(inner, wanted[0], f"{at}[{number}]")
    elif isinstance(wanted, Between):
        _check_kind(value, INTEGER, at)
        if not wanted.least <= value <= wanted.most:
            bounds = f"from {wanted.least} to {wanted.most}" if wanted.most < 2**31 - 1 else f"at least {wanted.least}"
            raise FieldError(f"{at}: must be {bounds}, not {value}")
    else:
        _check_kind(value, wanted, at)


def _check_kind(value: Any, wanted: str, at: str) -> None:
    fine = {
        TEXT: isinstance(value, str),
        INTEGER: isinstance(value, int) and not isinstance(value, bool),
        NUMBER: isinstance(value, int | float) and not isinstance(value, bool),
        FLAG: isinstance(value, bool),
        DURATION: value == 0 or (isinstance(value, str) and seconds(value) is not None),
        OBJECT: isinstance(value, dict),
    }[wanted]
    if not fine:
        example = " such as 5s or 1m30s" if wanted == DURATION else ""
        raise FieldError(f"{at}: must be {wanted}{example}, not {_shown(value)}")


def seconds(text: Any) -> float | None:
    """A Go duration; None when it is none."""
    if text == 0 or text == "0":
        return 0.0
    units = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    part = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)"
    if re.fullmatch(f"(?:{part})+", str(text)) is None:
        return None
    return sum(float(number) * units[unit] for number, unit in re.findall(part, str(text)))


def _join(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str | int | float | bool) else f"a {type(value).__name__}"
