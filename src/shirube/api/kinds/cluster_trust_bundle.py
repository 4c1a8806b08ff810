"""ClusterTrustBundles: certificates that a signer, or nobody in particular, wants everybody to trust.

Follows certificates' ``ValidateClusterTrustBundle``. A bundle of a signer is named after it, with colons for slashes:
so nobody who may not attest for the signer takes its names.
"""

from __future__ import annotations

from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation import object_meta
from shirube.api.validation.field import invalid, too_long
from shirube.api.validation.object_meta import NameRule, immutable, name_is_dns_subdomain
from shirube.api.validation.pem import trust_anchor_problems
from shirube.api.validation.signer import validate_signer_name

MAX_BYTES = 1 << 20


class ClusterTrustBundleStrategy(Strategy):
    def validate(self, obj: Obj) -> list[Cause]:
        return self._validate(obj, None)

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = self._validate(obj, old) + super().validate_update(obj, old)
        now, was = (o["spec"].get("signerName", "") for o in (obj, old))
        return causes + immutable(now, was, "spec.signerName")

    def _validate(self, obj: Obj, old: Obj | None) -> list[Cause]:
        spec = obj.setdefault("spec", {})
        signer = spec.get("signerName", "")
        causes = object_meta.validate(obj["metadata"], namespaced=False, name_rule=_name_rule(signer))
        if signer:
            validate_signer_name(causes, signer, "spec.signerName")
        # What was good once stays so: parsers become stricter.
        if old is None or old["spec"].get("trustBundle") != spec.get("trustBundle"):
            causes += _validate_bundle(spec.get("trustBundle", ""))
        return causes

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        return {"spec.signerName": (obj.get("spec") or {}).get("signerName", "")}


def name_prefix(signer: str) -> str:
    return signer.replace("/", ":") + ":"


def _name_rule(signer: str) -> NameRule:
    def rule(name: str, prefix: bool) -> list[str]:
        if not signer:
            if ":" in name:
                return ['ClusterTrustBundle without signer name must not have ":" in its name']
            return name_is_dns_subdomain(name, prefix)
        wanted = name_prefix(signer)
        if not name.startswith(wanted):
            return [f"ClusterTrustBundle for signerName {signer} must be named with prefix {wanted}"]
        return name_is_dns_subdomain(name.removeprefix(wanted), prefix)

    return rule


def _validate_bundle(text: str) -> list[Cause]:
    at = "spec.trustBundle"
    if len(text.encode()) > MAX_BYTES:
        return [too_long(at, MAX_BYTES)]
    return [invalid(at, "<value omitted>", problem) for problem in trust_anchor_problems(text)]
