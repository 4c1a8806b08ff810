"""CEL's environment as upstream has it in v1.36: every library, macro and conversion, one expression each."""

from __future__ import annotations

import pytest

from shirube.api import cel
from shirube.api.cel import cost


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 == 3", True),
        ('"a" + "b" == "ab"', True),
        ("[1,2] + [3] == [1,2,3]", True),
        ('size("abc") == 3', True),
        ('"abc".size() == 3', True),
        ("1 in [1,2]", True),
        ('"a" in {"a":1}', True),
        ("has(object.spec.a)", True),
        ("has(object.spec.zz)", False),
        ('object.spec["a"] == 1', True),
        ("true ? 1 : 2", 1),
        ("5 % 2 == 1", True),
        ("5 / 2 == 2", True),
        ("-5 / 2 == -2", True),
        ("-5 % 3 == -2", True),
        ("1.5 + 1.0 == 2.5", True),
        ("double(3) == 3.0", True),
        ('int("5") == 5', True),
        ('string(5) == "5"', True),
        ('string(true) == "true"', True),
        ("uint(5) == 5u", True),
        ("1 == 1.0", True),
        ("1u == 1", True),
        ('"abc".startsWith("a") && "abc".endsWith("c") && "abc".contains("b")', True),
        ('"abc".matches("^a.c$")', True),
        ('matches("abc","b")', True),
        ("[1,2,3].all(x, x > 0)", True),
        ("[1,2,3].exists(x, x == 2)", True),
        ("[1,2,3].exists_one(x, x == 2)", True),
        ("[1,2,3].map(x, x*2) == [2,4,6]", True),
        ("[1,2,3].map(x, x > 1, x*2) == [4,6]", True),
        ("[1,2,3].filter(x, x > 1) == [2,3]", True),
        ('{"a":1,"b":2}.all(k, k != "c")', True),
        ('{"a":1}.map(k, k) == ["a"]', True),
        ("type(1) == int", True),
        ('type("a") == string', True),
        ("type([]) == list", True),
        ("type({}) == map", True),
        ("type(null) == null_type", True),
        ("type(1.0) == double", True),
        ("type(true)==bool", True),
        ('b"abc" == bytes("abc")', True),
        ('string(b"abc") == "abc"', True),
        ('duration("1h").getHours() == 1', True),
        ('duration("90m") > duration("1h")', True),
        ('timestamp("2023-01-01T00:00:00Z").getFullYear() == 2023', True),
        ('timestamp("2023-01-01T00:00:00Z") + duration("1h") == timestamp("2023-01-01T01:00:00Z")', True),
        ('timestamp("2023-01-02T00:00:00Z") - timestamp("2023-01-01T00:00:00Z") == duration("24h")', True),
        ('timestamp("2023-01-01T00:00:00Z").getDayOfWeek() == 0', True),
        ('timestamp("2023-01-01T00:00:00Z").getMonth() == 0', True),
        ('duration("1h30m").getMinutes() == 90', True),
        ('duration("1.5s").getMilliseconds() == 1500', True),
        ('string(duration("90m")) == "5400s"', True),
        ('timestamp("2023-01-01T00:00:00Z").getHours("America/New_York") == 19', True),
        ("dyn(1) == 1", True),
        ("null == null", True),
        ('{"a": {"b": 1}}.a.b == 1', True),
        ("'a' < 'b'", True),
        ("false || true", True),
        ("!false", True),
        ("9223372036854775807 > 0", True),
        ("0x10 == 16", True),
        ('r"a\\b" == "a\\\\b"', True),
        ("'''x''' == 'x'", True),
        ('"hello".charAt(1) == "e"', True),
        ('"hello".indexOf("l") == 2', True),
        ('"hello".indexOf("l", 3) == 3', True),
        ('"hello".lastIndexOf("l") == 3', True),
        ('"HeLLo".lowerAscii() == "hello"', True),
        ('"hello".upperAscii() == "HELLO"', True),
        ('"hello".replace("l","x") == "hexxo"', True),
        ('"hello".replace("l","x",1) == "hexlo"', True),
        ('"a,b,c".split(",") == ["a","b","c"]', True),
        ('"a,b,c".split(",", 2) == ["a","b,c"]', True),
        ('"hello".substring(1) == "ello"', True),
        ('"hello".substring(1,3) == "el"', True),
        ('"  a ".trim() == "a"', True),
        ('["a","b"].join() == "ab"', True),
        ('["a","b"].join("-") == "a-b"', True),
        ('strings.quote("a\\"b") == "\\"a\\\\\\"b\\""', True),
        ('"abc".reverse() == "cba"', True),
        ('"%s is %d".format(["a", 5]) == "a is 5"', True),
        ('"%.2f".format([1.5]) == "1.50"', True),
        ('"%s".format([[1,2]]) == "[1, 2]"', True),
        ('"%b".format([5]) == "101"', True),
        ('"%x".format([255]) == "ff"', True),
        ('"%o".format([8]) == "10"', True),
        ('"%e".format([1234.5]) == "1.234500e+03"', True),
        ('"%s".format([1.0]) == "1"', True),
        ('"%d%%".format([3]) == "3%"', True),
        ('"%s".format([{"a":1}])', "{a: 1}"),
        ('"%s".format([duration("1h")])', "3600s"),
        ('"%x".format(["hello"])', "68656c6c6f"),
        ('"%s".format([true])', "true"),
        ('"%.3f".format([1.23456])', "1.235"),
        ('"%s".format([type(1)])', "int"),
        ("[1,2,3].isSorted()", True),
        ("[1,2,3].sum() == 6", True),
        ("[1.5,2.5].sum() == 4.0", True),
        ("[1,2,3].min() == 1", True),
        ("[1,2,3].max() == 3", True),
        ('["b","a"].min() == "a"', True),
        ("[1,2,1].indexOf(1) == 0", True),
        ("[1,2,1].lastIndexOf(1) == 2", True),
        ("[].sum() == 0", True),
        ('[duration("1m"),duration("2m")].sum() == duration("3m")', True),
        ("[3,1,2].sort() == [1,2,3]", True),
        ("[1,2,2].distinct() == [1,2]", True),
        ("[[1],[2,3]].flatten() == [1,2,3]", True),
        ("[1,2,3].reverse() == [3,2,1]", True),
        ("[1,2,3].slice(0,2) == [1,2]", True),
        ("lists.range(3) == [0,1,2]", True),
        ('[{"n":2},{"n":1}].sortBy(e, e.n) == [{"n":1},{"n":2}]', True),
        ("[1,2].first().value() == 1", True),
        ("[1,2].last().value() == 2", True),
        ("[[1,[2]],[3]].flatten(2) == [1,2,3]", True),
        ('"abc 123".find("[0-9]+") == "123"', True),
        ('"123 abc 456".findAll("[0-9]+") == ["123","456"]', True),
        ('"1 2 3".findAll("[0-9]", 2) == ["1","2"]', True),
        ('url("https://example.com:80/path?q=1#f").getHost() == "example.com:80"', True),
        ('url("https://example.com:80/").getHostname() == "example.com"', True),
        ('url("https://example.com:80/").getPort() == "80"', True),
        ('url("https://[::1]:80/").getHostname() == "::1"', True),
        ('url("https://example.com/p%20a").getEscapedPath() == "/p%20a"', True),
        ('url("https://e.com/?k=a&k=b").getQuery() == {"k":["a","b"]}', True),
        ('isURL("https://a.com")', True),
        ('isURL("../a")', False),
        ('url("https://a.com") == url("https://a.com")', True),
        ('url("/absolute").getScheme() == ""', True),
        ('quantity("1.5Gi").isGreaterThan(quantity("1Gi"))', True),
        ('isQuantity("abc")', False),
        ('quantity("50k").asInteger() == 50000', True),
        ('quantity("50k").add(20) == quantity("50020")', True),
        ('quantity("50k").sub(quantity("20")).asInteger() == 49980', True),
        ('quantity("200M").compareTo(quantity("0.2G")) == 0', True),
        ('quantity("1").isLessThan(quantity("2"))', True),
        ('quantity("-1").sign() == -1', True),
        ('quantity("1.5").isInteger()', False),
        ('quantity("9999999999999999999999999").asApproximateFloat() > 1.0', True),
        ('quantity("1000m") == quantity("1")', True),
        ('ip("192.168.0.1").family() == 4', True),
        ('ip("::1").family() == 6', True),
        ('isIP("1.2.3")', False),
        ('isIP("fe80::1%eth0")', False),
        ('ip("127.0.0.1").isLoopback()', True),
        ('ip.isCanonical("2001:db8::1")', True),
        ('ip.isCanonical("2001:DB8::1")', False),
        ('ip("0.0.0.0").isUnspecified()', True),
        ('ip("224.0.0.1").isLinkLocalMulticast()', True),
        ('ip("169.254.1.1").isLinkLocalUnicast()', True),
        ('ip("8.8.8.8").isGlobalUnicast()', True),
        ('ip("10.0.0.1") == ip("10.0.0.1")', True),
        ('string(ip("10.0.0.1")) == "10.0.0.1"', True),
        ('cidr("10.0.0.0/8").containsIP("10.1.1.1")', True),
        ('cidr("10.0.0.0/8").containsIP(ip("10.1.1.1"))', True),
        ('cidr("10.0.0.0/8").containsCIDR("10.1.0.0/16")', True),
        ('cidr("10.0.0.0/8").containsCIDR(cidr("10.1.0.0/16"))', True),
        ('cidr("10.0.0.5/8").masked() == cidr("10.0.0.0/8")', True),
        ('cidr("10.0.0.0/8").prefixLength() == 8', True),
        ('cidr("10.0.0.0/8").ip() == ip("10.0.0.0")', True),
        ('isCIDR("10.0.0.0")', False),
        ('string(cidr("10.0.0.0/8")) == "10.0.0.0/8"', True),
        ("sets.contains([1,2,3],[1,2])", True),
        ("sets.equivalent([1,2],[2,1])", True),
        ("sets.intersects([1],[1,2])", True),
        ("optional.of(1).hasValue()", True),
        ("optional.none().orValue(5) == 5", True),
        ("object.?spec.?a.orValue(0) == 1", True),
        ("object.?spec.?zz.orValue(0) == 0", True),
        ('object.spec[?"a"].value() == 1', True),
        ("optional.ofNonZeroValue(0).hasValue()", False),
        ("optional.of(1).optMap(x, x+1).value() == 2", True),
        ("optional.of(1).optFlatMap(x, optional.of(x+1)).value() == 2", True),
        ('{?"a": optional.of(1)} == {"a":1}', True),
        ("[?optional.none(), 1] == [1]", True),
        ("optional.of(1).or(optional.of(2)).value() == 1", True),
        ("[1,2][?5].hasValue()", False),
        ('{"a":1}.?b.hasValue()', False),
        ("optional.unwrap([optional.of(1), optional.none()]) == [1]", True),
        ("[optional.of(1), optional.none()].unwrapOpt() == [1]", True),
        ("cel.bind(x, 5, x * 2) == 10", True),
        ("cel.bind(x, [1,2], x.all(y, y > 0))", True),
        ("[1,2,3].all(i, v, i < v)", True),
        ('{"a":1}.all(k, v, k == "a" && v == 1)', True),
        ("[1,2].exists(i, v, i == 1 && v == 2)", True),
        ('{"a":1,"b":2}.existsOne(k, v, v == 2)', True),
        ("[1,2].transformList(i, v, i + v) == [1,3]", True),
        ('{"a":1,"b":2}.transformMap(k, v, v * 2) == {"a":2,"b":4}', True),
        ("[1,2,3].transformList(i, v, i > 0, v * 2) == [4,6]", True),
        ('{"a":1,"b":2}.transformMap(k, v, k == "a", v + 1) == {"a":2}', True),
        ('{"a":"x"}.transformMapEntry(k, v, {v: k}) == {"x":"a"}', True),
        ("[1,2].exists_one(i, v, v == 2)", True),
        ('!format.dns1123Label().validate("my-name").hasValue()', True),
        ('format.dns1123Label().validate("MY").hasValue()', True),
        ('format.named("dns1123Subdomain").value().validate("a.b").hasValue() == false', True),
        ('format.uuid().validate("x").hasValue()', True),
        ('!format.uuid().validate("123e4567-e89b-12d3-a456-426614174000").hasValue()', True),
        ('format.byte().validate("x!").hasValue()', True),
        ('!format.date().validate("2021-01-01").hasValue()', True),
        ('!format.datetime().validate("2021-01-01T00:00:00Z").hasValue()', True),
        ('!format.uri().validate("http://a.com").hasValue()', True),
        ('format.dns1123LabelPrefix().validate("abc-").hasValue() == false', True),
        ('format.qualifiedName().validate("a/b").hasValue() == false', True),
        ('format.labelValue().validate("a b").hasValue()', True),
        ('format.dns1035LabelPrefix().validate("abc-").hasValue() == false', True),
        ('format.dns1123SubdomainPrefix().validate("a.b-").hasValue() == false', True),
        ('semver("1.2.3").major() == 1', True),
        ('semver("1.2.3").isLessThan(semver("1.2.4"))', True),
        ('isSemver("1.2")', False),
        ('semver("v1.2", true).minor() == 2', True),
        ('semver("1.2.3").compareTo(semver("1.2.3")) == 0', True),
        ('semver("1.2.3-alpha").isLessThan(semver("1.2.3"))', True),
        ('semver("1.2.3").patch() == 3', True),
        ("math.greatest(1,2,3) == 3", True),
        ("math.least([1,2]) == 1", True),
        ("math.ceil(1.2) == 2.0", True),
        ("math.floor(1.8) == 1.0", True),
        ("math.round(1.5) == 2.0", True),
        ("math.abs(-1) == 1", True),
        ("math.sign(-5) == -1", True),
        ("math.trunc(1.9) == 1.0", True),
        ("math.bitAnd(5,3) == 1", True),
        ("math.isNaN(0.0/0.0)", True),
        ("math.sqrt(4) == 2.0", True),
        ('base64.encode(b"hello") == "aGVsbG8="', True),
        ('base64.decode("aGVsbG8=") == b"hello"', True),
        ('jsonpatch.escapeKey("a/b~c") == "a~1b~0c"', True),
    ],
)
def test_environment(text, value):
    found = cel.compiled(text).evaluate({"object": {"spec": {"a": 1}}})
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[1, 'a'].sortBy(e, e)", "list elements must have the same type"),
        ("[[1], [2]].sortBy(e, e)", "list elements must be comparable"),
        ("{'a': 1, 'b': 1}.transformMapEntry(k, v, {v: k})", "key 1 already exists"),
        ("lists.range(1001)", "at most 1000 items"),
        ("timestamp('2023-01-01T00:00:00Z').getHours('Nowhere/None')", "unknown time zone"),
        ("quantity('x').sign()", "quantity parse error"),
        ("[1].flatten(-1)", "level must be non-negative"),
        ("dyn(1).optMap(x, x)", "no such overload"),
    ],
)
def test_errors_of_libraries(text, why):
    with pytest.raises(cel.CelError, match=why):
        cel.compiled(text).evaluate({})


