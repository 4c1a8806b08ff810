"""Syntax checks, good and bad."""

import pytest

from shirube.api import names

LONG = "a" * 64


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (names.is_dns1123_label, ["a", "a-b", "1", "a" * 63], ["", "A", "-a", "a-", "a.b", LONG, "a\n", "é"]),
        (names.is_dns1123_subdomain, ["a", "a.b", "1.2", "a" * 253], ["", "A", "a..b", ".a", "a.", "a" * 254]),
        (names.is_dns1035_label, ["a", "a1", "a-b"], ["", "1a", "A", "a.b", "a-", LONG]),
        (names.is_qualified_name, ["a", "A_b.c", "x.io/A", "1/2"], ["", "/a", "a/", "a/b/c", "A_/b", "-a", LONG]),
        (names.is_label_value, ["", "a", "A_.b", "1"], ["-", "a b", "a/b", LONG, "é", "a\n"]),
        (names.is_config_map_key, ["a", ".a", "A_b-c"], ["", ".", "..", "..a", "a/b", "a" * 254]),
        (names.is_env_var_name, ["A", "_a", "a.b-c", "-a"], ["", "1A", "a b", "..", "a="]),
        (names.is_relaxed_env_var_name, ["A", "1 a", "a!"], ["", "a=b", "é", "a\n"]),
        (names.is_c_identifier, ["A", "_a1"], ["", "1a", "a-b"]),
        (names.is_port_name, ["a", "http", "a-1"], ["", "1", "a--b", "-a", "a-", "A", "a" * 16]),
        (names.is_port_number, [1, 65535], [0, 65536, -1]),
        (names.is_user_id, [0, 2**32 - 1], [-1, 2**32]),
        (names.is_percent, ["0%", "120%"], ["", "1", "-1%", "1.5%", "%"]),
        (names.is_http_header_name, ["X-A", "a"], ["", "a b", "a:"]),
        (names.is_ip, ["1.2.3.4", "::1", "2001:db8::ffff"], ["", "1.2.3", "1.2.3.4/8", "01.2.3.4", "fe80::1%eth0"]),
        (names.is_cidr, ["10.0.0.0/8", "::/0"], ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08"]),
        (names.is_wildcard_dns1123_subdomain, ["*.a.b"], ["*", "a.b", "*.*.a", "f*.b"]),
        (names.is_fully_qualified_name, ["a.b.c"], ["a.b", "A.b.c", ""]),
        (names.is_domain_prefixed_path, ["a.io/x/y"], ["a.io", "/x", "a.io/", "a.io/{}", "A/x"]),
        (names.is_path_segment_name, ["a", "system:x"], [".", "..", "a/b", "a%"]),
    ],
)
def test_good_and_bad(check, good, bad):
    assert [v for v in good if check(v)] == []
    assert [v for v in bad if not check(v)] == []


def test_wordings():
    assert names.is_dns1123_label("a.b") == ["must not contain dots"]
    assert names.is_dns1123_label("A") == [
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
        "and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
        "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
    ]
    assert names.is_dns1123_subdomain("A") == [
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
        "must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
        r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    ]
    assert names.is_label_value("a" * 64) == ["must be no more than 63 bytes"]
    assert names.is_qualified_name("/a") == ["prefix part must be non-empty"]
    assert names.is_port_number(0) == ["must be between 1 and 65535, inclusive"]
    assert names.is_label_value("a b") == [
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
        "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used "
        "for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
    ]


def test_long_values_are_checked_in_linear_time_and_not_kept():
    for value in ("a" * 1_000_000, "a." * 500_000, "a-" * 500_000, "-" * 1_000_000, "a/" * 500_000):
        assert names.is_dns1123_subdomain(value)
        assert names.is_dns1123_label(value)
        assert names.is_qualified_name(value)
        assert names.is_label_value(value)
        assert names.is_dns1035_label(value)
