"""Certificate requests."""

# ruff: noqa: E501 - one case a line, so that the tables read as tables
# fmt: off
from __future__ import annotations

REQUEST = (
    "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlITU1IVUNBUUF3RXpFUk1BOEdBMVVFQXd3SWMyOXRaV0p2Wkhrd1dUQVRCZ2"
    "NxaGtqT1BRSUJCZ2dxaGtqTwpQUU1CQndOQ0FBUmhCNmZDZUx1eHpBUk4vYlN0UHZaaXBPbXZKWVFFeUFGL0N6QXRHUkNBL2tocXhTU25IQUVZ"
    "Cm1mUGNxZHVPdXJwSnFjYXZFTzNzdTVXVituRzNJV0Fpb0FBd0NnWUlLb1pJemowRUF3SURSd0F3UkFJZ2NoVGsKNkwyZnNpMUdTUm80N2tWcU"
    "tBcS9ZU2RkV09UUUhxc1FXbWppSXF3Q0lCa3V4WlNWMnFlVDV1Nld4WjVoTTNKbAp5TXhzZ25kTmRVb0Q4WDkzcnBaSgotLS0tLUVORCBDRVJU"
    "SUZJQ0FURSBSRVFVRVNULS0tLS0K"
)
BASES = {"request": (("certificates.k8s.io", "v1", "certificatesigningrequests"), {"metadata": {"name": "w"}, "spec": {"request": REQUEST, "signerName": "example.com/s", "usages": ["client auth"]}})}


def condition(**m):
    return "status/conditions", [m]


BAD = [
    ("request", "spec/request", "", 'spec.request: Invalid value: "": PEM block type must be CERTIFICATE REQUEST'),
    ("request", "spec/request", "eA==", 'spec.request: Invalid value: "eA==": PEM block type must be CERTIFICATE REQUEST'),
    ("request", "spec/usages", [], "spec.usages: Required value"),
    ("request", "spec/usages", ["juggling"], 'spec.usages[0]: Unsupported value: "juggling": supported values: "any", "cert sign", "client aut…'),
    ("request", "spec/usages", ["client auth", "client auth"], 'spec.usages[1]: Duplicate value: "client auth"'),
    ("request", "spec/signerName", "", "spec.signerName: Required value"),
    ("request", "spec/signerName", "s", "spec.signerName: Invalid value: \"s\": must be a fully qualified domain and path of the form 'example.com/signer-name'"),
    ("request", "spec/signerName", "kubernetes.io/legacy-unknown", 'spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version'),
    ("request", "spec/signerName", "a.b/c d", 'spec.signerName: Invalid value: "c d": validating label "c d": a lowercase RFC 1123 subdomain must consist of…'),
    ("request", "spec/signerName", "example.com/", 'spec.signerName: Invalid value: "": validating label "": a lowercase RFC 1123 subdomain must consist of…'),
    ("request", "spec/expirationSeconds", 599, "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)"),
    ("request", "spec/signerName", "A_.com/s", 'spec.signerName: Invalid value: "A_.com": validating label "A_": a lowercase RFC 1123 label must consist of…'),
]

GOOD = [("request", "spec/expirationSeconds", 600)]

UPDATES = [
    ("request", "status/certificate", "eA==", 'status.certificate: Invalid value: "<certificate data>": must contain at least one CERTIFICATE PEM block'),
    ("request", *condition(type="", status="True"), "status.conditions[0].type: Required value"),
    ("request", *condition(type="Failed", status=""), "status.conditions[0].status: Required value"),
    ("request", *condition(type="Failed", status="Maybe"), 'status.conditions[0].status: Unsupported value: "Maybe": supported values: "True"'),
]
