"""The chapter on the ledger: how often a condition is met, by simulation of whole studies."""

import numpy as np
import pytest

from pruning_core.studies.intervals import mean_interval
from pruning_core.studies.sampling import probability_met


@pytest.mark.parametrize("n", [3, 10])
@pytest.mark.parametrize("room", [-0.3, 0.0, 0.8])
def test_eq_ledger_strict(n: int, room: float) -> None:
    """Of 3,000 studies, the share whose mean, or whose whole interval, keeps the limit."""
    limit, deviation = 1.5, 0.07
    rng = np.random.default_rng(0)
    studies = [
        mean_interval(sample)
        for sample in rng.normal(limit - room * deviation, deviation, (3_000, n))
    ]
    for part, whole in ((0, False), (2, True)):
        share = np.mean([study[part] <= limit for study in studies])
        error = 4 * np.sqrt(max(share * (1 - share), 1e-3) / 3_000)
        assert probability_met(room, n, whole_interval=whole) == pytest.approx(share, abs=error)