def test_literals_and_texts_are_left_alone():
    same = "'{?a: b} [?c] .all(i, v, x) string(1)' == object.spec"
    assert cel.compiled(same).evaluate({"object": {"spec": "{?a: b} [?c] .all(i, v, x) string(1)"}}) is True
    assert cel.compiled("true ? [1] : [2]").evaluate({}) == [1]
    assert cel.compiled("{true ? 'a' : 'b': 1}").evaluate({}) == {"a": 1}
    assert cel.compiled("{?(true ? 'a' : 'b'): optional.none()}").evaluate({}) == {}


def test_nested_macros_of_two_names():
    text = "object.all(k, v, v.exists(i, w, w == k && i == 0))"
    assert cel.compiled(text).evaluate({"object": {"a": ["a"], "b": ["b", "c"]}}) is True
    assert cel.compiled(text).evaluate({"object": {"a": ["b", "a"]}}) is False
    assert cel.compiled(text).variables == {"object"}


# ---------------------------------------------------------------------------------------- cost


def test_nesting_counts_every_loop():
    assert cost.nesting("a.all(x, b.map(y, x + y).size() > 0) && c.exists(z, z)") == 2
    assert cost.nesting("'a.all(x, b.all(y, c))'") == 0
    assert cost.nesting("a.transformMap(k, v, v.sortBy(e, e.n))") == 2
    assert cost.nesting("a.all (x, x.all( y, y))") == 2


