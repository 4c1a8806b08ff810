"""Admission by expressions: match conditions of webhooks, ValidatingAdmissionPolicy and its bindings.

`environment` says what an expression sees of a write, `conditions` evaluates match conditions,
`authorizer` is the variable of that name, `definitions` makes stored policies ready to use and `validating` is the
plugin. The language is in `api.cel`; what policies get wrong about types is told by a controller
(`controllers.validating_policy_status`). See "Validating Admission Policy" in the upstream documentation.
"""
