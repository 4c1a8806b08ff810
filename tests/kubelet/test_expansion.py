import pytest
from hypothesis import given
from hypothesis import strategies as st

from shirube.kubelet.expansion import expand_from

VARIABLES = {"A": "1", "B": "two", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$(A)-$(B)", "1-two"),
        ("$(MISSING)", "$(MISSING)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$$$$(A)", "$$(A)"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("$(EMPTY)x", "x"),
        ("end$", "end$"),
        ("$()", "$()"),
        ("$(A)$(", "1$("),
    ],
)
def test_references(text, expected):
    assert expand_from(text, VARIABLES) == expected


def test_the_first_mapping_wins():
    assert expand_from("$(A)", {"A": "own"}, VARIABLES) == "own"


@given(st.text(alphabet="$()AB x"))
def test_doubling_every_dollar_keeps_a_text_as_it_is(text):
    assert expand_from(text.replace("$", "$$"), VARIABLES) == text
