"""What of the kernel's network and of firewalls would hinder a cluster: two of the doctor's checks.

The kernel is asked by trying: rules and links of every kind that we use, in a network namespace that goes at once.
Firewalls are read, on the machine (what leaves) and inside a running cluster's namespaces (what is forwarded): chains
that drop by default, and rules that drop DNS or the addresses of pods.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from shirube.cluster import namespaces
from shirube.cluster.command import CommandError, run
from shirube.cluster.finding import Finding
from shirube.cluster.layout import ClusterLayout
from shirube.cluster.spec import ClusterSpec
from shirube.foundation.address_family import IPV4, IPV6, Family

_DNS_PORT = 53
_LINKS = {
    "veth": ("type veth peer name other", "pods cannot be given a network", "veth"),
    "bridge": ("type bridge", "nodes cannot be connected", "bridge"),
    "vxlan": ("type vxlan id 1 dstport 4789", "nodes on different links cannot reach each other's pods", "vxlan"),
    "ifb": ("type ifb", "bandwidth annotations of pods are not kept to", "ifb"),
}

Rules = list[dict[str, Any]]


def _trial(family: Family) -> str:
    """A table with everything that our own tables use."""
    name, ip, address, one = f"{family.word} trial", family.word, family.address_type, "192.0.2.1"
    if family is IPV6:
        one = "2001:db8::1"
    return f"""
