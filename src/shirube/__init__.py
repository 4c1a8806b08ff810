"""Shirube: Kubernetes in Python. ARCHITECTURE.md at the root of the repository is the map."""

VERSION = "0.1.0"
KUBERNETES_VERSION = "v1.36.2+shirube"
