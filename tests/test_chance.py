import math

import numpy as np
import pytest

from pruning_core.studies.chance import (
    expected_largest,
    expected_range,
    noise_of_test_set,
    probability_met,
)


def test_known_means_of_the_largest() -> None:
    assert expected_largest(1) == pytest.approx(0, abs=1e-9)
    assert expected_largest(2) == pytest.approx(1 / math.sqrt(math.pi))
    assert expected_largest(3) == pytest.approx(1.5 / math.sqrt(math.pi))
    assert expected_range(2) == pytest.approx(2 / math.sqrt(math.pi))


def test_noise_is_largest_at_one_half_and_falls_with_the_root_of_the_images() -> None:
    assert noise_of_test_set(50, 10_000) == pytest.approx(0.5)
    assert noise_of_test_set(2, 40_000) == pytest.approx(noise_of_test_set(2, 10_000) / 2)


def test_at_its_limit_a_condition_is_met_in_half_of_the_studies_or_in_a_fortieth() -> None:
    assert probability_met(0, 10) == pytest.approx(0.5)
    assert probability_met(0, 10, whole_interval=True) == pytest.approx(0.025)
    rising = probability_met(np.linspace(-1, 1, 21), 10, whole_interval=True)
    assert (np.diff(rising) > 0).all()


def test_too_few_are_named() -> None:
    with pytest.raises(ValueError, match="count is 0"):
        expected_largest(0)
    with pytest.raises(ValueError, match="seeds is 1"):
        probability_met(0, 1)
