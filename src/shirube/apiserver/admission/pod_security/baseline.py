"""The checks of the Pod Security Standard "baseline": known ways out of a pod are closed.

Each check takes a pod (metadata and spec) and returns what is forbidden as `Violation`s: a reason, as upstream
names it, and the detail for the message. Pure. See "Pod Security Standards" in the upstream documentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

Json = dict[str, Any]

_CAPABILITIES = frozenset(
    (
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    )
)
_SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    )
)
_SELINUX_TYPES = frozenset(("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"))
_APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"


class Violation(NamedTuple):
    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})"


def containers(spec: Json) -> Iterator[Json]:
    """Every container, in upstream's order of visiting."""
    for key in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(key) or ()


def quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def named(names: list[str], what: str = "container") -> str:
    """`container "a"`, `containers "a", "b"`."""
    return f"{what}{'s' if len(names) > 1 else ''} {quoted(names)}"


def context(holder: Json) -> Json:
    return holder.get("securityContext") or {}


def host_process(meta: Json, spec: Json) -> Iterator[Violation]:
    bad = [c["name"] for c in containers(spec) if (context(c).get("windowsOptions") or {}).get("hostProcess")]
    parts = []
    if (context(spec).get("windowsOptions") or {}).get("hostProcess"):
        parts.append("pod")
    if bad:
        parts.append(named(bad))
    if parts:
        detail = f"{' and '.join(parts)} must not set securityContext.windowsOptions.hostProcess=true"
        yield Violation("hostProcess", detail)


