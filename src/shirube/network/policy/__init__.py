"""NetworkPolicy (networking.k8s.io/v1) in the node's own nftables tables `ip` and `ip6 shirube_policy`.

`compile` turns a policy into selectors, networks and ports; `ruleset` says which fragment of the table a policy, a pod,
and a pod under a policy need; `main` follows the API. All but `main` is pure.

Every packet between pods is routed by the node (the pods' veths are point to point), so the forward hook sees it, also
between two pods of one node. A pod that a policy selects is a key of a verdict map that leads to the chain of the
policies that select it; what they allow are named sets. A pod that comes, goes or changes touches elements only.

As upstream documents: traffic between a pod and the node that it runs on is always allowed (probes), pods on the host's
network are neither selected nor peers, connections that exist go on. Cluster DNS, which runs on the node here, is
treated as the pod that it is elsewhere: namespace kube-system, label k8s-app=kube-dns, port 53.
"""
