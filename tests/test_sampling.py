import math

import numpy as np
import pytest

from pruning_core.studies.sampling import (
    coverage,
    detectable,
    deviation_of_error,
    expected_best,
    expected_range,
    power,
    probability_met,
)


def test_the_detectable_effect_is_detected_as_often_as_wanted() -> None:
    for n in (3, 10):
        assert power(detectable(n, 0.9), n) == pytest.approx(0.9, abs=1e-6)


def test_without_an_effect_one_study_in_twenty_finds_one() -> None:
    assert power(0.0, 10) == pytest.approx(0.05)


def test_more_seeds_cover_and_find_more() -> None:
    assert coverage(1.0, 3) < coverage(1.0, 10)
    assert power(0.5, 3) < power(0.5, 10)


def test_a_large_effect_is_always_found() -> None:
    assert power(20.0, 10) == pytest.approx(1.0)


def test_no_error_has_no_deviation() -> None:
    assert deviation_of_error(0.0, 10_000) == 0


def test_known_means_of_the_largest() -> None:
    assert expected_best(1) == pytest.approx(0, abs=1e-9)
    assert expected_best(2) == pytest.approx(1 / math.sqrt(math.pi))
    assert expected_best(3) == pytest.approx(1.5 / math.sqrt(math.pi))
    assert expected_range(2) == pytest.approx(2 / math.sqrt(math.pi))


def test_at_its_limit_a_condition_is_met_in_half_of_the_studies_or_in_a_fortieth() -> None:
    assert probability_met(0, 10) == pytest.approx(0.5)
    assert probability_met(0, 10, whole_interval=True) == pytest.approx(0.025)
    rising = probability_met(np.linspace(-1, 1, 21), 10, whole_interval=True)
    assert (np.diff(rising) > 0).all()


def test_one_seed_is_too_few() -> None:
    with pytest.raises(ValueError, match="seeds is 1"):
        probability_met(0, 1)
