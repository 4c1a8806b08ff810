"""Services to nftables: what a packet to a Service address becomes.

`endpoints` decides which endpoints serve a Service here, `ruleset` turns that into named chains and map elements and
the difference between two such states into one transaction, `main` follows the API. Only the tables
`ip shirube_proxy` and `ip6 shirube_proxy` are ever touched.
"""