def host_namespaces(meta: Json, spec: Json) -> Iterator[Violation]:
    bad = [f"{key}=true" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    if bad:
        yield Violation("host namespaces", ", ".join(bad))


def privileged(meta: Json, spec: Json) -> Iterator[Violation]:
    bad = [c["name"] for c in containers(spec) if context(c).get("privileged")]
    if bad:
        yield Violation("privileged", f"{named(bad)} must not set securityContext.privileged=true")


def capabilities(meta: Json, spec: Json) -> Iterator[Violation]:
    bad, added = [], set()
    for container in containers(spec):
        extra = set((context(container).get("capabilities") or {}).get("add") or ()) - _CAPABILITIES
        if extra:
            bad.append(container["name"])
            added |= extra
    if bad:
        what = quoted(sorted(added))
        yield Violation(
            "non-default capabilities", f"{named(bad)} must not include {what} in securityContext.capabilities.add"
        )


def host_path_volumes(meta: Json, spec: Json) -> Iterator[Violation]:
    bad = [v["name"] for v in spec.get("volumes") or () if v.get("hostPath") is not None]
    if bad:
        yield Violation("hostPath volumes", named(bad, "volume"))


def host_ports(meta: Json, spec: Json) -> Iterator[Violation]:
    bad, numbers = [], []
    for container in containers(spec):
        used = [p["hostPort"] for p in container.get("ports") or () if p.get("hostPort")]
        if used:
            bad.append(container["name"])
            numbers += used
    if bad:
        shown = ", ".join(str(n) for n in sorted(set(numbers)))
        verb, ports = ("use", "hostPorts") if len(bad) > 1 else ("uses", "hostPort")
        if len(set(numbers)) > 1:
            ports = "hostPorts"
        yield Violation("hostPort", f"{named(bad)} {verb} {ports} {shown}")


def app_armor(meta: Json, spec: Json) -> Iterator[Violation]:
    bad = [
        f'{key}="{value}"'
        for key, value in sorted((meta.get("annotations") or {}).items())
        if key.startswith(_APPARMOR_ANNOTATION)
        and not (value in ("", "runtime/default") or value.startswith("localhost/"))
    ]
    holders = [("pod", spec), *((f'container "{c["name"]}"', c) for c in containers(spec))]
    for shown, holder in holders:
        kind = (context(holder).get("appArmorProfile") or {}).get("type")
        if kind not in (None, "RuntimeDefault", "Localhost"):
            bad.append(f'{shown} must not set AppArmor profile type to "{kind}"')
    if bad:
        reason = "forbidden AppArmor profile" + ("s" if len(bad) > 1 else "")
        yield Violation(reason, ", ".join(bad))


def se_linux(meta: Json, spec: Json) -> Iterator[Violation]:
    types, user, role, setters = set(), False, False, []
    for name, holder in [("", spec), *((c["name"], c) for c in containers(spec))]:
        options = context(holder).get("seLinuxOptions") or {}
        wrong = False
        if options.get("type", "") not in _SELINUX_TYPES:
            types.add(options["type"])
            wrong = True
        user, role = user or bool(options.get("user")), role or bool(options.get("role"))
        if wrong or options.get("user") or options.get("role"):
            setters.append(name)
    if not setters:
        return
    parts = []
    if types:
        parts.append(f"type{'s' if len(types) > 1 else ''} {quoted(sorted(types))}")
    parts += [f"{key} may not be set" for key, found in (("user", user), ("role", role)) if found]
    who = [] if "" not in setters else ["pod"]
    if named_setters := [s for s in setters if s]:
        who.append(named(named_setters))
    yield Violation(
        "seLinuxOptions",
        f"{' and '.join(who)} set forbidden securityContext.seLinuxOptions: {'; '.join(parts)}",
    )


def proc_mount(meta: Json, spec: Json) -> Iterator[Violation]:
    if spec.get("hostUsers") is False:
        return
    bad, kinds = [], set()
    for container in containers(spec):
        kind = context(container).get("procMount")
        if kind not in (None, "Default"):
            bad.append(container["name"])
            kinds.add(kind)
    if bad:
        what = quoted(sorted(kinds))
        yield Violation("procMount", f"{named(bad)} must not set securityContext.procMount to {what}")


def seccomp(meta: Json, spec: Json) -> Iterator[Violation]:
    def forbidden(holder: Json) -> str | None:
        kind = (context(holder).get("seccompProfile") or {}).get("type")
        return kind if kind not in (None, "RuntimeDefault", "Localhost") else None

    bad = [(c["name"], kind) for c in containers(spec) if (kind := forbidden(c))]
    kinds = {kind for _, kind in bad}
    who = []
    if kind := forbidden(spec):
        kinds.add(kind)
        who.append("pod")
    if bad:
        who.append(named([name for name, _ in bad]))
    if who:
        what = quoted(sorted(kinds))
        detail = f"{' and '.join(who)} must not set securityContext.seccompProfile.type to {what}"
        yield Violation("seccompProfile", detail)


def sysctls(meta: Json, spec: Json) -> Iterator[Violation]:
    bad = [s["name"] for s in context(spec).get("sysctls") or () if s["name"] not in _SYSCTLS]
    if bad:
        yield Violation("forbidden sysctls", ", ".join(bad))


def host_probes(meta: Json, spec: Json) -> Iterator[Violation]:
    """No probing of other hosts from the node (since v1.34)."""
    bad = []
    for container in containers(spec):
        hooks = [container.get(key) for key in ("livenessProbe", "readinessProbe", "startupProbe")]
        hooks += list((container.get("lifecycle") or {}).values())
        actions = [(h or {}).get(kind) or {} for h in hooks if isinstance(h, dict) for kind in ("httpGet", "tcpSocket")]
        if any(action.get("host") for action in actions):
            bad.append(container["name"])
    if bad:
        verb = "uses" if len(bad) == 1 else "use"
        yield Violation("probe or lifecycle host", f"{named(bad)} {verb} probe or lifecycle hook host fields")


CHECKS = (
    app_armor,
    capabilities,
    host_namespaces,
    host_path_volumes,
    host_ports,
    host_probes,
    host_process,
    privileged,
    proc_mount,
    se_linux,
    seccomp,
    sysctls,
)
