"""Wordings of errors: clients match on them, so they are compared letter for letter."""

import pytest

from shirube.api import errors
from shirube.api.errors import ApiError, Cause


class Gvr:
    group, version, resource = "apps", "v1", "deployments"


class Res:
    group, version, name = "", "v1", "pods"


@pytest.mark.parametrize(
    ("error", "code", "reason", "message"),
    [
        (errors.not_found("pods", "x"), 404, "NotFound", 'pods "x" not found'),
        (errors.not_found(Gvr, "x"), 404, "NotFound", 'deployments.apps "x" not found'),
        (errors.not_found(Res, "x"), 404, "NotFound", 'pods "x" not found'),
        (errors.not_found("deployments.apps", "x"), 404, "NotFound", 'deployments.apps "x" not found'),
        (errors.path_not_found(), 404, "NotFound", "the server could not find the requested resource"),
        (errors.already_exists("pods", "x"), 409, "AlreadyExists", 'pods "x" already exists'),
        (
            errors.conflict("pods", "x"),
            409,
            "Conflict",
            'Operation cannot be fulfilled on pods "x": the object has been modified; please apply your '
            "changes to the latest version and try again",
        ),
        (
            errors.generate_name_conflict("pods", "x"),
            409,
            "AlreadyExists",
            'pods "x" already exists, the server was not able to generate a unique name for the object',
        ),
        (errors.bad_request("no"), 400, "BadRequest", "no"),
        (errors.unauthorized(), 401, "Unauthorized", "Unauthorized"),
        (errors.forbidden("pods", "", "why"), 403, "Forbidden", "pods is forbidden: why"),
        (errors.forbidden("pods", "x", "why"), 403, "Forbidden", 'pods "x" is forbidden: why'),
        (errors.forbidden("", "", "why"), 403, "Forbidden", "forbidden: why"),
        (
            errors.method_not_allowed(),
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        ),
        (
            errors.method_not_allowed(Gvr, "create"),
            405,
            "MethodNotAllowed",
            'create is not supported on resources of kind "deployments.apps"',
        ),
        (
            errors.not_acceptable(["application/json", "application/yaml"]),
            406,
            "NotAcceptable",
            "only the following media types are accepted: application/json, application/yaml",
        ),
        (
            errors.unsupported_media_type(["application/json"]),
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: application/json",
        ),
        (
            errors.request_entity_too_large("limit is 3145728"),
            413,
            "RequestEntityTooLarge",
            "Request entity too large: limit is 3145728",
        ),
        (errors.expired("old"), 410, "Expired", "old"),
        (errors.gone("old"), 410, "Gone", "old"),
        (errors.too_many_requests("slow"), 429, "TooManyRequests", "slow"),
        (errors.internal_error("oh"), 500, "InternalError", "Internal error occurred: oh"),
        (errors.timeout("oh"), 504, "Timeout", "Timeout: oh"),
        (errors.service_unavailable("oh"), 503, "ServiceUnavailable", "oh"),
        (
            errors.server_timeout("pods", "create"),
            500,
            "ServerTimeout",
            "The create operation against pods could not be completed at this time, please try again.",
        ),
    ],
)
def test_statuses_are_worded_as_upstream(error, code, reason, message):
    assert (error.code, error.reason, error.message, str(error)) == (code, reason, message, message)
    assert error.status()["status"] == "Failure"
    again = ApiError.from_status(error.status())
    assert again.status() == error.status()


