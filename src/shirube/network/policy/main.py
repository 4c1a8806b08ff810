"""The loop of NetworkPolicy on a node: follow policies, pods and namespaces, program what differs.

A failed transaction changes nothing; the next one then makes the table afresh. The table stays when the process ends.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from shirube.api.gvr import NAMESPACES, NETWORKPOLICIES, PODS
from shirube.client.informer import Informer, InformerFactory, key_of
from shirube.foundation import address_family, log, nft
from shirube.network import projection
from shirube.network.policy import ruleset
from shirube.network.policy.compile import Pod, Policy, compile_policy

_logger = log.get("policy")
_QUIET_SECONDS = 0.02
_RETRY_SECONDS = 1.0

Object = dict[str, Any]


class PolicyTable:
    """The table's contents after each change of a policy, a pod or a namespace, in the family of `dns_address`. No I/O.

    That address is the node's, where it serves cluster DNS.
    """

    def __init__(self, node: str, dns_address: str) -> None:
        self.family = address_family.of(dns_address)
        self.table = ruleset.table(self.family)
        self._node = node
        self._dns_address = dns_address
        self._policies: dict[str, Policy] = {}
        self._in_namespace: dict[str, dict[str, Policy]] = {}
        self._pods: dict[str, Pod] = {}
        self._namespaces: dict[str, dict[str, str]] = {}

    def set_policy(self, key: str, obj: Object | None) -> None:
        old = self._policies.pop(key, None)
        if old is not None:
            self._in_namespace[old.namespace].pop(key, None)
        new = compile_policy(obj) if obj is not None else None
        if new is not None:
            self._policies[key] = new
            self._in_namespace.setdefault(new.namespace, {})[key] = new
        self.table.put(f"policy {key}", ruleset.policy_fragment(new, self.family) if new else None)
        # Most policies speak of their own namespace only: then nobody else's pods are looked at.
        far = any(p.far for p in (old, new) if p is not None)
        namespace = key.split("/", 1)[0]
        for pod in list(self._pods.values()):
            if far or pod.namespace == namespace:
                self._put_member(key, pod)
            if pod.namespace == namespace:
                self._put_isolation(pod)
        self._put_dns(key)

    def set_pod(self, key: str, pod: Pod | None) -> None:
        old = self._pods.get(key)
        if old == pod:
            return
        if pod is None:
            del self._pods[key]
            for policy in self._policies:
                self.table.put(f"member {policy} {key}", None)
            self.table.put(f"pod {key}", None)
            return
        self._pods[key] = pod
        for policy in self._policies:
            self._put_member(policy, pod)
        self._put_isolation(pod)

    def set_namespace(self, name: str, labels: dict[str, str] | None) -> None:
        if self._namespaces.get(name) == labels:
            return
        if labels is None:
            self._namespaces.pop(name, None)
        else:
            self._namespaces[name] = labels
        for pod in self._pods.values():
            if pod.namespace == name:
                for policy in self._policies:
                    self._put_member(policy, pod)
        if name == ruleset.DNS_NAMESPACE:
            for policy in self._policies:
                self._put_dns(policy)

    def _put_member(self, key: str, pod: Pod) -> None:
        policy = self._policies.get(key)
        wanted = ruleset.member_fragment(policy, pod, self._namespaces, self._node) if policy else None
        self.table.put(f"member {key} {pod.key}", wanted)

    def _put_isolation(self, pod: Pod) -> None:
        if pod.node == self._node:
            policies = self._in_namespace.get(pod.namespace, {}).values()
            self.table.put(f"pod {pod.key}", ruleset.isolation_fragment(pod, policies))

    def _put_dns(self, key: str) -> None:
        policy = self._policies.get(key)
        wanted = ruleset.dns_fragment(policy, self._dns_address, self._namespaces) if policy else None
        self.table.put(f"dns {key}", wanted)


class PolicyOptions(Protocol):
    """What policies need of their process's options."""

    node_name: str
    node_ip: str  # of dual-stack nodes one address of each family, with a comma between


class _Programmer:
    def __init__(self, options: PolicyOptions, factory: InformerFactory) -> None:
        self._contents = [PolicyTable(options.node_name, a) for a in address_family.listed(options.node_ip)]
        self._changed = asyncio.Event()
        self._informers = [
            self._follow(factory.informer(NAMESPACES, projection=projection.namespace), self._on_namespace),
            self._follow(factory.informer(PODS, projection=projection.pod), self._on_pod),
            self._follow(factory.informer(NETWORKPOLICIES), self._on_policy),
        ]

    def _follow(self, informer: Informer, on: Any) -> Informer:
        def set_to(obj: Object) -> None:
            on(key_of(obj), obj)
            self._changed.set()

        def gone(obj: Object) -> None:
            on(key_of(obj), None)
            self._changed.set()

        informer.add_handler(set_to, lambda _, new: set_to(new), gone)
        return informer

    def _on_namespace(self, key: str, obj: Object | None) -> None:
        for contents in self._contents:
            contents.set_namespace(key, (obj["metadata"].get("labels") or {}) if obj else None)

    def _on_pod(self, key: str, obj: Object | None) -> None:
        for contents in self._contents:
            contents.set_pod(key, ruleset.pod_of(obj, contents.family) if obj else None)

    def _on_policy(self, key: str, obj: Object | None) -> None:
        for contents in self._contents:
            contents.set_policy(key, obj)

    async def run(self) -> None:
        for informer in self._informers:
            await informer.wait_for_cache_sync()
        self._changed.set()
        while True:
            await self._changed.wait()
            await asyncio.sleep(_QUIET_SECONDS)
            self._changed.clear()
            await self._sync()

    async def _sync(self) -> None:
        tables = [contents.table for contents in self._contents]
        script = "".join(table.script() for table in tables)
        # What changes while nft runs is remembered for the next time: the difference is taken before the wait.
        for table in tables:
            table.settle()
        if not script:
            return
        try:
            await nft.apply(script)
        except nft.NftError as error:
            _logger.error("cannot program network policies, will start afresh", error=str(error))
            for table in tables:
                table.distrust()
            await asyncio.sleep(_RETRY_SECONDS)
            self._changed.set()


async def run_policies(options: PolicyOptions, factory: InformerFactory) -> None:
    """Run until cancelled."""
    await _Programmer(options, factory).run()
