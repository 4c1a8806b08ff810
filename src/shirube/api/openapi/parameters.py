"""Every query and path parameter of the API, in one table.

The key is the name under which OpenAPI v2 shares a parameter (upstream adds a hash of its content, which generated
clients show nowhere but tools compare); the name on the wire is before the dash. Parameters in `INLINE` are written
out where they are used, as upstream does.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple


class Parameter(NamedTuple):
    name: str
    place: str  # "query" or "path"
    type: str
    description: str


def _query(name: str, type_: str, description: str) -> Parameter:
    return Parameter(name, "query", type_, description)


SHARED: Final[dict[str, Parameter]] = {
    "allowWatchBookmarks-HC2hJt-J": _query(
        "allowWatchBookmarks", "boolean", "Ask for BOOKMARK events in a watch. Ignored when this is not a watch."
    ),
    "command-Py3eQybp": _query("command", "string", "The command to run, one argument each; no shell is involved."),
    "container-1GeXxFDC": _query(
        "container", "string", "The container whose log is read. May be left out when the pod has only one."
    ),
    "container-_Q-EJ3nR": _query(
        "container", "string", "The container to attach to. May be left out when the pod has only one."
    ),
    "container-i5dOmRiM": _query(
        "container", "string", "The container to run the command in. May be left out when the pod has only one."
    ),
    "continue-QfD61s0i": _query(
        "continue",
        "string",
        "The token from a previous page's metadata.continue, to be used with the same other parameters. An expired "
        "token is answered with 410 and a fresh token that goes on from the next key at the newest state. Not for "
        "watches.",
    ),
    "fieldManager-7c6nTn1T": _query(
        "fieldManager",
        "string",
        "The name under which the changed fields are owned: at most 128 printable characters. Required for apply.",
    ),
    "fieldManager-Qy4HdaTW": _query(
        "fieldManager",
        "string",
        "The name under which the changed fields are owned: at most 128 printable characters.",
    ),
    "fieldSelector-xIcQKXFG": _query(
        "fieldSelector", "string", "Return only objects whose fields match. Everything by default."
    ),
    "follow-9OIXh_2R": _query("follow", "boolean", "Go on with the log as it is written. False by default."),
    "force-tOGGb0Yi": _query(
        "force", "boolean", "Take over fields that another manager owns. Only with an apply patch."
    ),
    "gracePeriodSeconds--K5HaBOS": _query(
        "gracePeriodSeconds",
        "integer",
        "Seconds that the object has to end by itself; zero deletes at once. The kind's or object's own by default.",
    ),
    "ignoreStoreReadErrorWithClusterBreakingPotential-QbNkfIqj": _query(
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
        "Delete an object that cannot be read from storage, without finalizers and preconditions. This can break "
        "the workload behind it. False by default.",
    ),
    "insecureSkipTLSVerifyBackend-gM00jVbe": _query(
        "insecureSkipTLSVerifyBackend",
        "boolean",
        "Do not verify the node's serving certificate. Whoever sits between could then forge the log.",
    ),
    "labelSelector-5Zw57w4C": _query(
        "labelSelector", "string", "Return only objects whose labels match. Everything by default."
    ),
    "limit-1NfNmdNH": _query(
        "limit",
        "integer",
        "At most this many objects in a list; metadata.continue leads to the rest, as of the same moment. Not for "
        "watches.",
    ),
    "limitBytes-zwd1RXuc": _query("limitBytes", "integer", "End after this many bytes of the log."),
    "logpath-Noq7euwC": Parameter("logpath", "path", "string", "path to the log"),
    "namespace-vgWSWtn3": Parameter(
        "namespace", "path", "string", "object name and auth scope, such as for teams and projects"
    ),
    "orphanDependents-uRB25kX5": _query(
        "orphanDependents",
        "boolean",
        "Deprecated, use propagationPolicy. Whether dependents are left without an owner.",
    ),
    "path-QCf0eosM": _query("path", "string", "The rest of the URL, sent to the service."),
    "path-oPbzgLUj": _query("path", "string", "The rest of the URL, sent to the pod."),
    "path-rFDtV0x9": _query("path", "string", "The rest of the URL, sent to the node."),
    "path-z6Ciiujn": Parameter("path", "path", "string", "path to the resource"),
    "ports-91KROJmm": _query("ports", "integer", "The ports to forward. Required with WebSockets."),
    "pretty-tJGM1-ng": _query("pretty", "string", "Indent the answer. True by default for browsers, curl and wget."),
    "previous-1jxDPu3y": _query(
        "previous", "boolean", "Read the log of the previous, terminated container. False by default."
    ),
    "propagationPolicy-6jk3prlO": _query(
        "propagationPolicy",
        "string",
        "What becomes of dependents: Orphan leaves them, Background deletes them afterwards, Foreground before.",
    ),
    "resourceVersion-5WAnf1kx": _query(
        "resourceVersion",
        "string",
        "Which state may be served: see https://kubernetes.io/docs/reference/using-api/api-concepts/"
        "#resource-versions. Unset by default.",
    ),
    "resourceVersionMatch-t8XhRHeC": _query(
        "resourceVersionMatch",
        "string",
        "How resourceVersion is meant for a list: Exact or NotOlderThan. Unset by default.",
    ),
    "sendInitialEvents-rLXlEK_k": _query(
        "sendInitialEvents",
        "boolean",
        "Begin a watch with an ADDED event for every present object and a bookmark annotated "
        "k8s.io/initial-events-end. Needs resourceVersionMatch=NotOlderThan.",
    ),
    "shardSelector-Kgyki_3_": _query(
        "shardSelector", "string", "An expression that selects a share of the objects by hash. Not enabled."
    ),
    "sinceSeconds-vE2NLdnP": _query(
        "sinceSeconds", "integer", "Only lines that are at most this many seconds old. Not together with sinceTime."
    ),
    "stderr-26jJhFUR": _query("stderr", "boolean", "Attach to the standard error. True by default."),
    "stderr-W_1TNlWc": _query("stderr", "boolean", "Send the command's standard error."),
    "stdin-PSzNhyUC": _query("stdin", "boolean", "Send standard input to the command. False by default."),
    "stdin-sEFnN3IS": _query("stdin", "boolean", "Attach to the standard input. False by default."),
    "stdout--EZLRwV1": _query("stdout", "boolean", "Send the command's standard output."),
    "stdout-005YMKE6": _query("stdout", "boolean", "Attach to the standard output. True by default."),
    "stream-l-48cgXv": _query(
        "stream", "string", "Which stream of the log: All (the default), Stdout or Stderr. Only All with tailLines."
    ),
    "tailLines-9xQLWHMV": _query(
        "tailLines", "integer", "Begin this many lines before the end of the log. All of it by default."
    ),
    "timeoutSeconds-yvYezaOC": _query("timeoutSeconds", "integer", "End the list or watch after this many seconds."),
    "timestamps-c17fW1w_": _query("timestamps", "boolean", "Begin every line with the time of its writing."),
    "tty-g7MlET_l": _query("tty", "boolean", "The container has a terminal, to which to attach. False by default."),
    "tty-s0flW37O": _query("tty", "boolean", "Give the command a terminal. False by default."),
    "watch-XNNPZGbK": _query(
        "watch", "boolean", "Send changes as a stream of events instead of a list. With resourceVersion."
    ),
}

INLINE: Final[dict[str, Parameter]] = {
    "dryRun": _query("dryRun", "string", "All: do everything but keep the change."),
    "fieldValidation": _query(
        "fieldValidation",
        "string",
        "What to do about unknown and duplicate fields in the body: Strict refuses the request and names them, Warn "
        "(the default) drops them and sends a warning for each, Ignore drops them silently.",
    ),
}

LIST: Final = (
    "allowWatchBookmarks-HC2hJt-J",
    "continue-QfD61s0i",
    "fieldSelector-xIcQKXFG",
    "labelSelector-5Zw57w4C",
    "limit-1NfNmdNH",
    "resourceVersion-5WAnf1kx",
    "resourceVersionMatch-t8XhRHeC",
    "sendInitialEvents-rLXlEK_k",
    "shardSelector-Kgyki_3_",
    "timeoutSeconds-yvYezaOC",
    "watch-XNNPZGbK",
)
DELETE: Final = (
    "dryRun",
    "gracePeriodSeconds--K5HaBOS",
    "ignoreStoreReadErrorWithClusterBreakingPotential-QbNkfIqj",
    "orphanDependents-uRB25kX5",
    "propagationPolicy-6jk3prlO",
)
DELETE_COLLECTION: Final = DELETE + tuple(p for p in LIST if not p.startswith(("allowWatch", "watch")))
WRITE: Final = ("dryRun", "fieldManager-Qy4HdaTW", "fieldValidation")
PATCH: Final = ("dryRun", "fieldManager-7c6nTn1T", "fieldValidation", "force-tOGGb0Yi")
PRETTY: Final = "pretty-tJGM1-ng"
NAMESPACE: Final = "namespace-vgWSWtn3"
REST_OF_PATH: Final = "path-z6Ciiujn"

CONNECT: Final[dict[str, tuple[str, ...]]] = {
    "NodeProxyOptions": ("path-rFDtV0x9",),
    "PodProxyOptions": ("path-oPbzgLUj",),
    "ServiceProxyOptions": ("path-QCf0eosM",),
    "PodExecOptions": (
        "command-Py3eQybp",
        "container-i5dOmRiM",
        "stderr-W_1TNlWc",
        "stdin-PSzNhyUC",
        "stdout--EZLRwV1",
        "tty-s0flW37O",
    ),
    "PodAttachOptions": (
        "container-_Q-EJ3nR",
        "stderr-26jJhFUR",
        "stdin-sEFnN3IS",
        "stdout-005YMKE6",
        "tty-g7MlET_l",
    ),
    "PodPortForwardOptions": ("ports-91KROJmm",),
}
LOG: Final = (
    "container-1GeXxFDC",
    "follow-9OIXh_2R",
    "insecureSkipTLSVerifyBackend-gM00jVbe",
    "limitBytes-zwd1RXuc",
    "previous-1jxDPu3y",
    "sinceSeconds-vE2NLdnP",
    "stream-l-48cgXv",
    "tailLines-9xQLWHMV",
    "timestamps-c17fW1w_",
)


def parameter(key: str) -> Parameter:
    """The parameter with this key; "name:Pod" is the name in the path of a Pod."""
    if key.startswith("name:"):
        return Parameter("name", "path", "string", f"name of the {key[5:]}")
    return SHARED.get(key) or INLINE[key]


def body(ref: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    """An OpenAPI v2 body parameter with this schema."""
    made: dict[str, Any] = {"in": "body", "name": "body", "schema": ref}
    if required:
        made["required"] = True
    return made
