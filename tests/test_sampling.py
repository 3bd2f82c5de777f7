import pytest

from pruning_core.studies.sampling import coverage, detectable, deviation_of_error, power


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
