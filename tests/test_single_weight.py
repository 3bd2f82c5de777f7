"""Tests of pruning_core.single_weight: joint descent ends where the theory says it can."""

import pytest
import torch

from pruning_core.halo import optimal_coefficient
from pruning_core.single_weight import joint_path


@pytest.mark.parametrize("ratio", [0.3, 1.0, 4.0])
def test_a_weight_ends_at_zero_or_where_both_gradients_vanish(ratio: float) -> None:
    target = torch.tensor([-2.0, 0.05, 1.0, 3.0])
    weights, coefficients = joint_path(
        target, 0.0, 1.0, 0.1, 0.1, step=0.05, steps=6000, ratio=ratio
    )
    assert weights.shape == coefficients.shape == (6001, 4)
    w, c = weights[-1], coefficients[-1]
    assert w.sign().tolist() == [-1, 0, 1, 1]
    kept = w != 0
    torch.testing.assert_close(c[kept], optimal_coefficient(w[kept], 0.1, 0.1), rtol=1e-6, atol=0)
    slope = (w - target + 0.1 * w.sign() / c**2)[kept]
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-6)


def test_the_start_is_kept_and_only_the_proximal_step_ends_in_zeros() -> None:
    start = torch.tensor([0.3, -0.2])
    for proximal in (True, False):
        weights, coefficients = joint_path(
            torch.zeros(2), start, 0.5, 0.1, 0.1, step=0.1, steps=50, proximal=proximal
        )
        torch.testing.assert_close(weights[0], start.double())
        assert coefficients[0].tolist() == [0.5, 0.5]
        assert bool((weights[-1] == 0).all()) == proximal
