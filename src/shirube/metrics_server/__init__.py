"""metrics.k8s.io: what nodes and pods use at this moment, for `kubectl top` and for autoscalers.

Every 15 seconds `scrape` reads `/metrics/resource` of each node agent; `usage` makes rates of two readings; `server`
answers the API server, which passes on requests for the group (aggregation), with the identity that its front-proxy
certificate vouches for. Nothing is stored. Follows https://github.com/kubernetes-sigs/metrics-server.
"""
