"""The pod network of a node, cluster DNS, and the gateway between the cluster's namespaces and the host.

`cni` configures the standard CNI plugins, `routes` reaches the other nodes' pods on our links and `tunnel` (VXLAN)
those beyond, `masquerade` gives pods a way out, `host_ports` and `policy` are rules about this node's pods, `dns`
answers for Services and pods, `gateway` (one a cluster) publishes node ports on the host's loopback.
"""
