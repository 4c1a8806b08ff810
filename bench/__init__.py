"""What Shirube costs, measured: one module a figure of the cost table, run as `python -m bench [name…] [--json]`.

Figures are printed beside their targets with the command that made each; nothing is asserted. Load comes from
`load` in processes of its own, over TLS on loopback, with a service account's bearer token, so that
authentication and RBAC are paid for. Clusters are made under a name and a home of their own and purged.
"""
