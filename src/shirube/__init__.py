"""Shirube: Kubernetes in Python. ARCHITECTURE.md at the root of the repository is the map."""

import os

# Before anything imports gRPC, which otherwise says in the log of each program that we start that it does not follow
# the fork. Nothing here goes on using gRPC in a child that it forked.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

VERSION = "0.1.0"
KUBERNETES_VERSION = "v1.36.2+shirube"
