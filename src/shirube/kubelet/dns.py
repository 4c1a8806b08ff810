"""Name resolution inside a pod: the CRI DNS config, and the /etc/hosts that the agent writes.

Follows https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shirube.kubelet import pod as pods

MAX_SERVERS = 3
MAX_SEARCHES = 32
_RESOLV_CONF = Path("/etc/resolv.conf")


@dataclass(frozen=True, slots=True)
class ClusterDNS:
    servers: tuple[str, ...]
    domain: str


def dns_config(pod: pods.Pod, cluster: ClusterDNS, resolv_conf: Path = _RESOLV_CONF) -> dict[str, list[str]]:
    """CRI `DNSConfig`: servers, searches, options."""
    spec = pod["spec"]
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    if policy == "ClusterFirst" and pods.is_host_network(pod):
        policy = "Default"
    own = spec.get("dnsConfig") or {}
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    if policy == "Default" or (policy != "None" and not cluster.servers):
        servers, searches, options = _read(resolv_conf)
    elif policy != "None":
        domain = cluster.domain
        servers = list(cluster.servers)
        searches = [f"{pods.namespace(pod)}.svc.{domain}", f"svc.{domain}", domain]
        searches += [s for s in _read(resolv_conf)[1] if s not in searches]
        options = ["ndots:5"]
    return {
        "servers": _unique([*servers, *(own.get("nameservers") or [])])[:MAX_SERVERS],
        "searches": _unique([*searches, *(own.get("searches") or [])])[:MAX_SEARCHES],
        "options": _merged_options(options, own.get("options") or []),
    }


def _unique(items: list[str]) -> list[str]:
    return list(dict.fromkeys(items))


def _merged_options(base: list[str], own: list[dict[str, Any]]) -> list[str]:
    merged = {option.partition(":")[0]: option.partition(":")[2] for option in base}
    for option in own:
        merged[option["name"]] = option.get("value") or ""
    return [f"{name}:{value}" if value else name for name, value in merged.items()]


def _read(path: Path) -> tuple[list[str], list[str], list[str]]:
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    try:
        text = path.read_text()
    except OSError:
        return servers, searches, options
    for line in text.splitlines():
        words = line.split("#", 1)[0].split(";", 1)[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            searches = [s for s in words[1:] if s != "."]
        elif words[0] == "options":
            options = words[1:]
    return servers, searches, options


def fqdn(pod: pods.Pod, domain: str) -> str:
    """The pod's own fully qualified name when it has a subdomain, else ''."""
    spec = pod["spec"]
    if not spec.get("subdomain") or spec.get("hostnameOverride"):
        return ""
    return f"{pods.hostname(pod)}.{spec['subdomain']}.{pods.namespace(pod)}.svc.{domain}"


def sandbox_hostname(pod: pods.Pod, domain: str) -> str:
    """What `hostname` says in the pod. Empty on the host's network: the node's name shows there."""
    if pods.is_host_network(pod) and not pod["spec"].get("hostnameOverride"):
        return ""
    if pod["spec"].get("setHostnameAsFQDN") and (full := fqdn(pod, domain)):
        return full
    return pods.hostname(pod)


def hosts_file(pod: pods.Pod, ips: tuple[str, ...], domain: str, node_hosts: Path = Path("/etc/hosts")) -> str:
    """The text of /etc/hosts in the pod's containers."""
    if pods.is_host_network(pod):
        try:
            node_text = node_hosts.read_text()
        except OSError:
            node_text = "127.0.0.1\tlocalhost\n"
        text = "# Kubernetes-managed hosts file (host network).\n" + node_text
        return text + _aliases(pod)
    lines = [
        "# Kubernetes-managed hosts file.",
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::0\tip6-localnet",
        "fe00::0\tip6-mcastprefix",
        "fe00::1\tip6-allnodes",
        "fe00::2\tip6-allrouters",
    ]
    names = " ".join(part for part in (fqdn(pod, domain), pods.hostname(pod)) if part)
    lines += [f"{ip}\t{names}".replace(" ", "\t", 1) for ip in ips]
    return "\n".join(lines) + "\n" + _aliases(pod)


def _aliases(pod: pods.Pod) -> str:
    aliases = pod["spec"].get("hostAliases") or []
    if not aliases:
        return ""
    lines = ["\t".join([alias["ip"], *(alias.get("hostnames") or [])]) for alias in aliases]
    return "\n# Entries added by HostAliases.\n" + "\n".join(lines) + "\n"