@pytest.mark.parametrize(
    ("cause", "reason", "message"),
    [
        (Cause.required("a"), "FieldValueRequired", "Required value"),
        (Cause.required("a", "really"), "FieldValueRequired", "Required value: really"),
        (Cause.invalid("a", "v", "bad"), "FieldValueInvalid", 'Invalid value: "v": bad'),
        (Cause.invalid("a", 3, "bad"), "FieldValueInvalid", "Invalid value: 3: bad"),
        (Cause.invalid("a", True, "bad"), "FieldValueInvalid", "Invalid value: true: bad"),
        (Cause.invalid("a", None, "bad"), "FieldValueInvalid", "Invalid value: null: bad"),
        (Cause.invalid("a", {"b": [1]}, "bad"), "FieldValueInvalid", 'Invalid value: {"b":[1]}: bad'),
        (Cause.invalid("a", 'q"\n', "bad"), "FieldValueInvalid", r'Invalid value: "q\"\n": bad'),
        (
            Cause.not_supported("a", "x", ("b", "a")),
            "FieldValueNotSupported",
            'Unsupported value: "x": supported values: "b", "a"',
        ),
        (
            Cause.not_supported("a", "x", {"b", "a"}),
            "FieldValueNotSupported",
            'Unsupported value: "x": supported values: "a", "b"',
        ),
        (Cause.duplicate("a", "x"), "FieldValueDuplicate", 'Duplicate value: "x"'),
        (Cause.forbidden("a", "no"), "FieldValueForbidden", "Forbidden: no"),
        (Cause.too_long("a", 63), "FieldValueTooLong", "Too long: may not be more than 63 bytes"),
        (Cause.too_many("a", 5, 3), "FieldValueTooMany", "Too many: 5: must have at most 3 items"),
        (Cause.too_many("a", 5, 1), "FieldValueTooMany", "Too many: 5: must have at most 1 item"),
        (Cause.not_found("a", "x"), "FieldValueNotFound", 'Not found: "x"'),
        (Cause.type_invalid("a", "x", "bad"), "FieldValueTypeInvalid", 'Invalid value: "x": bad'),
        (Cause.internal("a", "oops"), "InternalError", "Internal error: oops"),
        (Cause.immutable("a", 1), "FieldValueInvalid", "Invalid value: 1: field is immutable"),
    ],
)
def test_causes_are_worded_as_upstream(cause, reason, message):
    assert (cause.reason, cause.message, str(cause)) == (reason, message, "a: " + message)


def test_invalid_lists_each_cause_once_and_all_in_details():
    causes = [Cause.required("spec.a"), Cause.required("spec.a"), Cause.forbidden("spec.b", "no")]
    error = errors.invalid("", "Pod", "x", causes)
    assert error.message == 'Pod "x" is invalid: [spec.a: Required value, spec.b: Forbidden: no]'
    assert error.status()["details"] == {
        "name": "x",
        "kind": "Pod",
        "causes": [
            {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.a"},
            {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.a"},
            {"reason": "FieldValueForbidden", "message": "Forbidden: no", "field": "spec.b"},
        ],
    }
    one = errors.invalid("apps", "Deployment", "x", causes[:1])
    assert one.message == 'Deployment.apps "x" is invalid: spec.a: Required value'
    assert one.details["group"] == "apps"


def test_apply_conflicts_name_the_managers():
    one = errors.apply_conflict([('"kubectl" using apps/v1', ".spec.replicas")])
    assert one.message == 'Apply failed with 1 conflict: conflict with "kubectl" using apps/v1: .spec.replicas'
    assert one.causes == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl" using apps/v1',
            "field": ".spec.replicas",
        }
    ]
    more = errors.apply_conflict([('"b"', ".x"), ('"a"', ".y"), ('"b"', ".z")])
    assert more.message == ('Apply failed with 3 conflicts: conflicts with "a":\n- .y\nconflicts with "b":\n- .x\n- .z')


def test_retry_after_is_a_header_and_a_detail():
    error = errors.too_many_requests("slow", 7)
    assert error.headers == {"Retry-After": "7"}
    assert error.retry_after == 7
    assert errors.bad_request("x").retry_after is None


def test_from_status_survives_foreign_bodies():
    error = ApiError.from_status({"message": "m", "details": "what?"}, 502)
    assert (error.code, error.reason, error.details) == (502, "", None)
