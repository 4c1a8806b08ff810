"""CEL in Kubernetes' dialect: libraries, rewritten syntax, bounds."""

from __future__ import annotations

import pytest

from shirube.api import cel

OBJECT = {"metadata": {"labels": {"x": "1"}}, "spec": {"l": [1, 2], "n": 3}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("object.?spec.?foo.orValue(7)", 7),
        ("object.?spec.l[0].orValue(9)", 1),
        ("object[?'spec'].hasValue()", True),
        ("object.metadata.?labels['x'].orValue('n')", "1"),
        ("cel.bind(x, object.spec.n, x + x)", 6),
        ("'a.?b' + \"[?\"", "a.?b[?"),
        ("quantity('1Gi').isGreaterThan(quantity('1Mi'))", True),
        ("quantity('1024Mi') == quantity('1Gi')", True),
        ("quantity('50k').add(20).asInteger()", 50020),
        ("isQuantity('1x')", False),
        ("cidr('10.0.0.0/8').containsIP('10.1.1.1')", True),
        ("cidr('10.0.0.0/8').containsCIDR(cidr('10.2.0.0/16'))", True),
        ("ip('fe80::1').isLinkLocalUnicast() && ip('1.2.3.4').family() == 4", True),
        ("isIP('1.2.3.256')", False),
        ("url('https://a:80/b?c=d').getHost()", "a:80"),
        ("url('https://a:80/b?c=d').getQuery()['c'][0]", "d"),
        ("semver('1.2.3').isLessThan(semver('1.10.0'))", True),
        ("'%s-%d %.2f %s'.format(['a', 3, 1.5, [true, null]])", "a-3 1.50 [true, null]"),
        ("format.dns1123Label().validate('A_').hasValue()", True),
        ("'abc 123'.find('[0-9]+')", "123"),
        ("[1, 2, 3].isSorted() && [1, 2, 3].sum() == 6 && ['a', 'b'].indexOf('b') == 1", True),
        ("sets.contains([1, 2], [2])", True),
        ("Object{spec: Object.spec{replicas: 3, ?x: object.?foo}}", {"spec": {"replicas": 3}}),
    ],
)
def test_values(text, value):
    assert cel.compiled(text).evaluate({"object": OBJECT}) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("object.nope", "no such key: nope"),
        ("1 / 0 == 1", "division by zero"),
        ("1 + 'a'", "no such overload"),
        ("quantity('x')", "quantity parse error"),
    ],
)
def test_errors(text, why):
    with pytest.raises(cel.CelError, match=why):
        cel.compiled(text).evaluate({"object": OBJECT})


def test_bounds():
    nested = "[1].all(a, " * 6 + "true" + ")" * 6
    with pytest.raises(cel.CelError, match="nested"):
        cel.compiled(nested)
    with pytest.raises(cel.CelError, match="longer"):
        cel.compiled("1+" * 10_000 + "1")
