"""CertificateSigningRequests: asked for in the spec, approved and issued in the status, never changed.

Who asks (username, groups, uid, extra) is written by the handler from the request's user; ``approval`` is a
subresource whose rules are here too. Follows certificates' ``ValidateCertificateSigningRequestCreate``.
"""

from __future__ import annotations

import base64
import binascii

from shirube.api.errors import Cause
from shirube.api.strategy import Obj, Strategy
from shirube.api.validation.field import duplicate, forbidden, invalid, not_supported, required
from shirube.api.validation.object_meta import name_is_path_segment

_USAGES = {
    "signing", "digital signature", "content commitment", "key encipherment", "key agreement",
    "data encipherment", "cert sign", "crl sign", "encipher only", "decipher only", "any", "server auth",
    "client auth", "code signing", "email protection", "s/mime", "ipsec end system", "ipsec tunnel",
    "ipsec user", "timestamping", "ocsp signing", "microsoft sgc", "netscape sgc",
}  # fmt: skip
_MIN_SECONDS = 600
_DECISIONS = ("Approved", "Denied")


class CertificateSigningRequestStrategy(Strategy):
    name_rule = staticmethod(name_is_path_segment)

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

    def validate(self, obj: Obj) -> list[Cause]:
        return super().validate(obj) + _validate_spec(obj.get("spec") or {})

    def validate_update(self, obj: Obj, old: Obj) -> list[Cause]:
        return super().validate_update(obj, old)

    def validate_status_update(self, obj: Obj, old: Obj) -> list[Cause]:
        causes = super().validate_status_update(obj, old) + _validate_conditions(obj, old)
        before, after = ((o.get("status") or {}).get("certificate") for o in (old, obj))
        if before and after != before:
            detail = "updates may not set certificate content to a different value"
            causes.append(invalid("status.certificate", "<certificate data>", detail))
        elif after and not before:
            causes.extend(_validate_certificate(after))
        return causes

    def validate_approval(self, obj: Obj, old: Obj) -> list[Cause]:
        """A decision is one of the two, and is not taken back."""
        return super().validate_update(obj, old) + _validate_conditions(obj, old)

    def selectable_fields(self, obj: Obj) -> dict[str, str]:
        return {"spec.signerName": (obj.get("spec") or {}).get("signerName", "")}


def _validate_spec(spec: Obj) -> list[Cause]:
    causes: list[Cause] = []
    try:
        pem = base64.b64decode(spec.get("request", ""), validate=True)
    except (binascii.Error, ValueError):
        pem = b""
    if b"-----BEGIN CERTIFICATE REQUEST-----" not in pem:
        detail = "PEM block type must be CERTIFICATE REQUEST"
        causes.append(invalid("spec.request", spec.get("request", ""), detail))
    usages = spec.get("usages") or []
    if not usages:
        causes.append(required("spec.usages"))
    for i, usage in enumerate(usages):
        if usage not in _USAGES:
            causes.append(not_supported(f"spec.usages[{i}]", usage, _USAGES))
        if usage in usages[:i]:
            causes.append(duplicate(f"spec.usages[{i}]", usage))
    _validate_signer(causes, spec.get("signerName", ""))
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < _MIN_SECONDS:
        detail = f"may not specify a duration less than {_MIN_SECONDS} seconds (10 minutes)"
        causes.append(invalid("spec.expirationSeconds", seconds, detail))
    return causes


def _validate_signer(causes: list[Cause], name: str) -> None:
    if not name:
        causes.append(required("spec.signerName"))
        return
    if name == "kubernetes.io/legacy-unknown":
        detail = "the legacy signerName is not allowed via this API version"
        causes.append(invalid("spec.signerName", name, detail))
        return
    domain, slash, path = name.partition("/")
    if not slash or not path or "/" in path:
        detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        causes.append(invalid("spec.signerName", name, detail))
    elif "." not in domain:
        detail = "should be a domain with at least two segments separated by dots"
        causes.append(invalid("spec.signerName", domain, detail))


def _validate_certificate(encoded: str) -> list[Cause]:
    try:
        pem = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        pem = b""
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        detail = "must contain at least one CERTIFICATE PEM block"
        return [invalid("status.certificate", "<certificate data>", detail)]
    return []


def _validate_conditions(obj: Obj, old: Obj) -> list[Cause]:
    causes: list[Cause] = []
    conditions = (obj.get("status") or {}).get("conditions") or []
    kinds = [c.get("type", "") for c in conditions]
    for i, condition in enumerate(conditions):
        at, kind, status = f"status.conditions[{i}]", kinds[i], condition.get("status", "")
        if not kind:
            causes.append(required(f"{at}.type"))
        if kind in kinds[:i]:
            causes.append(duplicate(f"{at}.type", kind))
        if kind in (*_DECISIONS, "Failed") and status != "True":
            causes.append(not_supported(f"{at}.status", status, ["True"]) if status else required(f"{at}.status"))
    if "Approved" in kinds and "Denied" in kinds:
        at = f"status.conditions[{kinds.index('Denied')}].type"
        causes.append(invalid(at, "Denied", "Approved and Denied conditions are mutually exclusive"))
    for condition in (old.get("status") or {}).get("conditions") or ():
        if condition.get("type") in (*_DECISIONS, "Failed") and condition.get("type") not in kinds:
            detail = f'updates may not remove a condition of type "{condition["type"]}"'
            causes.append(forbidden("status.conditions", detail))
    return causes