add table {name}
add map {name} verdicts {{ type {address} . inet_proto . inet_service : verdict; }}
add set {name} ranges {{ type inet_proto . inet_service; flags interval; }}
add set {name} clients {{ type {address}; flags dynamic,timeout; timeout 60s; }}
add chain {name} pick {{ type nat hook prerouting priority dstnat; }}
add rule {name} pick {ip} daddr . meta l4proto . th dport vmap @verdicts
add rule {name} pick fib daddr type local meta l4proto tcp dnat {ip} to numgen random mod 1 map {{ 0 : {one} . 80 }}
add chain {name} leave {{ type nat hook postrouting priority srcnat; }}
add rule {name} leave ct status dnat masquerade
add chain {name} refuse {{ type filter hook forward priority filter; }}
add rule {name} refuse ct state new meta l4proto . th dport @ranges update @clients {{ {ip} saddr }} reject
add rule {name} refuse meta l4proto tcp reject with tcp reset
"""


def kernel(_: ClusterLayout, spec: ClusterSpec) -> list[Finding]:
    """nftables and links, tried out."""
    if os.geteuid() != 0 or shutil.which("nft") is None:
        return []  # reported already
    found = []
    for family in (IPV4, IPV6):
        if not any(family.among([one.pods]) for one in spec.families):
            continue
        if problem := _refused(["nft", "-f", "-"], _trial(family)):
            modules = "nf_tables, nf_nat, nft_fib_ipv4, nft_fib_ipv6, nft_numgen, nft_reject_inet and nft_masq"
            found.append(
                Finding(
                    "error",
                    f"the kernel does not take our kind of nftables rules for {family.api}: {problem}",
                    "Services, host ports and network policies do not work",
                    f"load {modules}, or use Linux 5.10 up",
                )
            )
    if any(IPV6.among([one.pods]) for one in spec.families) and (
        problem := _refused(["ip", "-6", "addr", "add", "2001:db8::1/64", "dev", "lo"])
    ):
        remedy = "boot without ipv6.disable=1, or use `shirube up --ip-family ipv4`"
        found.append(
            Finding("error", f"the kernel has no IPv6: {problem}", "pods and Services get no addresses", remedy)
        )
    for kind, (arguments, effect, module) in _LINKS.items():
        if problem := _refused(["ip", "link", "add", "trial", *arguments.split()]):
            severity: Any = "error" if kind in ("veth", "bridge") else "warning"
            cause = f"the kernel makes no links of type {kind}: {problem}"
            found.append(Finding(severity, cause, effect, f"`modprobe {module}`, or a kernel that has it"))
    return found


def _refused(command: list[str], given: str = "") -> str:
    """What the program said when it failed, in a network namespace of its own; "" when it did not."""
    try:
        run(["unshare", "--net", *command], input=given, timeout=20)
    except CommandError as error:
        return str(error).splitlines()[0]
    return ""


def firewall(cluster: ClusterLayout, _: ClusterSpec) -> list[Finding]:
    """Chains that drop by default, and rules that drop DNS or pods: on the host for what leaves, inside the nodes for
    what is forwarded."""
    found = []
    places: list[tuple[str, list[str], set[str]]] = [("this machine", [], {"output"})]
    spec = ClusterSpec.load(cluster.spec) or ClusterSpec()
    if namespaces.network_namespace_path(cluster.netns).exists():
        names = [cluster.netns, *(cluster.node(i).netns for i in spec.running())]
        places += [
            (f"namespace {n}", ["nsenter", f"--net={namespaces.network_namespace_path(n)}"], {"forward", "input"})
            for n in names
            if namespaces.network_namespace_path(n).exists()
        ]
    pods = [one.pods for one in spec.families]
    for place, prefix, hooks in places:
        try:
            listed = orjson.loads(run([*prefix, "nft", "-j", "list", "ruleset"], timeout=10))
        except (CommandError, ValueError):
            continue  # nft is reported by the other checks
        for chain in dropping(listed, hooks):
            found.append(
                Finding(
                    "warning",
                    f"on {place} the firewall chain {chain} drops what no rule accepts",
                    "connections of pods to the outside, DNS among them, may end there",
                    "accept new connections (and port 53) in that chain, or set its policy to accept",
                )
            )
        for chain, handle, what in blocking(listed, hooks, pods):
            found.append(
                Finding(
                    "warning",
                    f"on {place} a rule of the firewall chain {chain} (handle {handle}) drops {what}",
                    "pods resolve no names outside" if what == "DNS" else "pods reach nothing through it",
                    f"`nft delete rule {chain} handle {handle}`, or accept {what} before it",
                )
            )
    return found


def _entries(listed: dict[str, object], kind: str) -> Rules:
    entries = listed.get("nftables")
    return [e[kind] for e in entries if kind in e] if isinstance(entries, list) else []


def _name(chain: dict[str, Any], own: str = "name") -> str:
    return f"{chain['family']} {chain['table']} {chain[own]}"


def dropping(listed: dict[str, object], hooks: set[str]) -> list[str]:
    """The base chains of `nft -j list ruleset` at one of the hooks whose policy is drop."""
    return [
        _name(c)
        for c in _entries(listed, "chain")
        if c.get("hook") in hooks and c.get("policy") == "drop" and not c["table"].startswith("shirube")
    ]


def blocking(listed: dict[str, object], hooks: set[str], pods: Iterable[str]) -> list[tuple[str, int, str]]:
    """(chain, handle, "DNS" or the pods' range) of rules that packets at these hooks meet and that drop them."""
    rules = [r for r in _entries(listed, "rule") if not r["table"].startswith("shirube")]
    ranges = [ipaddress.ip_network(cidr) for cidr in pods]
    met = {_name(c) for c in _entries(listed, "chain") if c.get("hook") in hooks}
    while more := {t for r in rules if _name(r, "chain") in met for t in _targets(r)} - met:
        met |= more
    # Chains that drop whatever comes to them: a jump to one is a drop.
    sinks = {_name(r, "chain") for r in rules if _drops(r) and not any("match" in e for e in r["expr"])}
    found = []
    for rule in rules:
        chain = _name(rule, "chain")
        if chain in met and (_drops(rule) or sinks.intersection(_targets(rule))):
            what = _dropped(rule["expr"], ranges)
            if what:
                found.append((chain, int(rule.get("handle", 0)), what))
    return found


def _drops(rule: dict[str, Any]) -> bool:
    return any("drop" in e or "reject" in e for e in rule.get("expr", ()))


def _targets(rule: dict[str, Any]) -> Iterator[str]:
    """The chains that a rule leads to."""
    for expression in rule.get("expr", ()):
        for verb in ("jump", "goto"):
            if verb in expression:
                yield f"{rule['family']} {rule['table']} {expression[verb]['target']}"


def _dropped(expressions: Rules, ranges: list[Any]) -> str:
    """What of ours a rule that drops matches; "" where it is about something else."""
    matches = [e["match"] for e in expressions if "match" in e]
    for match in matches:
        payload = match["left"].get("payload", {}) if isinstance(match["left"], dict) else {}
        if match.get("op", "==") not in ("==", "in"):
            continue
        if payload.get("field") == "dport" and _DNS_PORT in _numbers(match["right"]):
            return "DNS"
        if payload.get("field") in ("saddr", "daddr") and len(matches) == 1:
            networks = list(_networks(match["right"]))
            for ours in ranges:
                if any(n.version == ours.version and n.overlaps(ours) for n in networks):
                    return str(ours)
    return ""


def _numbers(right: Any) -> set[int]:
    """The ports that a match names: one, a set, or ranges."""
    if isinstance(right, int):
        return {right}
    if isinstance(right, dict) and "range" in right:
        first, last = right["range"]
        return {_DNS_PORT} if first <= _DNS_PORT <= last else set()
    listed = right.get("set", ()) if isinstance(right, dict) else ()
    return {n for one in listed for n in _numbers(one)}


def _networks(right: Any) -> Iterator[Any]:
    if isinstance(right, str):
        try:
            yield ipaddress.ip_network(right, strict=False)
        except ValueError:
            return
    elif isinstance(right, dict) and "prefix" in right:
        yield ipaddress.ip_network(f"{right['prefix']['addr']}/{right['prefix']['len']}", strict=False)
    elif isinstance(right, dict):
        for one in right.get("set", ()):
            yield from _networks(one)
