"""The chapter on the field: dominance pair by pair, noise and best-of-many by simulation."""

from pathlib import Path

import numpy as np
import pytest

from pruning_core.studies.chance import expected_largest, noise_of_test_set
from pruning_core.studies.published import OURS, compared, operating_points, undominated

ROOT = Path(__file__).parents[2]


def test_eq_field_staircase() -> None:
    """A row is met if one of our points, taken pair by pair, is as small and as accurate."""
    ours = operating_points(ROOT).to_dict("records")
    rows = compared(ROOT)
    for row in rows:
        size = row["weights_percent"] if row["weights_percent"] else 100 - row["zeros_percent"]
        rivals = [
            (point["weights_percent"], point["error"])
            for point in ours
            if point["model"] == row["model"] and point["method"] in OURS[row["kind"]]
        ]
        met = [s <= size and e <= row["error_percent"] for s, e in rivals]
        assert row["as_good"] == any(met), row["method"]
        front = [pair for pair, on in zip(rivals, undominated(np.array(rivals)), strict=True) if on]
        assert any(s <= size and e <= row["error_percent"] for s, e in front) == any(met)
    assert len({row["as_good"] for row in rows}) == 2


@pytest.mark.parametrize("error", [0.7, 1.6, 20.0])
def test_eq_field_noise(error: float) -> None:
    """The standard deviation over 2,000 test sets, image by image, to 4 standard errors of it."""
    rng = np.random.default_rng(0)
    errors = [100 * (rng.random(10_000) < error / 100).mean() for _ in range(2_000)]
    expected = np.std(errors, ddof=1)
    assert noise_of_test_set(error, 10_000) == pytest.approx(expected, rel=4 / np.sqrt(4_000))


@pytest.mark.parametrize("count", [2, 10, 60])
def test_eq_field_best(count: int) -> None:
    """The mean least of normal errors, simulated 20,000 times, to 4 standard errors."""
    mean, deviation = 1.6, 0.05
    least = np.random.default_rng(0).normal(mean, deviation, (20_000, count)).min(1)
    error = 4 * least.std() / np.sqrt(20_000)
    assert mean - deviation * expected_largest(count) == pytest.approx(least.mean(), abs=error)
