"""Tests of pruning_core.experiments.kinds: what each kind takes, as a value, a text or in TOML."""

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruning_core.experiments.kinds import MOST, Choice, Kind, Number, Several, Switch, Whole

KINDS: dict[str, tuple[Kind, list[Any], list[Any]]] = {
    "whole": (Whole(1, 9), [1, 9], [0, 10, 1.0, True, "1", None]),
    "positive": (Number(0, without=(0,)), [1e-9, MOST, 3], [0, -1.0, 2 * MOST, math.nan, True]),
    "share": (Number(0, 1, (1,)), [0, 0.99], [1, 1.0, -0.1, "0.5"]),
    "switch": (Switch(), [True, False], [1, 0, "true", None]),
    "choice": (Choice(("a", "b")), ["a", "b"], ["c", 1, None, ["a"]]),
    "several": (Several(Whole(1, 9), 1), [(1,), (2, 3)], [(), (0,), [1], 1, (1.0,)]),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_takes_its_own_values_and_names_others(name: str) -> None:
    kind, good, bad = KINDS[name]
    for value in good:
        kind.check("it", value)
    for value in bad:
        with pytest.raises(ValueError, match="it") as error:
            kind.check("it", value)
        assert repr(value) in str(error.value)
        assert kind.expected in str(error.value)


def test_a_range_is_told_by_its_ends() -> None:
    assert Whole(0, 7).expected == "a whole number from 0 to 7"
    assert Number(0, 1, (0,), noun="share").expected == "a share in (0, 1]"
    assert Number(0, 100, (100,)).expected == "a number in [0, 100)"
    assert Number(0, without=(0,), unit=" nats").expected == (
        "a finite number above 0 nats, at most 1e+30"
    )


@given(st.floats(-MOST, MOST))
def test_a_number_keeps_all_its_digits_as_text(value: float) -> None:
    assert Number().parse(Number().write(value)) == value


@given(st.lists(st.floats(0, MOST), min_size=1))
def test_several_numbers_keep_theirs(values: list[float]) -> None:
    kind = Several(Number())
    assert kind.parse(kind.write(tuple(values))) == tuple(values)


def test_what_is_short_is_written_short() -> None:
    assert Several(Number()).write((28.0, 1e-05, 28.1234567)) == "28,1e-05,28.1234567"


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        (Whole(1), "0.5", "'0.5' is not a whole number"),
        (Whole(1), "9" * 5000, "is not a whole number"),
        (Number(), "1/0", "'1/0' is not a number or a fraction"),
        (Number(), "a", "'a' is not a number or a fraction"),
        (Number(), "1e400", "'1e400' is not a finite number"),
        (Number(), "nan", "'nan' is not a finite number"),
        (Several(Number()), "3,,4", "'' is not a number or a fraction, in '3,,4'"),
        (Switch(), "yes", "'yes'"),
    ],
)
def test_a_text_that_is_none_is_named(kind: Kind, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        kind.parse(text)


def test_a_fraction_is_a_number() -> None:
    assert Number().parse("1/650") == Number().read("1/650") == 1 / 650
    assert Number().read(3) == 3.0
    with pytest.raises(ValueError, match="or a fraction such as"):
        Number().read("1/0")
