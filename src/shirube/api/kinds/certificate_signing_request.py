"""CertificateSigningRequests: asked for in the spec, approved and issued in the status, never changed.

Who asks (username, groups, uid, extra) is written by the handler from the request's user; ``approval`` is a
subresource whose rules are here too. Follows certificates' ``ValidateCertificateSigningRequestCreate``.
"""

from __future__ import annotations

from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.equality import semantic_equal
from shirube.api.validation.field import duplicate, forbidden, invalid, not_supported, required
from shirube.api.validation.object_meta import name_is_anything
from shirube.api.validation.pem import certificate_problem, request_problem
from shirube.api.validation.signer import validate_signer_name

_USAGES = {
    "signing", "digital signature", "content commitment", "key encipherment", "key agreement",
    "data encipherment", "cert sign", "crl sign", "encipher only", "decipher only", "any", "server auth",
    "client auth", "code signing", "email protection", "s/mime", "ipsec end system", "ipsec tunnel",
    "ipsec user", "timestamping", "ocsp signing", "microsoft sgc", "netscape sgc",
}  # fmt: skip
_MIN_SECONDS = 600
_LEGACY = "kubernetes.io/legacy-unknown"
_DECISIONS = ("Approved", "Denied")


class CertificateSigningRequestStrategy(Strategy):
    name_rule = staticmethod(name_is_anything)
    keeps_requester = True

    def prepare_for_create(self, obj: Obj) -> None:
        super().prepare_for_create(obj)
        obj["status"] = {}

    def prepare_for_requester(self, obj: Obj, requester: Obj) -> None:
        # Whatever the client wrote there: signers trust these fields.
        spec = obj["spec"]
        for field in ("username", "uid", "groups", "extra"):
            spec.pop(field, None)
            if requester.get(field):
                spec[field] = requester[field]

    def prepare_for_update(self, obj: Obj, old: Obj) -> None:
        super().prepare_for_update(obj, old)
        obj["spec"] = old["spec"]

    def prepare_for_status_update(self, obj: Obj, old: Obj) -> None:
        """Signers issue or fail; they do not decide."""
        super().prepare_for_status_update(obj, old)
        decided = [c for c in (old.get("status") or {}).get("conditions") or () if c.get("type") in _DECISIONS]
        status = obj.setdefault("status", {})
        others = [c for c in status.get("conditions") or () if c.get("type") not in _DECISIONS]
        if decided or others:
            status["conditions"] = decided + others
        else:
            status.pop("conditions", None)

    def prepare_for_approval(self, obj: Obj, old: Obj) -> None:
        """Of spec and status, the approval subresource changes the conditions only."""
        conditions = (obj.get("status") or {}).get("conditions")
        obj["spec"] = old["spec"]
        obj["status"] = {**(old.get("status") or {})}
        if conditions is not None:
            obj["status"]["conditions"] = conditions

    keeps_times = True

    def stamp(self, obj: Obj, old: Obj, now: str) -> None:
        """Conditions tell when they were set, and since when they have been what they are."""
        since = {(c.get("type"), c.get("status")): at for c in _conditions(old) if (at := c.get("lastTransitionTime"))}
        for condition in _conditions(obj):
            if not condition.get("lastUpdateTime"):
                condition["lastUpdateTime"] = now
            if not condition.get("lastTransitionTime"):
                condition["lastTransitionTime"] = since.get((condition.get("type"), condition.get("status")), now)

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate_spec(obj.get("spec") or {}, None) + _validate_conditions(obj, None)

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return self._validate_change(obj, old)

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return self._validate_change(obj, old, certificate=True)

    def validate_approval(self, obj: Obj, old: Obj) -> list[Cause]:
        """A decision is one of the two, and is not taken back."""
        return self._validate_change(obj, old, decision=True)

    def _validate_change(self, obj: Obj, old: Obj, *, certificate: bool = False, decision: bool = False) -> list[Cause]:
        causes = _validate_spec(obj.get("spec") or {}, old.get("spec") or {}) + _validate_conditions(obj, old)
        causes += _validate_decisions(obj, old, decision)
        before, after = ((o.get("status") or {}).get("certificate") for o in (old, obj))
        at = "status.certificate"
        if after and after != before and (problem := certificate_problem(after)):
            causes.append(invalid(at, "<certificate data>", problem))
        if before != after and not certificate:
            causes.append(forbidden(at, "updates may not set certificate content"))
        elif before != after and before:
            causes.append(forbidden(at, "updates may not modify existing certificate content"))
        return causes + super().validate_update(obj, old)

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        return {"spec.signerName": (obj.get("spec") or {}).get("signerName", "")}


