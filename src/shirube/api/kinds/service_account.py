"""ServiceAccounts: identities of pods; only their metadata is judged."""

from __future__ import annotations

from shirube.api.strategy import Obj, Strategy

_REFERENCE_LIMIT = "kubernetes.io/enforce-mountable-secrets"


class ServiceAccountStrategy(Strategy):
    def warnings(self, obj: Obj, old: Obj | None = None) -> list[str]:
        now = (obj["metadata"].get("annotations") or {}).get(_REFERENCE_LIMIT)
        was = ((old or {}).get("metadata", {}).get("annotations") or {}).get(_REFERENCE_LIMIT)
        if now == "true" and was != "true":
            return [
                f"metadata.annotations[{_REFERENCE_LIMIT}]: deprecated in v1.32+; prefer separate namespaces to "
                "isolate access to mounted secrets"
            ]
        return []
