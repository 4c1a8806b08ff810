"""Cluster DNS, one server a node: the Kubernetes DNS specification 1.1.0 from memory, everything else forwarded.

`records` answers questions from Services and EndpointSlices (pure), `answer` turns packets into packets (pure but for
the forwarder it is given), `server` moves the bytes over UDP and TCP, `forward` asks the resolvers outside.
"""