def test_what_would_take_too_long_is_not_begun():
    text = "object.all(x, object.all(y, object.all(z, x + y + z > 0)))"
    assert cel.compiled(text).evaluate({"object": [1] * 20}) is True
    with pytest.raises(cel.CelError, match="actual cost limit exceeded"):
        cel.compiled(text).evaluate({"object": [1] * 200})
    literals = "[" + ",".join(["1"] * 1500) + "]"
    with pytest.raises(cel.CelError, match="actual cost limit exceeded"):
        cel.compiled(f"{literals}.all(x, {literals}.all(y, x == y))").evaluate({})
    with pytest.raises(cel.CelError, match="actual cost limit exceeded"):
        cel.compiled("lists.range(2).all(x, lists.range(2).all(y, lists.range(2).all(z, true)))").evaluate({})


def test_a_budget_is_shared():
    budget = cel.Budget(5000)
    once = cel.compiled("object.all(x, object.all(y, x == y))")
    once.evaluate({"object": [1] * 60}, None, budget)
    with pytest.raises(cel.CelError, match="running out of cost budget"):
        once.evaluate({"object": [1] * 60}, None, budget)


def test_texts_are_as_large_as_they_are_long():
    assert cost.largest({"a": ["x" * 1000]}) == 10
    assert cost.largest([[1, 2, 3], {"b": [1] * 7}]) == 7