def _validate_spec(spec: Obj, old: Obj | None) -> list[Cause]:
    """`old` is what is stored: faults that it has are put up with."""
    causes: list[Cause] = []
    request, usages = spec.get("request", ""), spec.get("usages") or []
    if (old is None or old.get("request") != request) and (problem := request_problem(request)):
        causes.append(invalid("spec.request", request, problem))
    if not usages:
        causes.append(required("spec.usages"))
    known = old.get("usages") or [] if old is not None else []
    for i, usage in enumerate(usages):
        if usage not in _USAGES and usage not in known:
            causes.append(not_supported(f"spec.usages[{i}]", usage, _USAGES))
        if usage in usages[:i] and len(set(known)) == len(known):
            causes.append(duplicate(f"spec.usages[{i}]", usage))
    name = spec.get("signerName", "")
    if name == _LEGACY and (old is None or old.get("signerName") != _LEGACY):
        detail = "the legacy signerName is not allowed via this API version"
        causes.append(invalid("spec.signerName", name, detail))
    else:
        validate_signer_name(causes, name, "spec.signerName")
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < _MIN_SECONDS:
        detail = f"may not specify a duration less than {_MIN_SECONDS} seconds (10 minutes)"
        causes.append(invalid("spec.expirationSeconds", seconds, detail))
    return causes


def _conditions(obj: Obj | None) -> list[Obj]:
    return ((obj or {}).get("status") or {}).get("conditions") or []


def _validate_conditions(obj: Obj, old: Obj | None) -> list[Cause]:
    causes: list[Cause] = []
    kinds, before = ([c.get("type", "") for c in _conditions(o)] for o in (obj, old))
    both_before, twice_before = {*_DECISIONS} <= {*before}, len(set(before)) < len(before)
    for i, condition in enumerate(_conditions(obj)):
        at, kind, status = f"status.conditions[{i}]", kinds[i], condition.get("status", "")
        if not kind and "" not in before:
            causes.append(required(f"{at}.type"))
        allowed = ["True"] if kind in (*_DECISIONS, "Failed") else ["False", "True", "Unknown"]
        if not status:
            causes.append(required(f"{at}.status"))
        elif status not in allowed:
            causes.append(not_supported(f"{at}.status", status, allowed))
        other = {"Approved": "Denied", "Denied": "Approved"}.get(kind)
        if other in kinds[:i] and not both_before:
            detail = "Approved and Denied conditions are mutually exclusive"
            causes.append(invalid("status.conditions", kind, detail))
        if kind in kinds[:i] and not twice_before:
            causes.append(duplicate(f"{at}.type", kind))
    return causes


def _validate_decisions(obj: Obj, old: Obj, decision: bool) -> list[Cause]:
    causes: list[Cause] = []
    at = "status.conditions"
    for kind in (*_DECISIONS, "Failed"):
        now, was = ([c for c in _conditions(o) if c.get("type") == kind] for o in (obj, old))
        if len(now) < len(was):
            causes.append(forbidden(at, f'updates may not remove a condition of type "{kind}"'))
        elif kind in _DECISIONS and not decision:
            if len(now) > len(was):
                causes.append(forbidden(at, f'updates may not add a condition of type "{kind}"'))
            elif not semantic_equal(now, was):
                causes.append(forbidden(at, f'updates may not modify a condition of type "{kind}"'))
    return causes
